"""Scores compared first, then time in alternating rounds, then memory in fresh processes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from .command import Differs
from .contestant import OURS, PUBLISHED, Contestant, Process
from .workload import Workload

_CHECK_ROUND = -1
"""The round of the comparison and of the memory runs, whose pictures no timed round has."""


class ScoresDiffer(Differs):
    """Contestants do not compute the same thing, so their times cannot be compared."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all contestants are given."""

    model: Path
    """The checkpoint, in the sequence-classification form."""
    dtype: str
    threads: int
    folder: Path
    """Where pictures and logs go."""
    pythons: dict[str, Path]
    """Contestant's name → its interpreter."""
    tolerance: float
    """Most that two contestants' scores of one conversation may differ."""

    def start(self, contestant: Contestant) -> Process:
        """The contestant as a process, its model loaded."""
        load = {"model": str(self.model), "dtype": self.dtype, "threads": self.threads}
        return Process(contestant, self.pythons[contestant.name], load, self.folder / f"{contestant.name}.log")


@dataclass(kw_only=True)
class Timing:
    """What was measured of one workload."""

    workload: Workload
    contestants: list[str]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Contestant's name → seconds of each round."""
    peak_bytes: dict[str, int] = field(default_factory=dict)
    rest_bytes: dict[str, int] = field(default_factory=dict)
    difference: float = 0.0
    """Largest difference between two contestants' scores of one conversation, over all rounds."""
    spread: float = 0.0
    """Largest score minus smallest."""

    def median(self, name: str) -> float:
        """Median seconds of a round."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str) -> float:
        """How many times longer than ours: the ratio of the medians."""
        return self.median(name) / self.median(OURS.name)

    def ratios(self, name: str) -> list[float]:
        """The same, round by round."""
        return [theirs / ours for theirs, ours in zip(self.seconds[name], self.seconds[OURS.name], strict=True)]

    def note_scores(self, scores: dict[str, list[list[float]]], tolerance: float) -> None:
        """Keep the largest difference of a round's scores.

        Raises:
            ScoresDiffer: it is above ``tolerance``, or a contestant gave another number of scores.
        """
        flat = {name: [value for group in groups for value in group] for name, groups in scores.items()}
        if len({len(values) for values in flat.values()}) > 1:
            raise ScoresDiffer(f"{self.workload.name}: numbers of scores: { {k: len(v) for k, v in flat.items()} }")
        reference = next(iter(flat))
        for name, values in flat.items():
            differences = [abs(a - b) for a, b in zip(values, flat[reference], strict=True)]
            # Asked of each, since the maximum of numbers and NaN may be a number.
            if not all(difference <= tolerance for difference in differences):
                raise ScoresDiffer(
                    f"{self.workload.name}: {name} and {reference} differ by {max(differences):.1e}; "
                    f"{tolerance:g} is allowed"
                )
            self.difference = max(self.difference, *differences)
        everything = [value for values in flat.values() for value in values]
        self.spread = max(self.spread, max(everything) - min(everything))


def run(
    setup: Setup, contestants: Sequence[Contestant], workloads: Sequence[Workload], *, rounds: int, peer_answers: int
) -> tuple[list[Timing], dict[str, dict[str, str]]]:
    """All workloads: compare, then time. All but ours and the published way sit out above ``peer_answers`` answers.

    Returns what was measured, and each contestant's versions.

    Raises:
        ScoresDiffer: see `Timing.note_scores`; nothing has been timed then.
    """
    timings = [
        Timing(workload=workload, contestants=[c.name for c in contestants if _takes_part(c, workload, peer_answers)])
        for workload in workloads
    ]
    with ExitStack() as stack:
        processes = {c.name: stack.enter_context(setup.start(c)) for c in contestants}
        for timing in timings:
            _compare(setup, timing, processes)
        for timing in timings:
            for round_index in range(rounds):
                _round(setup, timing, processes, round_index)
        return timings, {name: process.versions for name, process in processes.items()}


def _takes_part(contestant: Contestant, workload: Workload, peer_answers: int) -> bool:
    return contestant in (OURS, PUBLISHED) or workload.answers <= peer_answers


def _compare(setup: Setup, timing: Timing, processes: dict[str, Process]) -> None:
    """Score once with everybody. It warms everybody up for this workload, too."""
    groups = timing.workload.groups(_CHECK_ROUND, setup.folder)
    scores = {name: processes[name].score(groups)["scores"] for name in timing.contestants}
    timing.note_scores(scores, setup.tolerance)
    print(
        f"{timing.workload.name}: scores of {', '.join(scores)} differ by at most {timing.difference:.1e} "
        f"(spread {timing.spread:.2f}, allowed {setup.tolerance:g})",
        flush=True,
    )


def _round(setup: Setup, timing: Timing, processes: dict[str, Process], round_index: int) -> None:
    """Everybody scores the same groups, one after the other; who begins changes from round to round."""
    groups = timing.workload.groups(round_index, setup.folder)
    turn = round_index % len(timing.contestants)
    scores = {}
    for name in timing.contestants[turn:] + timing.contestants[:turn]:
        answer = processes[name].score(groups)
        timing.seconds.setdefault(name, []).append(answer["seconds"])
        scores[name] = answer["scores"]
    timing.note_scores(scores, setup.tolerance)
    taken = ", ".join(f"{name} {timing.seconds[name][-1]:.2f} s" for name in timing.contestants)
    print(f"{timing.workload.name}, round {round_index + 1}: {taken}", flush=True)


def measure_memory(setup: Setup, contestants: Sequence[Contestant], timings: Sequence[Timing]) -> None:
    """Peak memory of scoring each workload once, in a process that has scored nothing before; kept in ``timings``."""
    for timing in timings:
        groups = timing.workload.groups(_CHECK_ROUND, setup.folder)
        for contestant in contestants:
            if contestant.name not in timing.contestants:
                continue
            with setup.start(contestant) as process:
                answer = process.score(groups)
                if answer["peak_bytes"] is not None and process.rest_bytes is not None:
                    timing.peak_bytes[contestant.name] = answer["peak_bytes"]
                    timing.rest_bytes[contestant.name] = process.rest_bytes
