"""The losses against their slow definitions, one number at a time, and against TRL's own trainer."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from vlreward.errors import ConfigError
from vlreward.policy.losses import VARIANTS, Mix, PairLogProbs, RewardShift, bco, dpo, generation, mpo, rewards_sum

FIXTURE = ROOT / "tests" / "fixtures" / "trl-mpo" / "losses.json"

log_prob = st.floats(-200, 0)
pairs = st.lists(st.tuples(log_prob, log_prob, log_prob, log_prob), min_size=1, max_size=5)
betas = st.floats(0.01, 2)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def of(rows: Any, dtype: torch.dtype = torch.float64) -> PairLogProbs:
    return PairLogProbs(*(torch.tensor(column, dtype=dtype) for column in zip(*rows, strict=True)))


def slow_dpo(row: tuple[float, ...], beta: float) -> float:
    chosen, rejected, reference_chosen, reference_rejected = row
    return -log_sigmoid(beta * ((chosen - rejected) - (reference_chosen - reference_rejected)))


def slow_bco(row: tuple[float, ...], beta: float, shift: float) -> float:
    chosen, rejected, reference_chosen, reference_rejected = row
    good, bad = beta * (chosen - reference_chosen), beta * (rejected - reference_rejected)
    return -log_sigmoid(good - shift) - log_sigmoid(-(bad - shift))


@given(pairs, betas)
def test_dpo_is_its_definition(rows: list[tuple[float, ...]], beta: float) -> None:
    expected = [slow_dpo(row, beta) for row in rows]
    assert dpo(of(rows), beta=beta).tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@given(pairs, betas, st.floats(-5, 5))
def test_bco_is_its_definition(rows: list[tuple[float, ...]], beta: float, shift: float) -> None:
    expected = [slow_bco(row, beta, shift) for row in rows]
    assert bco(of(rows), beta=beta, shift=shift).tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
@given(rows=pairs, lengths=st.lists(st.integers(1, 300), min_size=5, max_size=5), shift=st.floats(-5, 5))
def test_the_mix_is_its_definition(
    variant: str, rows: list[tuple[float, ...]], lengths: list[int], shift: float
) -> None:
    lengths = lengths[: len(rows)]
    loss = mpo(of(rows), torch.tensor(lengths), VARIANTS[variant], shift=shift).mean().item()
    expected = 0.0
    for row in rows:
        expected += 0.8 * slow_dpo(row, 0.1) + 0.2 * slow_bco(row, 0.1, shift if variant == "internvl" else 0.0)
    expected /= len(rows)
    if variant == "internvl":
        expected += sum(-row[0] / n for row, n in zip(rows, lengths, strict=True)) / len(rows)
    else:
        expected += sum(-row[0] for row in rows) / sum(lengths)
    assert loss == pytest.approx(expected, rel=1e-10)


def test_packs_of_a_step_add_up_to_its_mean_over_tokens() -> None:
    rows, lengths = [(-3.0, -9.0, -4.0, -7.0), (-20.0, -2.0, -19.0, -1.0), (-1.0, -1.5, -2.0, -2.5)], [4, 30, 2]
    whole = mpo(of(rows), torch.tensor(lengths), VARIANTS["trl"]).mean()
    mean_length = sum(lengths) / 3
    parts = [
        mpo(of(rows[cut]), torch.tensor(lengths[cut]), VARIANTS["trl"], mean_length=mean_length).sum()
        for cut in (slice(1), slice(1, 3))
    ]
    torch.testing.assert_close(sum(parts) / 3, whole)


def test_a_term_without_weight_is_left_out() -> None:
    rows = [(-3.0, -9.0, -4.0, -7.0)]
    alone = Mix(preference=1.0, quality=0.0, generation=0.0, beta=0.3, shifted=True, mean_over="answers")
    torch.testing.assert_close(mpo(of(rows), torch.tensor([4]), alone, shift=9.0), dpo(of(rows), beta=0.3))


def test_losses_of_far_rewards_are_finite() -> None:
    chosen = torch.tensor([-1e6, 0.0], requires_grad=True)
    log_probs = PairLogProbs(chosen, torch.tensor([0.0, -1e6]), torch.tensor([0.0, -1e6]), torch.tensor([-1e6, 0.0]))
    (dpo(log_probs, beta=1.0) + bco(log_probs, beta=1.0)).sum().backward()
    assert chosen.grad is not None
    assert torch.isfinite(chosen.grad).all()


def test_generation_is_the_mean_over_tokens() -> None:
    chosen = torch.tensor([-6.0, -4.0])
    assert generation(chosen, torch.tensor([3, 1])).tolist() == [2.0, 4.0]
    assert generation(chosen, 2.0).mean().item() == 10 / 4


def test_the_shift_is_the_mean_of_all_rewards_so_far() -> None:
    rows = [(-3.0, -9.0, -4.0, -7.0), (-20.0, -2.0, -19.0, -1.0)]
    shift = RewardShift()
    assert shift.mean == 0.0
    for row in rows:
        total, count = rewards_sum(of([row], torch.float32), 0.1).tolist()
        shift.add(total, int(count))
    assert shift.mean == pytest.approx(0.1 * (1 - 2 - 1 - 1) / 4)
    assert RewardShift.of(json.loads(json.dumps(asdict(shift)))) == shift
    with pytest.raises(ConfigError, match="total and count, not mean"):
        RewardShift.of({"mean": 1.0})


@pytest.mark.skipif(not FIXTURE.is_file(), reason="benchmarks/mpo_parity.py makes the fixture")
@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-6), ("float32", 1e-5)])
def test_the_variant_of_trl_has_the_losses_of_trls_own_trainer(dtype: str, atol: float) -> None:
    steps = json.loads(FIXTURE.read_text())["dtypes"][dtype]["steps"]
    assert len(steps) >= 3
    for step in steps:
        columns = ("chosen", "rejected", "reference_chosen", "reference_rejected")
        log_probs = of(zip(*(step[name] for name in columns), strict=True), getattr(torch, dtype))
        loss = mpo(log_probs, torch.tensor(step["lengths"]), VARIANTS["trl"]).mean().item()
        assert loss == pytest.approx(step["loss"], abs=atol, rel=0)
