"""Rewards from a model in this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from vlreward.model.reward_model import RewardModel
from vlreward.types import Group, Reward


class LocalEngine:
    """An `Engine` over a loaded `RewardModel`. Threads may share it: the model takes their calls in turn."""

    def __init__(self, model: RewardModel) -> None:
        self.model = model
        self._lock = threading.Lock()

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        """The rewards of each group, in order."""
        with self._lock:
            rewards = self.model.score_groups(groups)
        return [Reward(id=group.id, rewards=tuple(row)) for group, row in zip(groups, rewards, strict=True)]

    def close(self) -> None:
        """Nothing to free: the model is its owner's."""
