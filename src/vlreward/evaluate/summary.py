"""From the scores of a benchmark's items to its figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from vlreward.errors import InputError

from .agreement import kendall_tau_b
from .benchmarks.benchmark import Benchmark, Shared
from .metrics import (
    Interval,
    accuracy,
    accuracy_interval,
    best_of_n_accuracy,
    bootstrap_parts,
    join_clusters,
)
from .scores import ItemScores
from .unusable import unusable_words

FEW_CLUSTERS = 20


@dataclass(frozen=True, kw_only=True)
class BestOfN:
    """How often a best response has the largest reward, among rankings of more than two responses."""

    n: int
    """Rankings of more than two."""
    accuracy: float
    interval: Interval | None
    """95 %; None where the rankings are all one cluster."""
    chance: float
    """What choosing a response at random gets right."""
    blank: float | None
    """What the same model gets right with the pictures blanked, over rankings that have some."""
    tau: float
    """The mean agreement with the whole ranking, from -1 to 1; see `kendall_tau_b`."""


@dataclass(frozen=True, kw_only=True)
class AllRight:
    """How often all items that belong together were got right."""

    n: int
    """Sets of items."""
    accuracy: float
    interval: Interval | None
    """95 %; None where the items are all one cluster."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """How often some items were got right."""

    n: int
    """Items."""
    accuracy: float
    """Of items as the benchmark weighs them, or its own figure of this group."""
    interval: Interval | None
    """95 %; None where the items are all one cluster."""
    best_of_n: BestOfN | None
    """Of those that have more than two responses; None where none has."""
    all_right: AllRight | None
    """Where the benchmark asks for it."""


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """How often the same items are got right without understanding them; None where there is nothing to say it of."""

    longer: float
    """By the response with more characters; equal lengths count what equal rewards do."""
    first: float | None
    """By the response that is shown first, over items that keep such an order."""
    blank: float | None
    """By the same model with the pictures blanked, over items that have some."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The figures of one model on one benchmark; shares are from 0 to 1."""

    benchmark: str
    model: str | None
    """As it was named; None where the scores do not say."""
    n: int
    """Items."""
    accuracy: float
    macro: float | None
    """The mean over the groups of the benchmark's first label; None where items have none, or a group is missing."""
    interval: Interval | None
    """Of the accuracy, 95 %, over clusters."""
    best_of_n: BestOfN | None
    """Of the items that have more than two responses; None where none has."""
    all_right: AllRight | None
    """Where the benchmark asks for it."""
    groups: Mapping[str, Share]
    """By the values of the first label, then by those of the others, as ``label: value``."""
    baselines: Baselines
    blank_groups: Mapping[str, Share]
    """The blank baseline by the same groups."""
    unusable: int
    """Items that are left out because they cannot be used."""
    repeated_ids: int
    """Ids that stand for several items."""
    counts_expected: Mapping[str, int]
    """Items that each group should have; empty where nobody can know."""
    warnings: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """As the command line prints it: what every benchmark has, and of the rest what there is.

        The blank baseline by groups is left to tables.
        """
        values = {name: value for name, value in _there(asdict(self)).items() if name != "blank_groups"}
        return values | {"groups": {name: _there(share) for name, share in values["groups"].items()}}


_WHERE_THERE_IS_ONE = ("best_of_n", "all_right", "unusable", "repeated_ids")


def _there(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value or name not in _WHERE_THERE_IS_ONE}


