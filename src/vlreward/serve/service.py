"""What the routes of the server know: who scores, who lets in, and the desk that asks both."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from vlreward.engines.shaped import Shaping
from vlreward.model.calibration import Calibration
from vlreward.types import Group, Reward

from .refusals import Refusal


class Service(Protocol):
    """Something that scores groups for many clients at once: the batcher over a worker, or another server."""

    @property
    def model(self) -> str:
        """The model's name, as clients are told."""
        ...

    @property
    def calibration(self) -> Calibration | None:
        """What `vlreward calibrate` found of the model, None if it was not asked."""
        ...

    async def score(self, groups: Sequence[Group], *, client: str, seconds: float | None = None) -> list[Reward]:
        """The rewards of each group, in order.

        Cancelling takes the groups out of the queue.

        Args:
            groups: admitted; their media are bytes.
            client: whose they are; clients take turns.
            seconds: they are wanted within; None: the server's own limit.

        Raises:
            Refusal: the queue is full, the time is over, the service is down.
            VLRewardError: the groups themselves cannot be scored.
        """
        ...


class Admission(Protocol):
    """The guard at the door."""

    async def admit(self, groups: Sequence[Group]) -> list[Group]:
        """The groups with every picture and video as bytes, checked without being decoded.

        Raises:
            Refusal: a limit is passed, a medium is unknown, an address or a path is not to be read.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What a route is given."""

    service: Service
    admission: Admission
    shaping: Shaping = field(default_factory=Shaping)
    """What is done to rewards before anybody is told."""
    normalise: bool = False
    """Whether, before that, they are normalised by the scale of the model's calibration."""

    async def score(self, groups: Sequence[Group], *, client: str, seconds: float | None = None) -> list[Reward]:
        """Let the groups in and score them; the rewards are shaped.

        Raises:
            Refusal: the rewards are to be normalised, and there is no calibration; or as `unshaped`.
        """
        rewards = await self.unshaped(groups, client=client, seconds=seconds)
        shaping = self.shaping
        if self.normalise:
            calibration = self.service.calibration
            if calibration is None:
                raise Refusal("unavailable", "the model has no calibration to normalise rewards by")
            shaping = replace(shaping, scale=calibration.scale)
        return rewards if shaping == Shaping() else [shaping(reward) for reward in rewards]

    async def unshaped(self, groups: Sequence[Group], *, client: str, seconds: float | None = None) -> list[Reward]:
        """The rewards as the model gives them, for probabilities.

        Args:
            groups: as they came.
            client: whose they are.
            seconds: for all of it, pictures that are fetched included.

        Errors as `Admission.admit` and `Service.score`.
        """
        try:
            async with asyncio.timeout(seconds):
                admitted = await self.admission.admit(groups)
                return await self.service.score(admitted, client=client, seconds=seconds)
        except TimeoutError:
            raise Refusal("too_late", "not scored within the time that the request had", retry_after=1) from None
