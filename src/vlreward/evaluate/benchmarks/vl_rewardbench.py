"""VL-RewardBench (Li et al., arXiv 2411.17451): general questions, hallucinations, reasoning.

The hub's copy is Parquet with the pictures inside; others are JSON with a folder of pictures. ``human_ranking`` holds
ranks, 0 the better: the better response stands first in 1,245 of 1,250 items, so that a judge who sees both has to be
shown them shuffled; a reward model sees one at a time. Groups go by what an id starts with, in any letter case: with a
comparison that heeds it, the 233 items from RLAIF-V and the 68 from RLHF-V fall out of the hallucinations.

The counts are those of the commit that is taken unless told, whose card says 1,250 items. The upload of 2025 that the
hub's ``main`` has been since (0e6e627) has three items fewer by its card; published figures before it, those below
among them, are of the 1,250.

Items are one cluster when they share a picture. "Describe this image in detail." is shared by 410, and makes none.

The published figures are given as printed. Those of reward models are their groups' pooled by these counts; those of
judges differ by up to half a point; InternVL3-78B's overall 63.3 does not follow from its groups, which pool to 57.8.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vlreward.data.rows import Row
from vlreward.errors import InputError

from .benchmark import Benchmark, Item, Published, Selection, Unusable, ties_wrong
from .reading import Source, make_item, text, texts, with_picture

_SOURCE = Source(
    name="vl-rewardbench",
    hub="MMInstruction/VL-RewardBench",
    files=("data/test-*.parquet", "test-*.parquet", "*vl*reward*bench*.json", "*vl*reward*bench*.jsonl"),
)
_GROUPS = dict.fromkeys(("rlaif", "rlhf", "povid", "hallucination"), "hallucination")
_GROUPS |= dict.fromkeys(("mathverse", "mmmu"), "reasoning")
REVISION = "cdb956cb97c083fd56f9c33abb4ab3e2b33f0adb"
COUNTS = {"general": 183, "hallucination": 749, "reasoning": 318}
_DESCRIBES = re.compile(r"(please )?describe (this|the) (image|picture|photo)\b", re.IGNORECASE)


def group_of(id: str) -> str:
    """The group that an id belongs to."""
    return _GROUPS.get(_origin(id), "general")


def _origin(id: str) -> str:
    return re.split("[_-]", id, maxsplit=1)[0].lower()


def _task(group: str, query: str) -> str:
    """Reasoning where the id says so, captioning where a description is all that is asked for."""
    if group == "reasoning":
        return group
    return "captioning" if _DESCRIBES.match(query.strip()) else "visual question answering"


def _item(row: Row, folder: Path) -> Item:
    id, query = text(row, "id"), text(row, "query")
    ranks = row.data.get("human_ranking")
    if ranks not in ([0, 1], [1, 0]):
        raise InputError(f"{row.where}: 'human_ranking' must be [0, 1] or [1, 0], got {ranks!r:.60}")
    group = group_of(id)
    return make_item(
        row,
        id=id,
        prompt=with_picture(row, "image", folder, query, places=("", "images")),
        responses=texts(row, "response", 2),
        ranks=list(map(int, ranks)),
        labels={"group": group, "task": _task(group, query), "source": _origin(id)},
    )


def _read(selection: Selection, left_out: Counter[str]) -> Iterator[Item | Unusable]:
    return _SOURCE.items(selection, left_out, _item)


_PAPER = "arXiv 2505.07263"


def _published(system: str, *percents: float) -> Published:
    names = (*COUNTS, "overall", "macro")
    figures = {name: round(percent / 100, 4) for name, percent in zip(names, percents, strict=True)}
    return Published(system=system, figures=figures, source=_PAPER)


VL_REWARDBENCH = Benchmark(
    name="vl-rewardbench",
    source=f"{_SOURCE.hub} (hub), or --data",
    licence="MIT",
    fields="a picture, a question, two responses and which is better",
    grouping=("group", "task", "source"),
    tie_rule="equal rewards are wrong, and so are equal lengths of the baseline",
    shared=("picture",),
    takes={"data": None, "data_revision": REVISION, "media_dir": None, "offline": False},
    counts=lambda _selection: COUNTS,
    read=_read,
    fetch=_SOURCE.fetch,
    judge=ties_wrong,
    macro="macro",
    versions={1247: "the hub's upload of 2025, three items fewer"},
    repeated_ids=25,
    published=(
        _published("Skywork-VL-Reward-7B", 66.0, 80.0, 61.0, 73.1, 69.0),
        _published("IXC-2.5-Reward", 80.3, 65.3, 60.4, 66.3, 68.6),
        _published("Gemini-2.0-flash-exp", 50.8, 72.6, 70.1, 68.8, 64.5),
        _published("GPT-4o", 49.1, 67.6, 70.5, 65.8, 62.4),
        _published("InternVL3-78B", 67.8, 52.5, 64.5, 63.3, 61.6),
        _published("Claude-3.5-Sonnet", 43.4, 55.0, 62.3, 55.3, 53.6),
        _published("Qwen2.5-VL-72B", 47.8, 46.8, 63.5, 51.6, 52.7),
        _published("Qwen2.5-VL-7B", 43.4, 42.0, 63.0, 48.0, 49.5),
    ),
)