def summarise(
    benchmark: Benchmark,
    scores: Iterable[ItemScores],
    *,
    model: str | None,
    shared: Sequence[Shared] | None = None,
    counts_expected: Mapping[str, int] | None = None,
    left_out: Mapping[str, int] | None = None,
    unusable: Sequence[str] = (),
) -> Summary:
    """The figures of a benchmark.

    Args:
        benchmark: says how items are grouped.
        scores: one entry per item.
        model: the model's name.
        shared: what makes items one cluster; what the benchmark says, unless told.
        counts_expected: items of each group when all are there.
        left_out: what was left out while reading, by reason.
        unusable: what is wrong with the items that could not be used; the first warning says so.

    Raises:
        InputError: there are no scores, or one item has several.
    """
    judged = _judge(list(scores), benchmark, shared)
    groups = _groups(judged, benchmark)
    blind = [replace(item, right=item.blank) for item in judged if item.blank is not None]
    expected = dict(counts_expected or {})
    in_macro = _names(judged, benchmark.grouping[0])
    overall = _share([replace(item, weight=1.0) for item in judged], benchmark)
    repeated = _repeated_ids(judged)
    warnings = (
        [unusable_words(unusable, len(judged), "items")] if unusable else [],
        _version_warnings(benchmark, len(judged) + len(unusable), expected),
        _count_warnings(benchmark, groups, in_macro, expected),
        _repeat_warnings(benchmark, repeated),
        (f"left out: {number:,} {reason}" for reason, number in (left_out or {}).items()),
        _cluster_warnings(judged),
    )
    return Summary(
        benchmark=benchmark.name,
        model=model,
        n=overall.n,
        accuracy=overall.accuracy,
        macro=_macro(groups, in_macro, expected),
        interval=overall.interval,
        best_of_n=overall.best_of_n,
        all_right=overall.all_right,
        groups=groups,
        baselines=_baselines(judged, benchmark),
        blank_groups=_groups(blind, benchmark),
        unusable=len(unusable),
        repeated_ids=repeated,
        counts_expected=expected,
        warnings=[line for lines in warnings for line in lines],
    )


def _macro(groups: Mapping[str, Share], names: Sequence[str], expected: Iterable[str]) -> float | None:
    """The mean over groups; None without any, or when one that belongs there has no figure."""
    if not names or any(name not in groups for name in (*names, *expected)):
        return None
    return accuracy([groups[name].accuracy for name in names])


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """An item with the share of its comparisons that are right."""

    scores: ItemScores
    right: float
    blank: float | None
    cluster: int
    weight: float


def _judge(items: Sequence[ItemScores], benchmark: Benchmark, shared: Sequence[Shared] | None) -> list[_Judged]:
    if not items:
        raise InputError(f"{benchmark.name}: no scores to compute anything from")
    name, times = Counter(item.id for item in items).most_common(1)[0]
    if times > 1:
        raise InputError(f"{benchmark.name}: item {name!r} has {times} scores; an item counts once")
    clusters = join_clusters([item.cluster_keys(benchmark.shared if shared is None else shared) for item in items])
    sizes = Counter(item.labels.get("subset") for item in items)
    return [
        _Judged(
            scores=item,
            right=benchmark.judge(item.rewards, item.ranks, item.labels),
            blank=None if item.blank is None else benchmark.judge(item.blank, item.ranks, item.labels),
            cluster=cluster,
            weight=benchmark.weights.get(item.labels.get("subset", ""), 1) / sizes[item.labels.get("subset")]
            if benchmark.weights
            else 1.0,
        )
        for item, cluster in zip(items, clusters, strict=True)
    ]


def _share(judged: Sequence[_Judged], benchmark: Benchmark) -> Share:
    right, clusters = [item.right for item in judged], [item.cluster for item in judged]
    weights = [item.weight for item in judged] if benchmark.weights else None
    return Share(
        n=len(judged),
        accuracy=accuracy(right, weights),
        interval=accuracy_interval(right, clusters, weights),
        best_of_n=_best_of_n([item for item in judged if len(item.scores.ranks) > 2]),
        all_right=_all_right(judged, benchmark.all_right) if benchmark.all_right else None,
    )


def _all_right(judged: Sequence[_Judged], label: str) -> AllRight:
    together: dict[str, list[_Judged]] = {}
    for item in judged:
        together.setdefault(item.scores.labels.get(label, item.scores.id), []).append(item)
    right = [float(all(item.right == 1 for item in items)) for items in together.values()]
    clusters = [items[0].cluster for items in together.values()]
    return AllRight(n=len(right), accuracy=accuracy(right), interval=accuracy_interval(right, clusters))


