"""What a recipe has measured of a model while it trains.

Here are its words and when it happens. Which benchmarks and audits there are is known above this room; the command line
looks the names up, reads the data and makes the function that `vlreward.train.run.train` calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vlreward.errors import ConfigError

from .config import positive


@dataclass(frozen=True, kw_only=True)
class EvaluatedData:
    """Where preferences are from, in the words of ``vlreward eval`` and ``vlreward audit``; None: what these take
    unless told."""

    pairs: int | None = None
    """So many of them, drawn by their ids, always the same; None: all. Of tiny-world so many are rendered."""
    seed: int | None = None
    """Of tiny-world: another seed draws other pairs."""
    format: str | None = None
    """The file's format, where its first row does not say it."""
    media_dir: str | None = None
    """Where relative paths of pictures start; None: the file's folder."""
    ignore: tuple[str, ...] = ()
    """Keys of the file's rows that are passed over."""

    def __post_init__(self) -> None:
        positive("pairs", self.pairs)


@dataclass(frozen=True, kw_only=True)
class BenchmarkPart(EvaluatedData):
    """A benchmark, or some of its items."""

    benchmark: str
    """Its name; ``pairs`` stands for preferences of one's own in ``data``."""
    data: str | None = None
    """A file or a folder; None: the hub's copy, or what is rendered."""
    data_revision: str | None = None
    """Branch, tag or commit of the hub's copy."""
    split: Literal["heldout", "train"] | None = None
    """Of tiny-world."""
    name: str | None = None
    """What figures call it; None: the file's name without its suffix for ``pairs``, else the benchmark's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.benchmark == "pairs" and self.data is None:
            raise ConfigError("benchmark pairs is preferences of one's own; say which file with data")

    @property
    def label(self) -> str:
        """What figures call it."""
        if self.benchmark == "pairs" and self.data:
            return self.name or Path(self.data).name.partition(".")[0]
        return self.name or self.benchmark


@dataclass(frozen=True, kw_only=True)
class AuditPart(EvaluatedData):
    """Audits of the same pairs."""

    data: str
    """A file of preferences, or ``tiny-world``."""
    names: tuple[str, ...] | None = None
    """Which audits; None: all, which is some forty conversations to a pair."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is measured of the model as it is: before a stage's first step, every so many, and behind its last."""

    every: int
    """Optimizer steps between two evaluations."""
    benchmarks: tuple[BenchmarkPart, ...] = ()
    """How often the model prefers the better response, with and without pictures."""
    audits: AuditPart | None = None
    """What its rewards really look at."""
    allow_missing: bool = False
    """Whether items whose picture or row cannot be used are left out; otherwise they are an error at the start."""

    def __post_init__(self) -> None:
        positive("every", self.every)
        if not self.benchmarks and self.audits is None:
            raise ConfigError("nothing to evaluate; say benchmarks or audits")
        labels = [part.label for part in self.benchmarks]
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigError(f"benchmarks: two are called {label!r}; give one of them another 'name'")

    def times(self, steps: int) -> int:
        """How often that is in a stage of so many steps."""
        return 1 + -(-steps // self.every)
