"""Rewards in the form that reinforcement learning wants: around zero, of spread one, without outliers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from vlreward.errors import ConfigError
from vlreward.model.calibration import RewardScale, bradley_terry
from vlreward.types import Group, Reward

from .base import Engine

Squash: TypeAlias = Literal["sigmoid", "tanh"]

_SQUASHES = {"sigmoid": bradley_terry, "tanh": math.tanh}


@dataclass(frozen=True, kw_only=True)
class Shaping:
    """What is done to a reward before it is used: normalised, then clipped, then squashed, each where asked for.

    None of it changes which of two responses is preferred, except that clipping makes ties.

    Raises:
        ConfigError: the clip is not a positive number, or the squash is not known.
    """

    scale: RewardScale | None = None
    """Mean 0 and spread 1 on the calibration's reference set (`vlreward.model.calibration.Calibration.scale`)."""
    clip: float | None = None
    """Largest size, in the units of what is clipped: of the spread where there is a scale."""
    squash: Squash | None = None
    """``sigmoid``: σ(r), between 0 and 1; ``tanh``: between -1 and 1."""

    def __post_init__(self) -> None:
        if self.clip is not None and not (math.isfinite(self.clip) and self.clip > 0):
            raise ConfigError(f"clip must be a positive number, got {self.clip!r}")
        if self.squash not in (None, *get_args(Squash)):
            raise ConfigError(f"unknown squash {self.squash!r}; known: {', '.join(get_args(Squash))}")

    def __call__(self, reward: Reward) -> Reward:
        """The same responses with shaped rewards."""
        scaled = reward if self.scale is None else self.scale(reward)
        return Reward(id=reward.id, rewards=tuple(map(self._bound, scaled.rewards)))

    def _bound(self, value: float) -> float:
        if self.clip is not None:
            value = max(-self.clip, min(self.clip, value))
        return value if self.squash is None else _SQUASHES[self.squash](value)


class ShapedEngine:
    """An `Engine` whose rewards are those of another one, shaped."""

    def __init__(self, engine: Engine, shaping: Shaping) -> None:
        self.engine, self.shaping = engine, shaping

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        """The shaped rewards of each group, in order; errors are the other engine's."""
        return [self.shaping(reward) for reward in self.engine.score(groups)]

    def close(self) -> None:
        """Close the other engine."""
        self.engine.close()
