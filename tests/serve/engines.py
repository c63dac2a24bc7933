"""Engines for the worker process, made by factories that can be pickled."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes import FakeEngine
from vlreward.data.content import text_of
from vlreward.errors import CheckpointError, MediaError
from vlreward.model.calibration import Calibration, RewardScale, Temperature
from vlreward.serve.worker_process import Held
from vlreward.types import Group, Reward

CALIBRATION = Calibration(
    map=Temperature(temperature=2.0),
    scale=RewardScale(mean=0.0, spread=4.0, n=10),
    head="h",
    checkpoint="c",
    fitted_on={},
    before={},
    after={},
)


def hold_until(file: Path) -> None:
    """Wait for a file; that it waits is said by another beside it."""
    file.with_suffix(".held").touch()
    while not file.exists():
        time.sleep(0.01)


class Faulty(FakeEngine):
    """Does what a prompt says: ``poison``, ``crash``, ``sleep SECONDS``, or ``hold FILE`` until it is there."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.counts = {"conversations": 0, "tokens": 0, "computed_tokens": 0}

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        time.sleep(self.seconds)
        for i, group in enumerate(groups):
            said = text_of(group.messages)
            if said.startswith("poison"):
                raise MediaError(f"groups[{i}]: responses[0]: image: 3 bytes: not a picture")
            if said.startswith("crash"):
                raise RuntimeError("/secret/path: shapes cannot be multiplied")
            if said.startswith("sleep"):
                time.sleep(float(said.split()[1]))
            if said.startswith("hold"):
                hold_until(Path(said.split()[1]))
        tokens = sum(len(group) for group in groups)
        self.counts["conversations"] += tokens
        self.counts["tokens"] += 10 * tokens
        self.counts["computed_tokens"] += 4 * tokens
        return super().score(groups)


@dataclass(frozen=True)
class FaultyFactory:
    """Makes a `Faulty` engine."""

    seconds: float = 0.0
    """That a batch takes."""
    calibration: Calibration | None = None
    log: str | None = None
    """A file that gets a line with every batch's prompts."""

    def __call__(self) -> Held:
        engine = Faulty(self.seconds) if self.log is None else Logging(self.seconds, Path(self.log))
        return Held(engine=engine, calibration=self.calibration, settings={"dtype": "fake"}, counts=engine.counts.copy)


class Logging(Faulty):
    """Writes down what it was asked."""

    def __init__(self, seconds: float, log: Path) -> None:
        super().__init__(seconds)
        self._log = log

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        with self._log.open("a") as file:
            file.write("|".join(text_of(group.messages) for group in groups) + "\n")
        return super().score(groups)


@dataclass(frozen=True)
class BrokenFactory:
    """Cannot load until a file is there."""

    mended: str
    error: Mapping[str, str] = field(default_factory=dict)

    def __call__(self) -> Held:
        if not Path(self.mended).exists():
            raise CheckpointError("/models/m: no reward head found")
        return Held(engine=FakeEngine())
