"""The groups that wait to be scored, and which of them go together."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from vlreward.types import Group, Reward

from .footprint import Footprint

Key = TypeVar("Key", bound=Hashable)


class Call:
    """One request's groups, until each has its rewards or one of them cannot have any."""

    def __init__(self, groups: Sequence[Group], footprints: Sequence[Footprint], client: str, now: float) -> None:
        self.jobs = [
            Job(call=self, index=i, group=group, footprint=footprint, client=client, arrived=now)
            for i, (group, footprint) in enumerate(zip(groups, footprints, strict=True))
        ]
        self._rewards: dict[int, Reward] = {}
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def over(self) -> bool:
        """Whether nobody waits for more."""
        return self._done.done()

    async def rewards(self) -> list[Reward]:
        """The rewards of all groups, in order.

        Raises:
            Exception: what `fail` was told.
        """
        await self._done
        return [self._rewards[job.index] for job in self.jobs]

    def take(self, index: int, reward: Reward) -> None:
        """A group has its rewards."""
        self._rewards[index] = reward
        if not self.over and len(self._rewards) == len(self.jobs):
            self._done.set_result(None)

    def fail(self, error: Exception) -> None:
        """The request cannot be answered."""
        if not self.over:
            self._done.set_exception(error)


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One group that waits."""

    call: Call
    index: int
    """Its place in the call."""
    group: Group
    footprint: Footprint
    client: str
    arrived: float
    """On the event loop's clock."""


class Waiting:
    """Jobs by client and by what they can share, in the order in which they came."""

    def __init__(self) -> None:
        self._all: dict[Job, None] = {}
        self._clients: OrderedDict[str, dict[Job, None]] = OrderedDict()
        self._sharers: dict[int, dict[Job, None]] = {}
        self.tokens = self.bytes = 0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._all)

    @property
    def oldest(self) -> Job | None:
        """The job that has waited longest."""
        return next(iter(self._all), None)

    def add(self, job: Job) -> None:
        """Put a job behind the others of its client."""
        self._all[job] = None
        self._clients.setdefault(job.client, {})[job] = None
        for key in job.footprint.keys:
            self._sharers.setdefault(key, {})[job] = None
        self.tokens += job.footprint.tokens
        self.bytes += job.footprint.bytes

    def remove(self, job: Job) -> None:
        """Take a job out; one that is not here is nobody's business."""
        if job not in self._all:
            return
        del self._all[job]
        _drop(self._clients, job.client, job)
        for key in job.footprint.keys:
            _drop(self._sharers, key, job)
        self.tokens -= job.footprint.tokens
        self.bytes -= job.footprint.bytes

    def take(self, budget: int, alone: Callable[[Job], bool] = lambda job: False) -> list[Job]:  # noqa: ARG005
        """Take out what is computed next: clients in turn, each one's oldest job with all that share something with it.

        Args:
            budget: tokens, what is shared counted once; the first job is taken whatever its size.
            alone: whether a job is to have no company.

        Returns:
            Jobs, those that share something side by side.
        """
        batch: list[Job] = []
        held: set[int] = set()
        size = 0
        while self._all:
            client, jobs = next(iter(self._clients.items()))
            seed = next(iter(jobs))
            if batch and (size + seed.footprint.cost(held) > budget or alone(seed)):
                break
            # Behind the others, unless this was its last.
            self._clients.move_to_end(client)
            if alone(seed):
                self.remove(seed)
                return [seed]
            for job in [job for job in self._with(seed) if not alone(job)]:
                cost = job.footprint.cost(held)
                if batch and size + cost > budget:
                    break
                batch.append(job)
                held.update(job.footprint.keys)
                size += cost
                self.remove(job)
        return batch

    def _with(self, seed: Job) -> Iterator[Job]:
        """A job and those that share its prompt, then those that share a picture of it."""
        seen = {seed: None}
        yield seed
        for key in seed.footprint.keys:
            for job in self._sharers[key]:
                if job not in seen:
                    seen[job] = None
                    yield job


def _drop(table: MutableMapping[Key, dict[Job, None]], key: Key, job: Job) -> None:
    jobs = table[key]
    jobs.pop(job, None)
    if not jobs:
        del table[key]
