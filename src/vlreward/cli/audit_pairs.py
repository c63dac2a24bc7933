"""The pairs of an audit on their way to a model, and what a row says of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError, InputError, MediaError

if TYPE_CHECKING:
    from vlreward.data.limits import MediaLimits
    from vlreward.engines.base import Engine
    from vlreward.evaluate.audits import Audit
    from vlreward.evaluate.audits.pair import DataSet, Pair
    from vlreward.evaluate.benchmarks import Benchmark, Selection
    from vlreward.types import Group

    from .compute import Row

WORLD = "tiny-world"
WORLD_PAIRS = 440


@dataclass(frozen=True, kw_only=True)
class AuditData:
    """Which pairs are audited."""

    data: str
    """A file of preferences, or the rendered world."""
    pairs: int | None = None
    """So many of them; None: all, or `WORLD_PAIRS`."""
    seed: int | None = None
    """Of the world."""
    format: str | None = None
    media_dir: Path | None = None
    ignore: tuple[str, ...] = ()

    def source(self) -> tuple[Benchmark, Selection]:
        """Where they are read from.

        Raises:
            ConfigError: something is said that means nothing to it.
        """
        from vlreward.evaluate.benchmarks import benchmark_of

        common = {"format": self.format, "media_dir": self.media_dir, "ignore": self.ignore}
        if self.data == WORLD:
            benchmark = benchmark_of(WORLD)
            chosen: dict[str, Any] = {"pairs": self.pairs or WORLD_PAIRS, "seed": self.seed, **common}
        else:
            if self.seed is not None:
                raise ConfigError(f"--seed is about {WORLD}; {self.data} is what it is")
            benchmark = benchmark_of("pairs")
            chosen = {"data": Path(self.data), **common}
        given = {name: value for name, value in chosen.items() if value not in (None, ())}
        return benchmark, benchmark.select(**given)

    def options(self) -> dict[str, Any]:
        """What decides which pairs these are, as it came out, for a record."""
        from .evaluated import options_of

        return options_of(*self.source()) | {"pairs": self.pairs or (WORLD_PAIRS if self.data == WORLD else None)}


@dataclass(frozen=True, kw_only=True)
class FoundPairs:
    """The pairs that are audited, and those that cannot be."""

    data: DataSet
    errors: list[InputError] = field(default_factory=list)
    """What is wrong with each pair that cannot be used."""
    left_out: Counter[str] = field(default_factory=Counter)

    def warnings(self, spoilt: Sequence[str]) -> list[str]:
        """What a reader of the figures has to know; missing pairs first.

        Args:
            spoilt: what is wrong with pairs of which it turned out while they were scored.
        """
        from vlreward.evaluate.unusable import unusable_words

        reasons = [*map(str, self.errors), *spoilt]
        missing = [unusable_words(reasons, len(self.data.pairs) - len(spoilt), "pairs")] if reasons else []
        return missing + [f"left out: {number:,} {reason}" for reason, number in self.left_out.items()]


def find_pairs(asked: AuditData, limits: MediaLimits) -> FoundPairs:
    """Every pair, with its pictures looked for.

    Raises:
        InputError: the file cannot be read.
    """
    return read_pairs(*asked.source(), None if asked.data == WORLD else asked.pairs, limits)


def read_pairs(benchmark: Benchmark, selection: Selection, number: int | None, limits: MediaLimits) -> FoundPairs:
    """The pairs of a benchmark, or so many drawn of them, with their pictures looked for.

    Raises:
        InputError: the file cannot be read.
    """
    from vlreward.evaluate.audits.pair import DataSet, pair_of
    from vlreward.evaluate.benchmarks import Item

    left_out: Counter[str] = Counter()
    errors: list[InputError] = []
    pairs: list[Pair] = []
    for item in benchmark.read(selection, left_out):
        if isinstance(item, Item):
            pairs.append(pair_of(item, benchmark.shared))
        else:
            errors.append(item.error)
    if number:
        names = drawn([pair.id for pair in pairs], number)
        pairs = [pair for pair in pairs if pair.id in names]
    pairs = [pair for pair in pairs if _is_usable(pair, limits, errors)]
    return FoundPairs(data=DataSet(pairs=pairs, limits=limits), errors=errors, left_out=left_out)


def _is_usable(pair: Pair, limits: MediaLimits, errors: list[InputError]) -> bool:
    """Whether its pictures are there; if not, why is added to the errors."""
    from vlreward.evaluate.audits.pair import check_pictures

    try:
        check_pictures(pair, limits)
    except MediaError as error:
        errors.append(error)
        return False
    return True


def drawn(names: Sequence[str], number: int) -> frozenset[str]:
    """So many of these names, drawn by themselves: where they stand in a file has no say."""
    from vlreward.tiny.world.chance import Chance

    return frozenset(sorted(names, key=lambda name: (Chance("audit", "drawn", name).key(), name))[:number])


@dataclass(kw_only=True)
class AuditScorer:
    """An engine that gives rows, a pair and all of its variants each."""

    engine: Engine
    pairs: Mapping[str, Pair]
    audits: Sequence[Audit]
    data: DataSet
    resolved: Mapping[str, Any]

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        """One row per pair."""
        from vlreward.evaluate.audits.scoring import score_pairs

        return score_pairs(self.engine, [self.pairs[str(group.id)] for group in groups], self.audits, self.data)
