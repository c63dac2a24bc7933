"""What the cells of the closed loop came to: gains with their intervals, and how good each reward is.

Array suffixes: ``S`` seeds, ``I`` held-out prompts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from vlreward.data.content import text_of
from vlreward.evaluate.metrics import Interval, accuracy_interval, bootstrap_parts, preference_accuracy
from vlreward.policy.gold import Gold
from vlreward.policy.overoptimisation import COURSE, Judged, Point, read_course
from vlreward.policy.pairs import ScoredGroup
from vlreward.policy.prompts import read_scored

from .closed_loop import LOSSES, MAIN, SAMPLED, Matrix, done_in

REWARDS_FILE = "rewards.jsonl"
ENOUGH = 0.05
"""Five points: the gain that is to be shown."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to answer, over all seeds for which it is there."""

    name: str
    method: str
    reward: str | None
    """What it learned or chose by; None: the policy as it was."""
    seeds: tuple[int, ...]
    answers: tuple[tuple[Judged, ...], ...]
    """Of each seed, those to the held-out prompts, with the main reward."""
    seconds: tuple[float, ...]
    """Of each seed, what was computed for it alone, without the answers and rewards that it shares with others."""

    @property
    def right_SI(self) -> np.ndarray:
        """1 for right answers, else 0."""
        return np.array([[float(item.right or 0.0) for item in answers] for answers in self.answers])

    def mean(self, name: str) -> float:
        """Of a figure of `Judged`, over seeds and prompts."""
        return float(np.mean([[getattr(item, name) for item in answers] for answers in self.answers]))


def read_rows(matrix: Matrix, gold: Gold) -> list[Row]:
    """The rows of all cells that are finished; the first is the policy as it was."""
    kept = _Reader(matrix, gold)
    rows = [kept.row("base", "base", None, lambda _seed: "base")]
    rows += [kept.chosen(f"best of {matrix.recipe.sampling.answers}", MAIN)]
    for loss in LOSSES:
        rows.append(kept.row(loss, loss, MAIN, _cell_of(loss, MAIN)))
    rows.append(kept.row("grpo", "grpo", MAIN, _cell_of("grpo", MAIN)))
    for reward in matrix.rewards:
        if reward != MAIN:
            rows.append(kept.row(f"mpo, {reward}", "mpo", reward, _cell_of("mpo", reward)))
            rows.append(kept.chosen(f"best of {matrix.recipe.sampling.answers}, {reward}", reward))
    return [row for row in rows if row.seeds]


def _cell_of(method: str, reward: str) -> Callable[[int], str]:
    return lambda seed: f"seed-{seed}/{method}-{reward}"


class _Reader:
    """Reads cells."""

    def __init__(self, matrix: Matrix, gold: Gold) -> None:
        self._matrix, self._gold = matrix, gold
        self._seconds = {cell.name: done_in(matrix.folder, cell) for cell in matrix.cells()}

    def row(self, name: str, method: str, reward: str | None, cell_of: Callable[[int], str]) -> Row:
        """A way that has a cell of its own for each seed."""
        found = {seed: self._seconds.get(cell_of(seed)) for seed in self._matrix.seeds}
        done = {seed: seconds for seed, seconds in found.items() if seconds is not None}
        places = [self._matrix.folder / cell_of(seed) for seed in done]
        answers = tuple(tuple(map(Judged.of, self._scored(place, place))) for place in places)
        return Row(
            name=name,
            method=method,
            reward=reward,
            seeds=tuple(done),
            answers=answers,
            seconds=tuple(done.values()),
        )

    def chosen(self, name: str, reward: str) -> Row:
        """The best of some answers of the policy as it was; of equal ones the first."""
        seeds, answers, spent = [], [], []
        for seed in self._matrix.seeds:
            took = [self._seconds.get(f"seed-{seed}/{cell}") for cell in ("choices", f"judge-{reward}")]
            if None not in took:
                place = self._matrix.folder / f"seed-{seed}"
                scored = self._scored(place / "choices", place / f"judge-{reward}")
                seeds.append(seed)
                answers.append(tuple(Judged.of(_best(item)) for item in scored))
                spent.append(sum(seconds or 0.0 for seconds in took))
        return Row(
            name=name,
            method="best-of-n",
            reward=reward,
            seeds=tuple(seeds),
            answers=tuple(answers),
            seconds=tuple(spent),
        )

    def _scored(self, sampled: Path, rewards: Path) -> Iterator[ScoredGroup]:
        for item in read_scored(sampled / SAMPLED, rewards / REWARDS_FILE):
            yield replace(item, right=self._gold.right(item.group))

    def reward_accuracy(self, reward: str) -> dict[str, Any] | None:
        """How often the right one of two different answers of the policy to a held-out prompt has the larger reward.

        Each prompt with right and wrong answers counts once, its pairs in the mean; ties count half. The 95 % interval
        is over prompts, each with all its seeds.
        """
        outcomes, prompts = [], []
        for seed in self._matrix.seeds:
            place = self._matrix.folder / f"seed-{seed}"
            if self._seconds.get(f"seed-{seed}/judge-{reward}") is None:
                continue
            for item in self._scored(place / "choices", place / f"judge-{reward}"):
                value = _ordered(item)
                if value is not None:
                    outcomes.append(value)
                    prompts.append(item.group.id)
        if not outcomes:
            return None
        return {
            "accuracy": float(np.mean(outcomes)),
            "interval": accuracy_interval(outcomes, prompts),
            "prompts": len(set(prompts)),
        }


