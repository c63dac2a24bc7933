"""What a benchmark is: where its items come from, how they are grouped, and what counts as right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vlreward.errors import ConfigError, InputError
from vlreward.tiny.world import Split
from vlreward.types import Ranking

from ..metrics import preference_accuracy

if TYPE_CHECKING:
    import numpy as np

    from ..scores import ItemScores

Shared: TypeAlias = Literal["prompt", "picture"]
Judge: TypeAlias = Callable[[Sequence[float], Sequence[int], Mapping[str, str]], float]
"""How right scores are, from 0 to 1, given an item's ranks and labels."""


def ties_half(scores: Sequence[float], ranks: Sequence[int], _labels: Mapping[str, str]) -> float:
    """The share of comparisons that are right; equal scores count half."""
    return preference_accuracy(scores, ranks)


def ties_wrong(scores: Sequence[float], ranks: Sequence[int], _labels: Mapping[str, str]) -> float:
    """The share of comparisons that are right; equal scores are wrong."""
    return preference_accuracy(scores, ranks, tie=0.0)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a run has chosen of a benchmark; see `Benchmark.select`."""

    data: Path | None = None
    """A file of items, or the folder of a benchmark; None: the hub's copy."""
    data_revision: str | None = None
    """A branch, tag or commit of the hub's copy."""
    offline: bool = False
    """Whether only what the hub's cache holds may be used."""
    format: str | None = None
    """The format of that file; None: its first row says it."""
    ignore: tuple[str, ...] = ()
    """Keys of that file that are passed over."""
    media_dir: Path | None = None
    """Where relative paths in that file start; None: its folder."""
    pairs: int = 0
    """How many items are drawn."""
    seed: int = 0
    """Of the draws."""
    split: Split = "heldout"
    """Of the rendered world."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A group, which of its responses are better, and where the item belongs."""

    ranking: Ranking
    """Its group has an id that no other item has. Not all ranks are equal."""
    where: str
    """The item's place, as errors name it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What it is grouped by, such as its task."""
    is_ordered: bool = False
    """Whether the responses stand in the order in which they are shown to a judge, rather than the better one first."""


@dataclass(frozen=True, kw_only=True)
class Unusable:
    """An item that is there but cannot be used: a picture is missing, or the row is of another form."""

    where: str
    """The item's place, as errors name it."""
    error: InputError
    """What is wrong with it; the message starts with ``where``."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a paper says of a system; shares from 0 to 1."""

    system: str
    figures: Mapping[str, float]
    """By the names of groups, and ``overall`` or ``macro``."""
    source: str
    """The paper."""


@dataclass(frozen=True, kw_only=True)
class GroupScore:
    """The figure of a group that is no mean over its items."""

    parts: Callable[[Sequence[ItemScores]], np.ndarray]
    """From the group's items to its independent parts, one per row."""
    score: Callable[[np.ndarray], float]
    """From such parts to the figure."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark. Items whose responses are all tied say nothing and are left out by `read`, and counted."""

    name: str
    """As the command line calls it."""
    source: str
    """Where its items are from."""
    licence: str
    """Under which terms."""
    fields: str
    """What an item has, in a line."""
    grouping: tuple[str, ...]
    """Labels that accuracies are given for; the macro average is over the values of the first."""
    tie_rule: str
    """What equal rewards count, in words."""
    shared: tuple[Shared, ...]
    """What makes items one cluster when they have it in common."""
    takes: Mapping[str, Any]
    """The fields of `Selection` that mean something to it, with what they are unless told."""
    counts: Callable[[Selection], Mapping[str, int]]
    """How many items each value of the first label has when all are there; empty where nobody can know."""
    read: Callable[[Selection, Counter[str]], Iterator[Item | Unusable]]
    """Its items, always in the same order; what is left out is counted by reason. Raises an `InputError` where there
    is nothing to read."""
    fetch: Callable[[Selection], Path] | None = None
    """The folder of the hub's copy, fetched when it has to be; None where there is no such thing."""
    judge: Judge = ties_half
    """How right scores are on one item; also the baselines'."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """What each value of the label ``subset`` counts in its group, however many items it has."""
    group_scores: Mapping[str, GroupScore] = field(default_factory=dict)
    """Groups of the first label with a figure of their own."""
    all_right: str | None = None
    """A label whose items have to be right together, for a second figure (Acc+)."""
    overall: str = "overall"
    """What the benchmark calls the share over all items."""
    macro: str | None = None
    """What it calls the mean over the groups of the first label."""
    inferred: tuple[str, ...] = ()
    """Values of the first label whose number in `counts` is worked out from other figures rather than published."""
    versions: Mapping[int, str] = field(default_factory=dict)
    """What is known of versions with another number of items than `counts` add up to."""
    repeated_ids: int | None = None
    """How many ids stand for several items in the published data; None where that is not known."""
    published: tuple[Published, ...] = ()
    """What the reference systems reach."""

    def select(self, **chosen: Any) -> Selection:
        """What is chosen, and the benchmark's own choice of the rest.

        Raises:
            ConfigError: something is chosen that means nothing to it.
        """
        for name in chosen:
            if name not in self.takes:
                known = ", ".join(map(_words, self.takes))
                raise ConfigError(f"{self.name} takes no {_words(name)}; it takes: {known}")
        return Selection(**{**self.takes, **chosen})


def _words(name: str) -> str:
    return name.replace("_", " ")
