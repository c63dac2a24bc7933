"""What may stand in place of a reward model, to see what the reward does: chance, and the truth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from vlreward.data.content import text_of
from vlreward.types import Group, Reward

from .gold import Gold


class RandomReward:
    """An `Engine` that knows nothing: a number between 0 and 1, the same for equal answers to a prompt.

    Args:
        seed: another one gives other rewards.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        """The rewards of each group, in order."""
        return [
            Reward(id=group.id, rewards=tuple(self._chance(group, i) for i in range(len(group)))) for group in groups
        ]

    def close(self) -> None:
        """Nothing to free."""

    def _chance(self, group: Group, number: int) -> float:
        said = f"{self._seed} {group.id} {text_of(group.responses[number])}"
        return int.from_bytes(hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=6).digest()) / 2**48


class OracleReward:
    """An `Engine` that gives 1 to right answers and 0 to others, and to all answers where nobody knows.

    Args:
        gold: who knows.
    """

    def __init__(self, gold: Gold) -> None:
        self._gold = gold

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        """The rewards of each group, in order."""
        return [Reward(id=group.id, rewards=self._truth(group)) for group in groups]

    def close(self) -> None:
        """Nothing to free."""

    def _truth(self, group: Group) -> tuple[float, ...]:
        right = self._gold.right(group)
        return (0.0,) * len(group) if right is None else tuple(map(float, right))
