"""The one seam between what needs rewards and what computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from vlreward.types import Group, Reward


@runtime_checkable
class Engine(Protocol):
    """Something that scores groups: a model in this process, a server, a cluster."""

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        """The rewards of each group, in the order given: one `Reward` per group, one number per response.

        Raises:
            VLRewardError: the message names the group at fault. A short reply is an error, never a shorter list.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds. Calling it twice is harmless."""
        ...
