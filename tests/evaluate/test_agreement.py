"""Kendall's τ-b against its definition, counted pair by pair."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlreward.evaluate.agreement import kendall_tau_b

RANKED = st.integers(2, 7).flatmap(
    lambda size: st.tuples(
        st.lists(st.integers(-3, 3), min_size=size, max_size=size),
        st.lists(st.integers(0, 4), min_size=size, max_size=size).filter(lambda ranks: len(set(ranks)) > 1),
    )
)


@given(RANKED)
def test_tau_b_counts_pairs(drawn: tuple[list[int], list[int]]) -> None:
    scores, ranks = drawn
    concordant = discordant = scores_only = ranks_only = 0
    for i, j in itertools.combinations(range(len(ranks)), 2):
        if scores[i] == scores[j] and ranks[i] == ranks[j]:
            continue
        if scores[i] == scores[j]:
            ranks_only += 1
        elif ranks[i] == ranks[j]:
            scores_only += 1
        elif (scores[i] > scores[j]) == (ranks[i] < ranks[j]):
            concordant += 1
        else:
            discordant += 1
    compared = concordant + discordant
    below = math.sqrt((compared + ranks_only) * (compared + scores_only))
    assert kendall_tau_b(scores, ranks) == pytest.approx((concordant - discordant) / below if below else 0.0)


def test_an_example_of_somebody_else() -> None:
    """That of SciPy's manual, whose ranks count from the other end."""
    scores, ranks = [12.0, 2.0, 1.0, 12.0, 2.0], [1, 4, 7, 1, 0]
    assert kendall_tau_b(scores, ranks) == pytest.approx(0.47140452079103173, abs=1e-15)


def test_ends_and_nothing() -> None:
    assert kendall_tau_b([3.0, 2.0, 1.0], [0, 1, 2]) == 1.0
    assert kendall_tau_b([1.0, 2.0, 3.0], [0, 1, 2]) == -1.0
    assert kendall_tau_b([1.0, 1.0, 1.0], [0, 1, 2]) == 0.0
    for nothing in ([], [1], [2, 2]):
        with pytest.raises(ValueError, match="nothing"):
            kendall_tau_b([float(i) for i in range(len(nothing))], nothing)
