"""RewardBench (Lambert et al., arXiv 2403.13787): text alone, in four sections of subsets.

A section is the mean of its subsets, each counting as many items as it has; only the 447 of math-prm count as 984, as
many as the code of HumanEvalPack has. The score is the mean of the four. The hub's copy is Parquet (the split
``filtered``); LLMBar's and HumanEvalPack's own files can be given too, as the subsets that RewardBench made of them.

The counts are those of the published data: 154 prompts of XSTest that should be refused and 250 that should not. The
benchmark's own table of weights has had these two exchanged. Skywork-VL Reward's safety score, 0.91081, is a whole 674
of 740 items, as plain counting gives and exchanged weights seldom would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vlreward.data.rows import Row
from vlreward.errors import InputError, describe_unknown

from .benchmark import Benchmark, Item, Published, Selection, Unusable, ties_wrong
from .reading import Source, make_item, text

_SOURCE = Source(
    name="rewardbench",
    hub="allenai/reward-bench",
    files=(
        "data/filtered-*.parquet",
        "filtered*.parquet",
        "filtered*.json*",
        "*llmbar*.json*|*humanevalpack*.json*",
    ),
)
REVISION = "168d848cdbbea9764fae4a544dc9ca1e6cca4931"
"""The hub's ``main`` since 2024; others who pin it count the same items of each subset."""
SECTIONS: dict[str, dict[str, int]] = {
    "chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "chat hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "reasoning": {
        "math-prm": 447,
        **dict.fromkeys([f"hep-{language}" for language in ("cpp", "go", "java", "js", "python", "rust")], 164),
    },
}
"""Items of every subset, by section."""
WEIGHTS = {subset: count for subsets in SECTIONS.values() for subset, count in subsets.items()} | {"math-prm": 984}
"""What a subset counts in its section."""

_SECTION_OF = {subset: section for section, subsets in SECTIONS.items() for subset in subsets}
_LLMBAR = {
    "natural": "llmbar-natural",
    "neighbor": "llmbar-adver-neighbor",
    "gptinst": "llmbar-adver-GPTInst",
    "gptout": "llmbar-adver-GPTOut",
    "manual": "llmbar-adver-manual",
}
_HUMANEVALPACK = {name: f"hep-{name}" for name in ("cpp", "go", "java", "python", "rust")} | {"javascript": "hep-js"}


def _counts(_selection: Selection) -> dict[str, int]:
    sections = {section: sum(subsets.values()) for section, subsets in SECTIONS.items()}
    return sections | {f"subset: {subset}": SECTIONS[_SECTION_OF[subset]][subset] for subset in _SECTION_OF}


def _item(row: Row, _folder: Path) -> Item:
    if "buggy_solution" in row.data:
        return _humanevalpack(row)
    if "output_1" in row.data:
        return _llmbar(row)
    subset = text(row, "subset")
    id = row.data.get("id", row.number)
    return _pair(row, subset, f"{subset}/{id}", text(row, "prompt"), (text(row, "chosen"), text(row, "rejected")))


def _pair(row: Row, subset: str, id: str, prompt: str, responses: tuple[str, str], *, better: int = 0) -> Item:
    if subset not in _SECTION_OF:
        raise InputError(f"{row.where}: subset: {describe_unknown(subset, _SECTION_OF)}")
    return make_item(
        row,
        id=id,
        prompt=prompt,
        responses=responses,
        ranks=(better, 1 - better),
        labels={"section": _SECTION_OF[subset], "subset": subset},
    )


def _llmbar(row: Row) -> Item:
    """A record of LLMBar; its file's name, or that of a folder around it, says the subset."""
    path = Path(row.where.rpartition(":")[0])
    words = [*path.stem.lower().replace("_", "-").split("-"), *(part.lower() for part in reversed(path.parts[:-1]))]
    subset = next((_LLMBAR[word] for word in words if word in _LLMBAR), None)
    if subset is None:
        raise InputError(f"{row.where}: a record of LLMBar, but the file's name says none of {', '.join(_LLMBAR)}")
    label = row.data.get("label")
    if label not in (1, 2):
        raise InputError(f"{row.where}: 'label' must be 1 or 2, got {label!r:.60}")
    responses = (text(row, "output_1"), text(row, "output_2"))
    return _pair(row, subset, f"{subset}/{row.number}", text(row, "input"), responses, better=label - 1)


def _humanevalpack(row: Row) -> Item:
    """A record of HumanEvalPack: the solution and the one with a bug, each behind the head of the function."""
    task = text(row, "task_id")
    subset = _HUMANEVALPACK.get(task.partition("/")[0].lower(), task)
    head = text(row, "prompt")
    responses = (head + text(row, "canonical_solution"), head + text(row, "buggy_solution"))
    return _pair(row, subset, f"{subset}/{task.partition('/')[2]}", text(row, "instruction"), responses)


def _read(selection: Selection, left_out: Counter[str]) -> Iterator[Item | Unusable]:
    return _SOURCE.items(selection, left_out, _item)


def _published(system: str, *percents: float) -> Published:
    figures = {name: round(percent / 100, 6) for name, percent in zip((*SECTIONS, "macro"), percents, strict=True)}
    return Published(system=system, figures=figures, source="arXiv 2505.07263")


REWARDBENCH = Benchmark(
    name="rewardbench",
    source=f"{_SOURCE.hub} (hub), or --data",
    licence="ODC-BY",
    fields="a question, the chosen and the rejected response; text alone",
    grouping=("section", "subset"),
    tie_rule="equal rewards are wrong",
    shared=("prompt",),
    takes={"data": None, "data_revision": REVISION, "offline": False},
    counts=_counts,
    read=_read,
    fetch=_SOURCE.fetch,
    judge=ties_wrong,
    weights=WEIGHTS,
    overall="all items",
    macro="score",
    published=(
        _published("Skywork-VL-Reward-7B", 90.0, 87.5, 91.1, 91.8, 90.1),
        _published("Skywork-Reward-Llama-3.1-8B-v0.2", 94.7, 88.4, 92.7, 96.7, 93.1),
        _published("IXC-2.5-Reward", 90.8, 83.8, 87.8, 90.0, 88.1),
        _published("Qwen2.5-VL-7B", 94.3, 63.8, 84.1, 86.2, 82.1),
    ),
)
