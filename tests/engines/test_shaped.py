"""Shaped rewards, against the formulas written out."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeEngine, fake_reward
from vlreward.engines.base import Engine
from vlreward.engines.shaped import ShapedEngine, Shaping
from vlreward.errors import ConfigError
from vlreward.model.calibration import RewardScale
from vlreward.types import Group, Reward

REWARDS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8)


def slow(rewards: list[float], mean: float, spread: float, clip: float, squash: str | None) -> list[float]:
    shaped = []
    for reward in rewards:
        value = (reward - mean) / spread
        value = min(value, clip)
        value = max(value, -clip)
        if squash == "sigmoid":
            value = 1 / (1 + math.exp(-value))
        if squash == "tanh":
            value = (math.exp(value) - math.exp(-value)) / (math.exp(value) + math.exp(-value))
        shaped.append(value)
    return shaped


@given(REWARDS, st.floats(-20, 20), st.floats(0.01, 50), st.floats(0.1, 20), st.sampled_from([None, "sigmoid", "tanh"]))
def test_it_is_the_formula(rewards: list[float], mean: float, spread: float, clip: float, squash: str | None) -> None:
    shaping = Shaping(scale=RewardScale(mean=mean, spread=spread, n=9), clip=clip, squash=squash)  # type: ignore[arg-type]
    shaped = shaping(Reward(id="a", rewards=tuple(rewards)))
    assert shaped.id == "a"
    assert shaped.rewards == pytest.approx(slow(rewards, mean, spread, clip, squash), abs=1e-12)


@given(REWARDS, st.sampled_from([None, "sigmoid", "tanh"]))
def test_the_order_stays(rewards: list[float], squash: str | None) -> None:
    shaped = Shaping(clip=3.0, squash=squash)(Reward(rewards=tuple(rewards))).rewards  # type: ignore[arg-type]
    for a, b in itertools.pairwise(rewards):
        assert not (a < b and shaped[rewards.index(a)] > shaped[rewards.index(b)])


def test_by_hand() -> None:
    reward = Reward(rewards=(3.0, 7.0, -1.0))
    assert Shaping()(reward).rewards == reward.rewards
    assert Shaping(scale=RewardScale(mean=3.0, spread=2.0, n=5))(reward).rewards == (0.0, 2.0, -2.0)
    assert Shaping(clip=2.5)(reward).rewards == (2.5, 2.5, -1.0)
    assert Shaping(squash="sigmoid")(Reward(rewards=(0.0, math.log(3)))).rewards == pytest.approx((0.5, 0.75))
    assert Shaping(squash="sigmoid")(Reward(rewards=(-1e4, 1e4))).rewards == (0.0, 1.0)


def test_an_engine_is_shaped() -> None:
    inner = FakeEngine()
    engine = ShapedEngine(inner, Shaping(clip=1.0))
    assert isinstance(engine, Engine)
    groups = [Group("Why?", ["So.", "Thus."], id="a"), Group("When?", ["Now."])]
    wanted = [[max(-1.0, min(1.0, fake_reward(group, i))) for i in range(len(group))] for group in groups]
    assert [list(reward.rewards) for reward in engine.score(groups)] == wanted
    engine.close()
    assert inner.closed


@pytest.mark.parametrize("clip", [0.0, -1.0, math.inf, math.nan])
def test_a_clip_is_a_positive_number(clip: float) -> None:
    with pytest.raises(ConfigError, match="clip must be a positive number"):
        Shaping(clip=clip)


def test_an_unknown_squash_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown squash 'relu'; known: sigmoid, tanh"):
        Shaping(squash="relu")  # type: ignore[arg-type]
