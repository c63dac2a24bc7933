"""Trainers in turn: losses compared first, then the time of their steps, round after round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .command import Differs
from .contestant import TRAIN_OURS, Contestant, Process


class LossesDiffer(Differs):
    """Trainers do not minimise the same thing, so their times cannot be compared."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """What everybody runs."""

    model: Path
    threads: int
    folder: Path
    """Where logs go."""
    runs: dict[str, Path]
    """Trainer's name → the run in its own words."""
    pythons: dict[str, Path]
    """Trainer's name → its interpreter."""
    min_pixels: int
    max_pixels: int
    compared_steps: int
    """Steps of the first epoch that are compared and not timed; they warm everybody up, too."""
    round_steps: int
    """Steps of a round."""
    rounds: int
    """Rounds of an epoch."""
    tolerance: float
    """Most that two losses of one step may differ, absolutely or relatively."""

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch."""
        return self.compared_steps + self.rounds * self.round_steps

    def start(self, contestant: Contestant) -> Process:
        """The trainer as a process, ready for its first step."""
        load = {
            "model": str(self.model),
            "run": str(self.runs[contestant.name]),
            "threads": self.threads,
            "min_pixels": self.min_pixels,
            "max_pixels": self.max_pixels,
        }
        return Process(contestant, self.pythons[contestant.name], load, self.folder / f"{contestant.name}.log")


@dataclass(kw_only=True)
class Lap:
    """What was measured of one epoch."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Trainer's name → seconds of each round."""
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)
    """The same of all its threads together: where it is far from threads times seconds, others used the machine."""
    peak_bytes: dict[str, int] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Median seconds of a round."""
        return statistics.median(self.seconds[name])

    def ratios(self, name: str) -> list[float]:
        """How many times longer than ours, round by round."""
        return [theirs / ours for theirs, ours in zip(self.seconds[name], self.seconds[TRAIN_OURS.name], strict=True)]


@dataclass(kw_only=True)
class Race:
    """What was measured."""

    names: list[str]
    laps: list[Lap] = field(default_factory=list)
    """One per epoch."""
    losses: dict[str, list[float]] = field(default_factory=dict)
    """Trainer's name → the loss of every step."""
    difference: float = 0.0
    """Largest difference between two losses of one step."""
    rest_bytes: dict[str, int] = field(default_factory=dict)
    """Held before the first step."""
    first_peak_bytes: dict[str, int] = field(default_factory=dict)
    """The most that was held in the steps that are compared and in what came before them."""
    reference_seconds: dict[str, float] = field(default_factory=dict)
    """Trainer's name → what it took to compute before the first step what all of them need; of those who do so."""
    reference_cpu_seconds: dict[str, float] = field(default_factory=dict)
    """The same of all its threads together."""
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def note_losses(self, losses: dict[str, list[float]], tolerance: float) -> None:
        """Keep the losses of some steps.

        Raises:
            LossesDiffer: they are not the same to ``tolerance``, or not as many.
        """
        reference = losses[TRAIN_OURS.name]
        for name, values in losses.items():
            if len(values) != len(reference):
                raise LossesDiffer(f"{name}: {len(values)} losses, {TRAIN_OURS.name}: {len(reference)}")
            self.losses.setdefault(name, []).extend(values)
            for ours, theirs in zip(reference, values, strict=True):
                # Written so that a loss that is no number differs.
                if not abs(ours - theirs) <= tolerance * max(1.0, abs(ours)):
                    step = len(self.losses[name]) - len(values) + 1
                    raise LossesDiffer(f"from step {step} on: {name} {values}, {TRAIN_OURS.name} {reference}")
                self.difference = max(self.difference, abs(ours - theirs))

    def note_first(self, answers: dict[str, dict[str, Any]], tolerance: float) -> None:
        """Keep what the compared steps said.

        Raises:
            LossesDiffer: see `note_losses`.
        """
        self.note_losses({name: answer["losses"] for name, answer in answers.items()}, tolerance)
        for name, answer in answers.items():
            if answer["peak_bytes"] is not None:
                self.first_peak_bytes[name] = answer["peak_bytes"]
            if "reference_seconds" in answer:
                self.reference_seconds[name] = answer["reference_seconds"]
                self.reference_cpu_seconds[name] = answer["reference_cpu_seconds"]

    def with_reference(self, lap: Lap, share: float) -> Lap:
        """A lap whose rounds hold ``share`` each of what was computed for all steps before the first."""

        def counted(taken: dict[str, list[float]], before: dict[str, float]) -> dict[str, list[float]]:
            return {name: [value + share * before.get(name, 0.0) for value in taken[name]] for name in taken}

        peaks = {name: max(peak, self.first_peak_bytes.get(name, 0)) for name, peak in lap.peak_bytes.items()}
        return Lap(
            seconds=counted(lap.seconds, self.reference_seconds),
            cpu_seconds=counted(lap.cpu_seconds, self.reference_cpu_seconds),
            peak_bytes=peaks,
        )


def run(course: Course, contestants: Sequence[Contestant], *, epochs: int) -> Race:
    """Compare, then time.

    Raises:
        LossesDiffer: the first steps' losses differ, and nothing has been timed; or later ones do.
    """
    race = Race(names=[contestant.name for contestant in contestants])
    with ExitStack() as stack:
        processes = {c.name: stack.enter_context(course.start(c)) for c in contestants}
        for name, process in processes.items():
            race.versions[name] = process.versions
            if process.rest_bytes is not None:
                race.rest_bytes[name] = process.rest_bytes
        race.note_first(
            {name: process.train(course.compared_steps) for name, process in processes.items()}, course.tolerance
        )
        first = race.losses[TRAIN_OURS.name]
        print(f"losses of the first steps differ by at most {race.difference:.1e}: {first}", flush=True)
        for epoch in range(epochs):
            race.laps.append(Lap())
            # Later epochs start where they start: the steps that the first one compared are timed there.
            for round_index in range(course.rounds):
                _round(course, race, processes, epoch, round_index)
    return race


def _round(course: Course, race: Race, processes: dict[str, Process], epoch: int, round_index: int) -> None:
    """Everybody takes the same steps, one after the other; who begins changes from round to round."""
    turn = round_index % len(race.names)
    lap, losses = race.laps[epoch], {}
    for name in race.names[turn:] + race.names[:turn]:
        answer = processes[name].train(course.round_steps)
        lap.seconds.setdefault(name, []).append(answer["seconds"])
        lap.cpu_seconds.setdefault(name, []).append(answer["cpu_seconds"])
        losses[name] = answer["losses"]
        if answer["peak_bytes"] is not None:
            lap.peak_bytes[name] = max(answer["peak_bytes"], lap.peak_bytes.get(name, 0))
    race.note_losses(losses, course.tolerance)
    taken = ", ".join(f"{name} {lap.seconds[name][-1]:.2f} s" for name in race.names)
    print(f"epoch {epoch + 1}, round {round_index + 1}: {taken}", flush=True)
