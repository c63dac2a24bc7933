"""Multimodal RewardBench (Yasunaga et al., arXiv 2502.14191): six categories of questions about pictures.

The pictures are other data sets' and may not be passed on: the benchmark's own script fetches them and writes
``data/all_data.json`` beside ``data/images``. 500 items about hateful memes are in the paper (5,211 items) but not in
that file (4,711). The paper's overall share is pooled: its categories' shares and counts give its overall ones.

The paper's table of sources gives 623, 654, 630 and 1,098 items of the first four categories. Those of safety and VQA
are inferred: together they are the rest of 4,711, and so split the published overall figures come out to ±0.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vlreward.data.rows import Row
from vlreward.errors import InputError, describe_unknown

from .benchmark import Benchmark, Item, Published, Selection, Unusable, ties_wrong
from .reading import Source, make_item, text, with_picture

_SOURCE = Source(
    name="multimodal-rewardbench",
    hub=None,
    files=("all_data.json", "data/all_data.json", "all_data*.jsonl"),
    how="run scripts/0_download_data.py of github.com/facebookresearch/multimodal_rewardbench",
)
COUNTS = {
    "general correctness": 623,
    "general preference": 654,
    "knowledge": 630,
    "reasoning": 1098,
    "safety": 508,
    "vqa": 1198,
}
_INFERRED = ("safety", "vqa")
_CATEGORIES = {
    "open_generation/correctness_task": "general correctness",
    "open_generation/preference_task": "general preference",
} | {name: name for name in ("knowledge", "reasoning", "safety", "vqa")}
_TASKS = {
    "nocaps": "captioning",
    "visitbench": "instruction following",
    "mmmu": "knowledge",
    "mathvista": "reasoning",
    "image2struct": "coding",
    "emma": "coding",
    "realworldqa": "visual question answering",
    "mmbench": "visual question answering",
    "seed": "visual question answering",
    "pairs": "safety",
}
"""By what an id starts with: the data set that the picture is from."""


def _labels(row: Row, id: str) -> dict[str, str]:
    given = text(row, "Category")
    if given not in _CATEGORIES:
        raise InputError(f"{row.where}: Category: {describe_unknown(given, _CATEGORIES)}")
    category = _CATEGORIES[given]
    labels = {"category": category}
    task = next((task for start, task in _TASKS.items() if id.lower().startswith(start)), None)
    if task:
        labels["task"] = task
    if category == "reasoning":
        labels["part"] = "math" if id.lower().startswith("math") else "coding"
    elif category == "safety":
        labels["part"] = "bias" if id.lower().startswith("pairs") else "toxicity"
    return labels


def _item(row: Row, folder: Path) -> Item:
    id, better = text(row, "ID"), text(row, "Better")
    if better not in ("Output1", "Output2"):
        raise InputError(f"{row.where}: 'Better' must be Output1 or Output2, got {better!r:.60}")
    if row.data.get("Text") is None:
        raise InputError(f"{row.where}: no 'Text'; {_SOURCE.how}, which fills in the questions")
    return make_item(
        row,
        id=id,
        prompt=with_picture(row, "Image", folder, text(row, "Text"), places=("", "data", "images")),
        responses=(text(row, "Output1"), text(row, "Output2")),
        ranks=(0, 1) if better == "Output1" else (1, 0),
        labels=_labels(row, id),
        is_ordered=True,
    )


def _read(selection: Selection, left_out: Counter[str]) -> Iterator[Item | Unusable]:
    return _SOURCE.items(selection, left_out, _item)


def _published(system: str, overall: float, *shares: float) -> Published:
    figures = {"overall": overall, **dict(zip(COUNTS, shares, strict=True))}
    return Published(system=system, figures=figures, source="arXiv 2502.14191, with hateful memes")


MULTIMODAL_REWARDBENCH = Benchmark(
    name="multimodal-rewardbench",
    source="facebookresearch/multimodal_rewardbench (its own script), then --data",
    licence="CC-BY-NC; each picture under that of its data set",
    fields="a picture, a question, two outputs and which is better",
    grouping=("category", "task", "part"),
    tie_rule="equal rewards are wrong",
    shared=("picture",),
    takes={"data": None, "media_dir": None},
    counts=lambda _selection: COUNTS,
    inferred=_INFERRED,
    read=_read,
    fetch=_SOURCE.fetch,
    judge=ties_wrong,
    versions={5211: "the paper's, with hateful memes"},
    published=(
        _published("Claude 3.5 Sonnet", 0.720, 0.626, 0.678, 0.739, 0.668, 0.687, 0.856),
        _published("Gemini 1.5 Pro", 0.720, 0.635, 0.677, 0.663, 0.618, 0.765, 0.872),
        _published("GPT-4o", 0.715, 0.626, 0.690, 0.720, 0.647, 0.669, 0.872),
        _published("Llama-3.2-90B-Vision", 0.624, 0.600, 0.684, 0.612, 0.546, 0.519, 0.771),
        _published("Llama-3.2-11B-Vision", 0.524, 0.578, 0.658, 0.555, 0.512, 0.355, 0.558),
    ),
)
