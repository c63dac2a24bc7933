"""The items of a benchmark on their way to a model, and what a row says of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vlreward.errors import InputError, MediaError

if TYPE_CHECKING:
    from vlreward.data.groups import GroupRow
    from vlreward.data.limits import MediaLimits
    from vlreward.engines.base import Engine
    from vlreward.evaluate.benchmarks import Benchmark, Selection
    from vlreward.types import Group

    from .compute import Row

CHUNK = 32
"""Items computed together."""
CLUSTERS: dict[str, tuple[Any, ...]] = {
    "prompt": ("prompt",),
    "picture": ("picture",),
    "both": ("prompt", "picture"),
    "none": (),
}
"""What ``--cluster-by`` says."""


@dataclass(kw_only=True)
class BenchmarkItems:
    """A benchmark's items as groups, and what else their rows will say."""

    benchmark: Benchmark
    selection: Selection
    limits: MediaLimits
    allow_missing: bool
    facts: dict[str, Row] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    unusable: list[InputError] = field(default_factory=list)

    def rows(self) -> Iterator[GroupRow]:
        """The items from the first on.

        Raises:
            InputError: at the end, when there are some that cannot be used, and that is not allowed; or no others.
        """
        from vlreward.data.groups import GroupRow
        from vlreward.evaluate.benchmarks import Item
        from vlreward.evaluate.check import check_media
        from vlreward.evaluate.scores import facts_of
        from vlreward.evaluate.unusable import refusal

        self.facts.clear()
        self.left_out.clear()
        self.unusable.clear()
        for item in self.benchmark.read(self.selection, self.left_out):
            if not isinstance(item, Item):
                self.unusable.append(item.error)
                continue
            try:
                check_media(item.ranking.group, item.where, self.limits)
            except MediaError as error:
                self.unusable.append(error)
                continue
            facts = facts_of(item, self.benchmark.shared)
            self.facts[facts["id"]] = facts
            yield GroupRow(where=item.where, content=item.ranking.group)
        if self.unusable and not (self.allow_missing and self.facts):
            raise refusal(self.unusable, len(self.facts), "items", allowed=self.allow_missing)


@dataclass(kw_only=True)
class BenchmarkScorer:
    """An engine that gives rows, with and without the pictures."""

    engine: Engine
    facts: Mapping[str, Row]
    limits: MediaLimits
    resolved: Mapping[str, Any]

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        """One row per item."""
        from vlreward.evaluate.scores import score_blank_too

        scored = score_blank_too(self.engine, groups, self.limits)
        return [self.facts[str(group.id)] | values for group, values in zip(groups, scored, strict=True)]
