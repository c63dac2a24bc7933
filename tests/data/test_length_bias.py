"""The share of longer answers that are better, and its interval."""

from __future__ import annotations

import random

import pytest

from vlreward.data.length_bias import LengthBiasCount, wilson_interval


def count(*rankings: tuple[list[int], list[int]]) -> LengthBiasCount:
    bias = LengthBiasCount()
    for lengths, ranks in rankings:
        bias.add(lengths, ranks)
    return bias


def test_pairs() -> None:
    found = count(([5, 3], [0, 1]), ([5, 3], [1, 0]), ([9, 3], [0, 1]), ([4, 4], [0, 1]), ([4, 9], [0, 0])).result()
    assert (found.comparisons, found.equal_length) == (3, 1)
    assert found.longer_better == pytest.approx(2 / 3)
    # Wilson's interval of 2 of 3.
    assert (found.low, found.high) == (pytest.approx(0.2077, abs=1e-4), pytest.approx(0.9385, abs=1e-4))


def test_nothing_to_compare() -> None:
    found = count(([4, 4], [0, 1]), ([4], [0])).result()
    assert (found.comparisons, found.longer_better, found.low, found.high) == (0, None, None, None)


def test_all_agree() -> None:
    found = count(*[([5, 3], [0, 1])] * 20).result()
    assert found.longer_better == 1.0
    assert (found.low, found.high) == (pytest.approx(0.8389, abs=1e-4), 1.0)


def test_rankings_count_each_comparison() -> None:
    found = count(([3, 2, 1], [0, 1, 2])).result()
    assert (found.comparisons, found.longer_better) == (3, 1.0)


def test_comparisons_of_one_ranking_are_not_independent() -> None:
    dice = random.Random(0)
    pairs, ones = LengthBiasCount(), LengthBiasCount()
    for _ in range(300):
        ranks = [0, 1] if dice.random() < 0.5 else [1, 0]
        ones.add([2, 1], ranks)
        # The same comparison four times: two long and two short answers.
        pairs.add([2, 2, 1, 1], [ranks[0]] * 2 + [ranks[1]] * 2)
    one, four = ones.result(), pairs.result()
    assert four.comparisons == 4 * one.comparisons
    assert four.longer_better == one.longer_better
    assert (four.low, four.high) == (pytest.approx(one.low), pytest.approx(one.high))


def test_the_interval_covers_what_it_should() -> None:
    dice = random.Random(1)
    hits = 0
    for _ in range(400):
        share = sum(dice.random() < 0.3 for _ in range(50)) / 50
        low, high = wilson_interval(share, 50)
        hits += low <= 0.3 <= high
    assert 0.92 < hits / 400 < 0.98
    with pytest.raises(ValueError, match="no trials"):
        wilson_interval(0.5, 0)
