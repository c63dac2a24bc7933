"""The arithmetic against slow definitions, and intervals against a simulation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlreward.data.length_bias import wilson_interval
from vlreward.evaluate.metrics import (
    accuracy,
    accuracy_interval,
    best_of_n_accuracy,
    bootstrap_interval,
    clustered_standard_error,
    join_clusters,
    preference_accuracy,
    separates,
)

OUTCOMES = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=12)


@given(st.data(), st.integers(2, 6))
def test_preference_accuracy_is_what_it_says(data: st.DataObject, size: int) -> None:
    scores = data.draw(st.lists(st.integers(-2, 2), min_size=size, max_size=size))
    ranks = data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size).filter(lambda r: len(set(r)) > 1))
    right, compared = 0.0, 0
    for i in range(size):
        for j in range(i):
            if ranks[i] == ranks[j]:
                continue
            better, worse = (i, j) if ranks[i] < ranks[j] else (j, i)
            compared += 1
            right += 0.5 if scores[better] == scores[worse] else float(scores[better] > scores[worse])
    assert preference_accuracy(scores, ranks) == pytest.approx(right / compared)
    strictly = preference_accuracy(scores, ranks, tie=0.0)
    ties = sum(scores[i] == scores[j] and ranks[i] != ranks[j] for i in range(size) for j in range(i))
    assert strictly == pytest.approx((right - 0.5 * ties) / compared)
    order = data.draw(st.permutations(range(size)))
    assert preference_accuracy([scores[i] for i in order], [ranks[i] for i in order]) == pytest.approx(right / compared)


@given(st.data(), st.integers(2, 6))
def test_best_of_n_is_what_choosing_the_highest_gets_right(data: st.DataObject, size: int) -> None:
    scores = data.draw(st.lists(st.integers(-2, 2), min_size=size, max_size=size))
    ranks = data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    highest = [i for i in range(size) if all(scores[i] >= score for score in scores)]
    best = [i for i in range(size) if all(ranks[i] <= rank for rank in ranks)]
    assert best_of_n_accuracy(scores, ranks) == pytest.approx(len(set(highest) & set(best)) / len(highest))
    if size == 2 and ranks[0] != ranks[1]:
        assert best_of_n_accuracy(scores, ranks) == preference_accuracy(scores, ranks)


@given(st.data(), st.integers(2, 6))
def test_separated_is_what_no_pair_speaks_against(data: st.DataObject, size: int) -> None:
    scores = data.draw(st.lists(st.integers(-2, 2), min_size=size, max_size=size))
    ranks = data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size).filter(lambda r: len(set(r)) > 1))
    assert separates(scores, ranks) == (preference_accuracy(scores, ranks, tie=0.0) == 1)


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.integers(1, 4)), min_size=2, max_size=9), st.integers(0, 3))
def test_a_weight_is_as_many_items(items: list[tuple[float, int]], seed: int) -> None:
    values, weights = zip(*items, strict=True)
    written_out = [value for value, weight in items for _ in range(weight)]
    names = [i for i, (_, weight) in enumerate(items) for _ in range(weight)]
    assert accuracy(values, weights) == pytest.approx(accuracy(written_out))
    found = bootstrap_interval(values, None, weights, seed=seed, resamples=40)
    assert found == pytest.approx(bootstrap_interval(written_out, names, seed=seed, resamples=40))


def test_of_nothing_there_is_no_metric() -> None:
    with pytest.raises(ValueError, match="nothing"):
        best_of_n_accuracy([], [])
    with pytest.raises(ValueError, match="nothing"):
        accuracy([])
    with pytest.raises(ValueError, match="nothing"):
        preference_accuracy([1.0, 2.0], [0, 0])
    with pytest.raises(ValueError, match="nothing"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="nothing"):
        clustered_standard_error([])
    assert clustered_standard_error([1.0]) is None
    with pytest.raises(ValueError, match="3 cluster names for 2 values"):
        bootstrap_interval([1.0, 2.0], ["a", "b", "c"])


def slow_bootstrap(values: Sequence[float], clusters: Sequence[str], seed: int, resamples: int) -> tuple[float, float]:
    """Draws clusters, writes out all their values, and takes the mean."""
    names = list(dict.fromkeys(clusters))
    members = {name: [v for v, c in zip(values, clusters, strict=True) if c == name] for name in names}
    chance = np.random.Generator(np.random.PCG64(seed))
    means = []
    for _ in range(resamples):
        drawn = [names[i] for i in chance.integers(len(names), size=len(names))]
        means.append(np.mean(list(itertools.chain.from_iterable(members[name] for name in drawn))))
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


@given(OUTCOMES, st.data(), st.integers(0, 3))
def test_bootstrap_is_what_it_says(values: list[float], data: st.DataObject, seed: int) -> None:
    clusters = data.draw(st.lists(st.sampled_from("abcde"), min_size=len(values), max_size=len(values)))
    found = bootstrap_interval(values, clusters, seed=seed, resamples=40)
    if len(set(clusters)) < 2:
        assert found is None
    else:
        assert found == pytest.approx(slow_bootstrap(values, clusters, seed, 40))


def test_bootstrap_is_seeded() -> None:
    values = list(np.random.default_rng(0).random(30))
    assert bootstrap_interval(values) == bootstrap_interval(values) != bootstrap_interval(values, seed=1)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.data())
def test_the_standard_error_sums_every_two_values_of_a_cluster(values: list[float], data: st.DataObject) -> None:
    clusters = data.draw(st.lists(st.sampled_from("abcde"), min_size=len(values), max_size=len(values)))
    count, mean = len(set(clusters)), sum(values) / len(values)
    found = clustered_standard_error(values, clusters)
    if count < 2:
        assert found is None
        return
    pairs = itertools.product(zip(values, clusters, strict=True), repeat=2)
    products = sum((a - mean) * (b - mean) for (a, one), (b, other) in pairs if one == other)
    assert found == pytest.approx(np.sqrt(max(products, 0.0) * count / (count - 1)) / len(values), abs=1e-7)
    alone = clustered_standard_error(values)
    assert alone == pytest.approx(np.std(values, ddof=1) / np.sqrt(len(values)))


def test_without_spread_the_interval_is_not_a_point() -> None:
    assert bootstrap_interval([1.0] * 50) == (1.0, 1.0)
    assert accuracy_interval([1.0] * 50) == wilson_interval(1.0, 50)
    twice = [name for name in range(25) for _ in range(2)]
    assert accuracy_interval([1.0] * 50, twice) == (wilson_interval(1.0, 25)[0], 1.0)
    assert accuracy_interval([0.0, 1.0] * 25, twice) == wilson_interval(0.5, 25)
    for number in range(2, 60):
        assert accuracy_interval([0.0] * number) == (0.0, pytest.approx(wilson_interval(0.0, number)[1]))
        assert accuracy_interval([1.0] * number) == (pytest.approx(wilson_interval(1.0, number)[0]), 1.0)
    assert accuracy_interval([1.0] * 50, ["one"] * 50) is None
    assert accuracy_interval([1.0]) is None


@pytest.mark.parametrize("size", [1, 4])
def test_intervals_cover_as_often_as_they_say(size: int) -> None:
    """Clusters of ``size`` items that mostly agree, true accuracy 0.7: 95 % should lie over it."""
    chance = np.random.default_rng(size)
    clusters = [i // size for i in range(60 * size)]
    covered = naive = 0
    for _ in range(200):
        own = np.repeat(chance.random(60) < 0.7, size)
        outcomes = np.where(chance.random(60 * size) < 0.8, own, chance.random(60 * size) < 0.7)
        values = [float(value) for value in outcomes]
        low, high = bootstrap_interval(values, clusters, resamples=300) or (1.0, 0.0)
        covered += low <= 0.7 <= high
        low, high = bootstrap_interval(values, resamples=300) or (1.0, 0.0)
        naive += low <= 0.7 <= high
    assert 0.90 <= covered / 200 <= 0.99
    # Items drawn one by one would promise too much where clusters agree.
    assert (naive / 200 < 0.85) == (size > 1)


@given(st.lists(st.sets(st.integers(0, 12), max_size=3), max_size=12))
def test_clusters_are_the_connected_parts(keys: list[set[int]]) -> None:
    found = join_clusters(keys)
    # Slowly: numbers spread along shared keys until nothing changes.
    numbers = list(range(len(keys)))
    for _ in keys:
        for i, j in itertools.product(range(len(keys)), repeat=2):
            if keys[i] & keys[j]:
                numbers[i] = numbers[j] = min(numbers[i], numbers[j])
    assert found == numbers
