"""Whether a policy has learned to please the reward at the cost of being right.

A policy that is trained on a reward finds in time what the reward takes for good and is not (Gao et al., arXiv
2210.10760): the reward goes on rising while fewer answers are right. Here they **part** when, at so many evaluations in
a row, fewer answers are right than at the best evaluation so far, by more than half the width of that one's 95 %
interval, and the reward is above what it was there. The same prompts are asked each time, which makes differences more
certain than that: half the width is on the safe side.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from vlreward.data.content import text_of
from vlreward.data.length_bias import wilson_interval
from vlreward.data.writing import replacing

from .pairs import ScoredGroup

COURSE = "watched.json"
"""The evaluations of a stage of training, beside its checkpoints."""
IN_A_ROW = 2
"""Evaluations of a running training that have to agree: one alone may be chance."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The answers to one prompt, each figure the mean over them."""

    reward: float
    length: float
    """Characters."""
    unfinished: float
    """Share of those that were cut off at the limit of tokens."""
    right: float | None
    """Share of right ones; None: nobody knows."""

    @classmethod
    def of(cls, item: ScoredGroup) -> Self:
        """Those of scored answers."""
        lengths = [len(text_of(response)) for response in item.group.responses]
        return cls(
            reward=_mean(item.rewards),
            length=_mean(lengths),
            unfinished=len(item.unfinished) / len(lengths),
            right=None if item.right is None else _mean(item.right),
        )


@dataclass(frozen=True, kw_only=True)
class Point:
    """A policy after so many steps, over all prompts."""

    step: int
    prompts: int
    reward: float
    length: float
    """Characters."""
    unfinished: float
    """Share of answers that were cut off."""
    accuracy: float | None
    """Share of right answers, of the prompts where that is known."""
    accuracy_interval: tuple[float, float] | None
    """Of 95 %, over prompts."""

    @classmethod
    def of(cls, step: int, judged: Sequence[Judged]) -> Self:
        """The means over prompts; the interval is Wilson's (1927).

        Raises:
            ValueError: there are no prompts.
        """
        known = [item.right for item in judged if item.right is not None]
        return cls(
            step=step,
            prompts=len(judged),
            reward=_mean([item.reward for item in judged]),
            length=_mean([item.length for item in judged]),
            unfinished=_mean([item.unfinished for item in judged]),
            accuracy=_mean(known) if known else None,
            accuracy_interval=wilson_interval(_mean(known), len(known)) if known else None,
        )

    def figures(self) -> dict[str, float]:
        """As a trainer logs them: numbers alone; `of_log` is the way back."""
        figures = {"prompts": float(self.prompts), "reward": self.reward}
        if self.accuracy is not None and self.accuracy_interval is not None:
            low, high = self.accuracy_interval
            figures |= {"accuracy": self.accuracy, "accuracy_low": low, "accuracy_high": high}
        return figures | {"length": self.length, "unfinished": self.unfinished}

    @classmethod
    def of_log(cls, entry: Mapping[str, float]) -> Self:
        """From an entry of a trainer's log, where every name begins with ``eval_``."""
        said = {name.removeprefix("eval_"): value for name, value in entry.items()}
        known = "accuracy" in said
        return cls(
            step=int(said["step"]),
            prompts=int(said["prompts"]),
            reward=said["reward"],
            length=said["length"],
            unfinished=said["unfinished"],
            accuracy=said["accuracy"] if known else None,
            accuracy_interval=(said["accuracy_low"], said["accuracy_high"]) if known else None,
        )


@dataclass(frozen=True, kw_only=True)
class Parting:
    """Where the reward and the truth have parted."""

    best: Point
    """The most right answers before."""
    seen: Point
    """The evaluation at which it was clear."""

    def __str__(self) -> str:
        assert self.best.accuracy is not None
        assert self.seen.accuracy is not None
        return (
            f"step {self.seen.step}: the reward is above that of step {self.best.step} "
            f"({self.seen.reward:+.3f}, then {self.best.reward:+.3f}) and fewer answers are right "
            f"({self.seen.accuracy:.1%}, then {self.best.accuracy:.1%}): the reward may be over-optimised"
        )


def parting(course: Iterable[Point], *, in_a_row: int = IN_A_ROW) -> Parting | None:
    """The first evaluation at which reward and truth have parted, None where there is none.

    Args:
        course: in the order of their steps; those at which nobody knew what is right are passed over.
        in_a_row: how many evaluations have to agree.
    """
    best: Point | None = None
    count = 0
    for point in course:
        if point.accuracy is None:
            continue
        if best is None or best.accuracy is None or point.accuracy > best.accuracy:
            best, count = point, 0
            continue
        count = count + 1 if _has_fallen(best, point) and point.reward > best.reward else 0
        if count == in_a_row:
            return Parting(best=best, seen=point)
    return None


def _has_fallen(best: Point, point: Point) -> bool:
    assert best.accuracy is not None
    assert point.accuracy is not None
    low, high = best.accuracy_interval or (0.0, 0.0)
    return best.accuracy - point.accuracy > (high - low) / 2


def course_of(history: Iterable[Mapping[str, float]]) -> list[Point]:
    """The evaluations in a trainer's log; of two after the same number of steps, the later one."""
    found = {int(entry["step"]): Point.of_log(entry) for entry in history if "eval_reward" in entry}
    return [found[step] for step in sorted(found)]


def write_course(path: Path, course: Sequence[Point]) -> None:
    """Write evaluations as JSON; the file appears when it is complete."""
    with replacing(path) as part:
        part.write_text(json.dumps([asdict(point) for point in course], indent=1) + "\n", encoding="utf-8")


def read_course(path: Path) -> list[dict[str, Any]]:
    """What `write_course` wrote; nothing where there is no such file."""
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("the mean of nothing")
    return sum(values) / len(values)