def _best_of_n(judged: Sequence[_Judged]) -> BestOfN | None:
    if not judged:
        return None
    items = [item.scores for item in judged]
    right = [best_of_n_accuracy(item.rewards, item.ranks) for item in items]
    blank = [best_of_n_accuracy(item.blank, item.ranks) for item in items if item.blank is not None]
    return BestOfN(
        n=len(items),
        accuracy=accuracy(right),
        interval=accuracy_interval(right, [item.cluster for item in judged]),
        chance=accuracy([best_of_n_accuracy([0.0] * len(item.ranks), item.ranks) for item in items]),
        blank=accuracy(blank) if blank else None,
        tau=fmean(kendall_tau_b(item.rewards, item.ranks) for item in items),
    )


def _names(judged: Sequence[_Judged], label: str) -> list[str]:
    """The values of a label, in the order of the alphabet."""
    return sorted({item.scores.labels[label] for item in judged if label in item.scores.labels})


def _of_first_label(names: Iterable[str]) -> list[str]:
    """Group names without those that another label is said with."""
    return [name for name in names if ": " not in name]


def _repeated_ids(judged: Sequence[_Judged]) -> int:
    """Ids that stand for several items."""
    ids = Counter(item.scores.labels["id"] for item in judged if "id" in item.scores.labels)
    return sum(times > 1 for times in ids.values())


def _groups(judged: Sequence[_Judged], benchmark: Benchmark) -> dict[str, Share]:
    """Every group that has items; one with a figure of its own only when that can be said of its items."""
    found: dict[str, Share] = {}
    for i, label in enumerate(benchmark.grouping):
        for name in _names(judged, label):
            members = [item for item in judged if item.scores.labels.get(label) == name]
            share = _share(members, benchmark)
            if i == 0 and name in benchmark.group_scores:
                own = benchmark.group_scores[name]
                parts = own.parts([item.scores for item in members])
                share = replace(share, accuracy=own.score(parts), interval=bootstrap_parts(parts, own.score))
            if not math.isnan(share.accuracy):
                found[name if i == 0 else f"{label}: {name}"] = share
    return found


def _baselines(judged: Sequence[_Judged], benchmark: Benchmark) -> Baselines:
    def right(item: ItemScores, scores: Sequence[float]) -> float:
        return benchmark.judge(scores, item.ranks, item.labels)

    items = [item.scores for item in judged]
    shown = [right(item, range(len(item.ranks), 0, -1)) for item in items if item.ordered]
    blank = [item.blank for item in judged if item.blank is not None]
    return Baselines(
        longer=accuracy([right(item, item.lengths) for item in items]),
        first=accuracy(shown) if shown else None,
        blank=accuracy(blank) if blank else None,
    )


def _version_warnings(benchmark: Benchmark, n: int, expected: Mapping[str, int]) -> Iterator[str]:
    if not benchmark.versions or not expected:
        return
    whole = sum(expected[name] for name in _of_first_label(expected))
    if n in benchmark.versions:
        yield f"{n:,} items are another version ({benchmark.versions[n]}), not the {whole:,} of the counts here"
    elif n != whole:
        known = ", ".join(f"{number:,}" for number in sorted({whole, *benchmark.versions}))
        yield f"{n:,} items are no version that is known ({known}): figures do not compare with published ones"


def _repeat_warnings(benchmark: Benchmark, repeated: int) -> Iterator[str]:
    wanted = benchmark.repeated_ids
    if wanted is not None and repeated != wanted:
        yield f"{repeated:,} ids stand for several items, where {wanted:,} do in the published data"


def _count_warnings(
    benchmark: Benchmark, groups: Mapping[str, Share], names: Iterable[str], expected: Mapping[str, int]
) -> Iterator[str]:
    for name in dict.fromkeys([*expected, *names]) if expected else ():
        found, wanted = groups[name].n if name in groups else 0, expected.get(name, 0)
        if found != wanted:
            how = "were inferred" if name in benchmark.inferred else "are expected"
            yield f"{name}: {found:,} items where {wanted:,} {how}"


def _cluster_warnings(judged: Sequence[_Judged]) -> Iterator[str]:
    number = len({item.cluster for item in judged})
    if number < min(FEW_CLUSTERS, len(judged)):
        clusters = "1 cluster" if number == 1 else f"{number:,} clusters"
        yield f"{len(judged):,} items that share prompts or pictures are {clusters}: intervals say little"