def _best(item: ScoredGroup) -> ScoredGroup:
    best = max(range(len(item.rewards)), key=lambda i: item.rewards[i])
    assert item.right is not None
    return replace(
        item,
        group=replace(item.group, responses=(item.group.responses[best],)),
        rewards=(item.rewards[best],),
        right=(item.right[best],),
        unfinished=frozenset({0} if best in item.unfinished else ()),
    )


def _ordered(item: ScoredGroup) -> float | None:
    assert item.right is not None
    texts = [text_of(response) for response in item.group.responses]
    first = [texts.index(text) for text in dict.fromkeys(texts)]
    ranks = [int(not item.right[i]) for i in first]
    return preference_accuracy([item.rewards[i] for i in first], ranks) if len(set(ranks)) == 2 else None


def two_way_interval(values_SI: np.ndarray) -> Interval | None:
    """The 95 % bootstrap interval of a mean over seeds and prompts that are both samples.

    Prompts are drawn with all their seeds, since what several seeds answer to one prompt is alike, and seeds with all
    their prompts (Owen, 2007). Of three seeds the spread is known badly, and on the small side by a bootstrap.
    """
    seeds = len(values_SI)
    chance = np.random.Generator(np.random.PCG64(1))
    return bootstrap_parts(values_SI.T, lambda drawn_IS: float(drawn_IS[:, chance.integers(seeds, size=seeds)].mean()))


def _difference(name: str, one: Row | None, other: Row | None) -> dict[str, Any] | None:
    """How many more answers are right, of the same seeds and prompts."""
    if one is None or other is None:
        return None
    seeds = [seed for seed in one.seeds if seed in other.seeds]
    if not seeds:
        return None
    first_SI, second_SI = (row.right_SI[[row.seeds.index(seed) for seed in seeds]] for row in (one, other))
    values_SI = first_SI - second_SI
    return {"what": name, "gain": float(values_SI.mean()), "interval": two_way_interval(values_SI), "seeds": seeds}


def row_data(row: Row, base: Row) -> dict[str, Any]:
    """A row as plain values."""
    right_SI, known = row.right_SI, row.reward is not None
    gain_SI = right_SI - base.right_SI[[base.seeds.index(seed) for seed in row.seeds]]
    return {
        "name": row.name,
        "method": row.method,
        "reward": row.reward,
        "seeds": list(row.seeds),
        "accuracy": float(right_SI.mean()),
        "accuracy_interval": two_way_interval(right_SI),
        "accuracy_by_seed": [float(value) for value in right_SI.mean(axis=1)],
        "gain": float(gain_SI.mean()) if known else None,
        "gain_by_seed": [float(value) for value in gain_SI.mean(axis=1)] if known else None,
        "gain_interval": two_way_interval(gain_SI) if known else None,
        "length": row.mean("length"),
        # The best of several by another reward has no main one.
        "reward_of_answers": row.mean("reward") if row.method != "best-of-n" or row.reward == MAIN else None,
        "unfinished": row.mean("unfinished"),
        "seconds_by_seed": list(row.seconds),
    }


