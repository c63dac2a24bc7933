"""Rewards from a model in this process."""

from __future__ import annotations

from collections.abc import Sequence

from vlreward.model.reward_model import RewardModel
from vlreward.types import Group, Reward


class LocalEngine:
    """An `Engine` over a loaded `RewardModel`."""

    def __init__(self, model: RewardModel) -> None:
        self.model = model

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        """The rewards of each group, in order."""
        rewards = self.model.score_groups(groups)
        return [Reward(id=group.id, rewards=tuple(row)) for group, row in zip(groups, rewards, strict=True)]

    def close(self) -> None:
        """Nothing to free: the model is its owner's."""
