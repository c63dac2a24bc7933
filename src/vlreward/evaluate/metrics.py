"""How right a model is, and how sure that is: pure functions over numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TypeAlias

import numpy as np

from vlreward.data.length_bias import wilson_interval

Interval: TypeAlias = tuple[float, float]
_BLOCK = 64
"""Resamples that are drawn together: a few megabytes for some thousands of values."""


def preference_accuracy(scores: Sequence[float], ranks: Sequence[int], *, tie: float = 0.5) -> float:
    """The share of a ranking's comparisons that scores get right.

    Every two responses of different rank are a comparison. It is right when the better one has the larger score.

    Args:
        scores: one number per response, the larger the better.
        ranks: one rank per response, 0 the best.
        tie: what equal scores count.

    Raises:
        ValueError: all ranks are equal, so that there is nothing to be right about.
    """
    pairs = itertools.permutations(zip(scores, ranks, strict=True), 2)
    right = [
        1.0 if better > worse else tie if better == worse else 0.0
        for (better, high), (worse, low) in pairs
        if high < low
    ]
    return accuracy(right)


def best_of_n_accuracy(scores: Sequence[float], ranks: Sequence[int]) -> float:
    """Whether the response with the largest score is a best one.

    Where several have the largest score, the share of them that are best: what choosing one of them at random gets
    right (RewardBench 2, arXiv 2506.01937).

    Args:
        scores: one number per response, the larger the better.
        ranks: one rank per response, the smallest the best.

    Raises:
        ValueError: there are no responses.
    """
    best = min(ranks, default=0)
    highest = max(scores, default=0.0)
    chosen = [rank for score, rank in zip(scores, ranks, strict=True) if score == highest]
    return accuracy([float(rank == best) for rank in chosen])


def separates(scores: Sequence[float], ranks: Sequence[int]) -> bool:
    """Whether every best response has a larger score than every other one.

    Args:
        scores: one number per response, the larger the better.
        ranks: one rank per response, the smallest the best; not all equal.

    Raises:
        ValueError: all ranks are equal.
    """
    best = min(ranks, default=0)
    worst_of_best = min(score for score, rank in zip(scores, ranks, strict=True) if rank == best)
    return worst_of_best > max(score for score, rank in zip(scores, ranks, strict=True) if rank != best)


def accuracy(outcomes: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The mean of outcomes: 1 for right, 0 for wrong, 0.5 for a tie.

    Args:
        outcomes: one number per item.
        weights: what each item counts; without, all count the same.

    Raises:
        ValueError: there are none.
    """
    if not outcomes:
        raise ValueError("the accuracy of nothing")
    return float(np.average(outcomes, weights=weights))


def bootstrap_interval(
    values: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    weights: Sequence[float] | None = None,
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval | None:
    """The percentile bootstrap interval of a mean (Efron, 1979).

    Whole clusters are drawn, as many as there are, with replacement: values of one cluster are not independent, and to
    draw them one by one would make the interval too narrow (Davison and Hinkley, 1997, section 3.8).

    Args:
        values: any numbers.
        clusters: one name per value; without, each value is a cluster of its own.
        weights: what each value counts in the mean; without, all count the same.
        seed: of the draws; the same seed gives the same interval.
        resamples: how many means are drawn.
        level: the share of them that lies within.

    Returns:
        Both ends; None with fewer than two clusters, where nothing is known of the spread.

    Raises:
        ValueError: there are no values.
    """
    totals, sizes = _by_cluster(values, clusters, weights)
    if len(sizes) < 2:
        return None
    chance = np.random.Generator(np.random.PCG64(seed))
    drawn = []
    for start in range(0, resamples, _BLOCK):
        # The same draws as one by one in `bootstrap_parts`, twice as fast.
        index = chance.integers(len(sizes), size=(min(_BLOCK, resamples - start), len(sizes)))
        drawn.append(totals[index].sum(axis=1) / sizes[index].sum(axis=1))
    return _within(np.concatenate(drawn), level)


def _within(drawn: Sequence[float] | np.ndarray, level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_parts(
    parts: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval | None:
    """The percentile bootstrap interval of any figure of independent parts.

    Args:
        parts: an array whose first axis is drawn from, with replacement.
        statistic: the figure of so many parts.
        seed: of the draws; the same seed gives the same interval.
        resamples: how many figures are drawn.
        level: the share of them that lies within.

    Returns:
        Both ends; None with fewer than two parts, or where some draws of them have no figure.
    """
    count = len(parts)
    if count < 2:
        return None
    chance = np.random.Generator(np.random.PCG64(seed))
    drawn = [statistic(parts[chance.integers(count, size=count)]) for _ in range(resamples)]
    return _within(drawn, level) if np.isfinite(drawn).all() else None


def accuracy_interval(
    outcomes: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    weights: Sequence[float] | None = None,
    *,
    seed: int = 0,
) -> Interval | None:
    """The 95 % interval of an accuracy: `bootstrap_interval`, but where every cluster is equally right.

    There, drawing again shows no spread at all. As many independent trials as there are clusters are taken instead,
    with the interval of Wilson (1927).

    Returns:
        Both ends; None with fewer than two clusters.

    Raises:
        ValueError: there are no outcomes.
    """
    # Of the outcomes as they are: weighted, equal ones could differ in their last digits.
    totals, sizes = _by_cluster(outcomes, clusters)
    if len(sizes) > 1 and np.ptp(totals / sizes) == 0:
        share = float(totals[0] / sizes[0])
        low, high = wilson_interval(share, len(sizes))
        return min(low, share), max(high, share)  # rounding may leave an end just inside
    return bootstrap_interval(outcomes, clusters, weights, seed=seed)


def clustered_standard_error(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> float | None:
    """The standard error of a mean of values that are alike within clusters.

    Residuals are summed within each cluster before they are squared (Liang and Zeger, 1986), times G / (G - 1) for G
    clusters. Where every value stands alone this is the standard deviation over the root of their number.

    Args:
        values: any numbers.
        clusters: one name per value; without, each value is a cluster of its own.

    Returns:
        In the unit of the values; None with fewer than two clusters.

    Raises:
        ValueError: there are no values.
    """
    totals, sizes = _by_cluster(values, clusters)
    count, number = len(sizes), sizes.sum()
    if count < 2:
        return None
    residuals = totals - sizes * (totals.sum() / number)
    return math.sqrt(count / (count - 1) * float((residuals**2).sum())) / float(number)


def join_clusters(keys: Sequence[Collection[Hashable]]) -> list[int]:
    """Items that share a key are one cluster, and so are those that are joined by others.

    Args:
        keys: what each item may share with others; an item without any stands alone.

    Returns:
        The number of each item's cluster: that of the first item in it.
    """
    parents = list(range(len(keys)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = i = parents[parents[i]]
        return i

    holders: dict[Hashable, int] = {}
    for i, shared in enumerate(keys):
        for key in shared:
            one, other = sorted((root(i), root(holders.setdefault(key, i))))
            parents[other] = one
    return [root(i) for i in range(len(keys))]


def _by_cluster(
    values: Sequence[float], clusters: Sequence[Hashable] | None, weights: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the weighted values of each cluster, and of their weights."""
    if not values:
        raise ValueError("the spread of nothing")
    names: Sequence[Hashable] = range(len(values)) if clusters is None else clusters
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(name, len(numbers)) for name in names]
    if len(index) != len(values):
        raise ValueError(f"{len(index)} cluster names for {len(values)} values")
    counts = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    return np.bincount(index, counts * np.asarray(values, dtype=float)), np.bincount(index, counts)