def result_of(matrix: Matrix, gold: Gold) -> dict[str, Any]:
    """Rows, rewards, comparisons and what follows, of the cells that are finished."""
    rows = read_rows(matrix, gold)
    data = [row_data(row, rows[0]) for row in rows]
    reader = _Reader(matrix, gold)
    rewards = {name: reader.reward_accuracy(name) for name in matrix.rewards}
    by_name = {row.name: row for row in rows}
    pairs = (("mpo", "mpo, weaker"), ("mpo, oracle", "mpo"), ("mpo", "sft"), ("mpo", "dpo"), ("mpo", "grpo"))
    compared = [_difference(f"{a} against {b}", by_name.get(a), by_name.get(b)) for a, b in pairs]
    return {
        "rows": data,
        "reward_accuracy": {name: value for name, value in rewards.items() if value is not None},
        "compared": [value for value in compared if value is not None],
        "shown": shown({row["name"]: row for row in data}),
        "over_training": courses(matrix),
        "pairs": _pairs(matrix),
    }


def shown(rows: Mapping[str, dict[str, Any]]) -> dict[str, bool]:
    """What the figures say to each claim; a claim about rows that are not there is left out."""

    def gain(name: str) -> float:
        return float(rows[name]["gain"])

    claims: dict[str, tuple[tuple[str, ...], Callable[[], bool]]] = {
        "mpo gains five points, with the interval above 0": (
            ("mpo",),
            lambda: gain("mpo") >= ENOUGH and (rows["mpo"]["gain_interval"] or (0.0,))[0] > 0,
        ),
        "a random reward gains nothing": (
            ("mpo, random",),
            lambda: (rows["mpo, random"]["gain_interval"] or (1.0,))[0] <= 0,
        ),
        "a weaker reward gains less": (("mpo", "mpo, weaker"), lambda: gain("mpo, weaker") < gain("mpo")),
        "an oracle gains as much or more": (("mpo", "mpo, oracle"), lambda: gain("mpo, oracle") >= gain("mpo")),
    }
    return {words: holds() for words, (names, holds) in claims.items() if all(name in rows for name in names)}


def courses(matrix: Matrix) -> dict[str, dict[str, Any]]:
    """What was seen of the policies that MPO trained: of each reward, each seed's course and the mean over seeds."""
    found: dict[str, dict[str, Any]] = {}
    for reward in matrix.rewards:
        by_seed = {
            seed: read_course(matrix.folder / f"seed-{seed}" / f"mpo-{reward}" / COURSE) for seed in matrix.seeds
        }
        by_seed = {seed: course for seed, course in by_seed.items() if course}
        if by_seed:
            found[reward] = {"by_seed": by_seed, "mean": _mean_course(list(by_seed.values()))}
    return found


def _mean_course(several: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The mean over seeds at each step that all have; the interval is the mean one of a seed."""
    points: list[dict[str, Any]] = []
    for together in zip(*several, strict=False):
        if len({point["step"] for point in together}) == 1:
            means = {entry.name: _mean_of([point[entry.name] for point in together]) for entry in fields(Point)}
            points.append(means | {name: together[0][name] for name in ("step", "prompts")})
    return points


def _mean_of(values: Sequence[Any]) -> Any:
    if any(value is None for value in values):
        return None
    mean = np.mean(values, axis=0)
    return [float(end) for end in mean] if np.ndim(mean) else float(mean)


def _pairs(matrix: Matrix) -> dict[str, list[int]]:
    """How many pairs each reward gave, by seed."""
    counts: dict[str, list[int]] = {}
    for reward in matrix.rewards:
        paths = [matrix.folder / f"seed-{seed}" / f"pairs-{reward}" / "pairs.json" for seed in matrix.seeds]
        counts[reward] = [int(json.loads(path.read_text())["pairs"]) for path in paths if path.is_file()]
    return counts
