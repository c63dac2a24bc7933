"""The losses against their slow definitions, one number at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlreward.train.losses import bradley_terry, language, plackett_luce, verifier

rewards = st.floats(-20, 20)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


@given(st.lists(st.tuples(rewards, rewards, st.floats(0, 3)), min_size=1, max_size=6), st.floats(0, 0.49), rewards)
def test_bradley_terry_is_its_definition(
    pairs: list[tuple[float, float, float]], smoothing: float, centering: float
) -> None:
    chosen, rejected, margin = (torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))
    centering = abs(centering) / 100
    loss_P = bradley_terry(chosen, rejected, margin, label_smoothing=smoothing, centering=centering)
    for loss, (a, b, m) in zip(loss_P.tolist(), pairs, strict=True):
        slow = -(1 - smoothing) * log_sigmoid(a - b - m) - smoothing * log_sigmoid(b - a + m)
        assert loss == pytest.approx(slow + centering * (a + b) ** 2, rel=1e-12, abs=1e-12)


def test_bradley_terry_alone_is_the_published_loss() -> None:
    chosen, rejected = torch.tensor([1.5, -2.0]), torch.tensor([0.5, 3.0])
    expected = -torch.sigmoid(chosen - rejected).log()
    torch.testing.assert_close(bradley_terry(chosen, rejected), expected)
    assert bradley_terry(torch.zeros(1), torch.zeros(1)).item() == pytest.approx(math.log(2))


def test_bradley_terry_of_far_rewards_is_finite() -> None:
    chosen = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss_P = bradley_terry(chosen, -chosen.detach(), label_smoothing=0.1)
    loss_P.sum().backward()
    assert torch.isfinite(loss_P).all()
    assert chosen.grad is not None
    assert torch.isfinite(chosen.grad).all()


def slow_plackett_luce(values: list[float], ranks: list[int]) -> float:
    total = 0.0
    for value, rank in zip(values, ranks, strict=True):
        rivals = [other for other, other_rank in zip(values, ranks, strict=True) if other_rank > rank]
        total -= math.log(math.exp(value) / (math.exp(value) + sum(math.exp(rival) for rival in rivals)))
    return total


@given(st.lists(st.tuples(rewards, st.integers(0, 3)), min_size=1, max_size=6))
def test_plackett_luce_is_its_definition(items: list[tuple[float, int]]) -> None:
    values, ranks = [list(column) for column in zip(*items, strict=True)]
    loss = plackett_luce(torch.tensor(values, dtype=torch.float64), torch.tensor(ranks))
    assert loss.item() == pytest.approx(slow_plackett_luce(values, ranks), rel=1e-9, abs=1e-9)


def test_plackett_luce_of_a_pair_is_bradley_terry() -> None:
    values = torch.tensor([0.3, 1.7], dtype=torch.float64)
    expected = bradley_terry(values[1:], values[:1])[0]
    torch.testing.assert_close(plackett_luce(values, torch.tensor([1, 0])), expected)


def test_plackett_luce_of_ties_alone_says_nothing() -> None:
    values = torch.tensor([0.3, 1.7, -2.0], requires_grad=True)
    loss = plackett_luce(values, torch.tensor([1, 1, 1]))
    loss.backward()
    assert loss.item() == 0
    assert values.grad is not None
    assert values.grad.abs().max() < 1e-7


def test_language_is_the_log_softmax_of_the_target() -> None:
    logits = torch.randn((5, 7), generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 6, 3, 3, 1])
    slow = [
        -math.log(math.exp(row[t]) / sum(map(math.exp, row))) for row, t in zip(logits.tolist(), targets, strict=True)
    ]
    torch.testing.assert_close(language(logits, targets), torch.tensor(slow))
    narrow = language(logits.to(torch.bfloat16), targets)
    assert narrow.dtype == torch.float32
    assert language(logits.double(), targets).dtype == torch.float64
    assert language(logits[:0], targets[:0]).shape == (0,)


@given(st.lists(st.tuples(rewards, st.booleans()), min_size=1, max_size=6))
def test_a_verifier_is_a_classifier_of_every_token(items: list[tuple[float, bool]]) -> None:
    values, right = [list(column) for column in zip(*items, strict=True)]
    loss_K = verifier(torch.tensor(values, dtype=torch.float64), torch.tensor(right))
    slow = [-log_sigmoid(value if good else -value) for value, good in items]
    assert loss_K.tolist() == pytest.approx(slow, rel=1e-12, abs=1e-12)
