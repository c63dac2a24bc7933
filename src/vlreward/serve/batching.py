"""Many clients' groups in few batches: what shares a prompt or a picture goes together, and clients take turns."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from vlreward.errors import ConfigError
from vlreward.model.calibration import Calibration
from vlreward.types import Group, Reward

from .footprint import PixelRange, footprints, together
from .metrics import Metrics
from .refusals import Refusal, refusal_of
from .waiting import Call, Job, Waiting
from .worker import NotSent, Worker, WorkerDied
from .worker_process import Unforeseen

logger = logging.getLogger("vlreward.serve")

_PACK_TOKENS = 8192
"""Of a batch, for an engine that does not say what it packs."""
_LONGEST_RETRY_SECONDS = 60.0
_MOST_SUSPECTS = 1024
_MOST_DEATHS = 3
_PAUSE_SECONDS = 0.1
"""After a mistake of ours, so that one that comes again and again leaves time for others."""
# How engines name a group without an id, and its response: groups[3]: responses[0]: ...
_NAMED = re.compile(r"groups\[(\d+)\](?:: (\w+\[\d+\]))?: ", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """How requests wait, and what is computed together.

    Raises:
        ConfigError: a limit is not positive.
    """

    max_queue: int = 4096
    """Groups that wait; more are told to come again."""
    max_queue_bytes: int = 2**30
    """Bytes of their texts and media."""
    batch_tokens: int | None = None
    """Estimated tokens of a batch, shared ones counted once; None: the model's pack."""
    max_wait_seconds: float = 0.005
    """Time that an idle worker lets requests gather; may be 0."""
    deadline_seconds: float = 120.0
    """Time within which a request is answered or given up, and the most that a client may ask for."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and (value < 0 or (value == 0 and item.name != "max_wait_seconds")):
                raise ConfigError(f"{item.name} must be positive, got {value!r}")


class Batcher:
    """A `Service` over a `Worker`.

    Args:
        worker: computes; started and closed here.
        model: its name, as clients are told.
        limits: of the queue and of batches.
        metrics: are told of every batch.
    """

    def __init__(self, worker: Worker, *, model: str, limits: BatchLimits, metrics: Metrics) -> None:
        self.draining = False
        """Whether new requests are turned away because the server is about to end."""
        self._worker, self._model, self._limits, self._metrics = worker, model, limits, metrics
        self._waiting = Waiting()
        self._in_hand: Sequence[Job] = ()
        self._suspects = _Suspects()
        self._arrived = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._seconds_per_token = 0.0
        worker.on_failure = self._give_up
        metrics.watch_queue(lambda: len(self._waiting), lambda: self._waiting.tokens)
        metrics.watch_worker(lambda: worker.ready, lambda: worker.restarts)

    @property
    def model(self) -> str:
        """The model's name."""
        return self._model

    @property
    def calibration(self) -> Calibration | None:
        """What is known of its probabilities."""
        return self._worker.calibration

    @property
    def ready(self) -> bool:
        """Whether the worker is."""
        return self._worker.ready

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the model, once it was loaded."""
        return self._worker.settings

    async def wait_tried(self) -> None:
        """Until the model was loaded, or could not be; see `Worker.wait_tried`."""
        await self._worker.wait_tried()

    def start(self) -> None:
        """Start the worker, and take from the queue as soon as it is ready."""
        self._worker.start()
        self._loop = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; whoever still waits is told so."""
        self.draining = True
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        while (job := self._waiting.oldest) is not None:
            self._waiting.remove(job)
            job.call.fail(_ending())
        await self._worker.close()

    async def score(self, groups: Sequence[Group], *, client: str, seconds: float | None = None) -> list[Reward]:
        """The rewards of each group, in order; see `Service.score`."""
        if not groups:
            return []
        most = self._limits.deadline_seconds
        try:
            async with asyncio.timeout(most if seconds is None else min(seconds, most)):
                return await self._score(groups, client)
        except TimeoutError:
            raise Refusal("too_late", "not scored within the time that the request had", retry_after=1) from None

    async def _score(self, groups: Sequence[Group], client: str) -> list[Reward]:
        self._check_room(len(groups), 0)
        found = await asyncio.to_thread(footprints, groups, self._pixels())
        self._check_room(len(groups), sum(footprint.bytes for footprint in found))
        call = Call([_without_id(group) for group in groups], found, client, asyncio.get_running_loop().time())
        for job in call.jobs:
            if refusal := self._suspects.guilty(job):
                raise refusal
        for job in call.jobs:
            self._waiting.add(job)
        self._arrived.set()
        try:
            rewards = await call.rewards()
        finally:
            for job in call.jobs:
                self._waiting.remove(job)
        return [Reward(id=g.id, rewards=reward.rewards) for g, reward in zip(groups, rewards, strict=True)]

    def _check_room(self, groups: int, size: int) -> None:
        limits = self._limits
        if self.draining:
            raise _ending()
        if self._worker.failure is not None:
            raise _not_loaded()
        if groups > limits.max_queue or size > limits.max_queue_bytes:
            least = f"{limits.max_queue:,} groups or {limits.max_queue_bytes:,} bytes"
            raise Refusal("too_large", f"{groups:,} groups of {size:,} bytes; at most {least} are taken at once")
        if len(self._waiting) + groups > limits.max_queue or self._waiting.bytes + size > limits.max_queue_bytes:
            backlog = min(self._waiting.tokens * self._seconds_per_token, _LONGEST_RETRY_SECONDS)
            raise Refusal("busy", f"{len(self._waiting):,} groups wait already", retry_after=max(1.0, backlog))

    def _give_up(self) -> None:
        """The model cannot be loaded: whoever waits for it need not do so until the time is over."""
        _fail([*self._in_hand, *self._waiting], _not_loaded())

    def _pixels(self) -> PixelRange:
        low, high = (self._worker.settings.get(name) for name in ("min_pixels", "max_pixels"))
        return PixelRange(low=low, high=high) if low and high else PixelRange()

    @property
    def _budget(self) -> int:
        return self._limits.batch_tokens or self._worker.settings.get("pack_tokens") or _PACK_TOKENS

    async def _run(self) -> None:
        while True:
            try:
                await self._gather()
                self._in_hand = self._waiting.take(self._budget, self._suspects.__contains__)
                await self._compute(self._in_hand)
            except Exception as error:  # a mistake of ours: those it was about are told, and the others still served
                logger.exception("a batch was lost")
                self._lose(error)
                await asyncio.sleep(_PAUSE_SECONDS)
            except asyncio.CancelledError:
                _fail(self._in_hand, _ending())
                raise
            finally:
                self._in_hand = ()

    def _lose(self, error: Exception) -> None:
        """Tell those in hand; where the mistake was in taking them, all that wait, and begin with an empty queue."""
        lost = self._in_hand
        if not lost:
            lost, self._waiting = list(self._waiting), Waiting()
        _fail(lost, error)

    async def _gather(self) -> None:
        """Until a batch is due: the worker is idle, and the oldest request has waited or there is a batch's worth."""
        loop = asyncio.get_running_loop()
        while True:
            await self._worker.wait_ready()
            self._arrived.clear()
            oldest = self._waiting.oldest
            rest = None if oldest is None else oldest.arrived + self._limits.max_wait_seconds - loop.time()
            if rest is not None and (rest <= 0 or self._waiting.tokens >= self._budget):
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._arrived.wait()

    async def _compute(self, batch: Sequence[Job]) -> None:
        """Score a batch; one that fails is cut in two until the request at fault is alone."""
        pieces = [batch]
        while pieces:
            piece = [job for job in pieces.pop() if not job.call.over]
            if not piece:
                continue
            # The rest of a batch whose other part has ended the process waits for the next one.
            await self._worker.wait_ready()
            try:
                await self._compute_piece(piece)
            except NotSent:
                pieces.append(piece)
            except WorkerDied as error:
                _fail(piece, self._suspects.died(piece) or error)
            except Exception as error:
                if len(piece) == 1:
                    piece[0].call.fail(_refusal(error, piece[0]))
                else:
                    pieces += _cut(piece, error)

    async def _compute_piece(self, piece: Sequence[Job]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        scored = await self._worker.score([job.group for job in piece])
        seconds = clock() - began
        estimated = max(1, together([job.footprint for job in piece]))
        weight = 0.2 if self._seconds_per_token else 1.0
        self._seconds_per_token += weight * (seconds / estimated - self._seconds_per_token)
        self._metrics.batch(
            groups=len(piece), seconds=seconds, waits=[began - job.arrived for job in piece], counts=scored.counts
        )
        for job, reward in zip(piece, scored.rewards, strict=True):
            self._suspects.cleared(job)
            job.call.take(job.index, reward)


class _Suspects:
    """Groups that were in the hands of a process when it died; one of them may be what has ended it.

    When they come again they are computed alone, so that one that does it again has no neighbours. One that has done
    so alone, too, is not computed any more: each time costs everybody the loading of the model. Another group of the
    same prompt is another one: a bad response says nothing of the others, nor they of it.
    """

    def __init__(self) -> None:
        self._deaths: OrderedDict[int, int] = OrderedDict()

    def __contains__(self, job: Job) -> bool:
        return job.footprint.digest in self._deaths

    def died(self, piece: Sequence[Job]) -> Refusal | None:
        """A process has died with these; what the one that did it, if that is clear by now, is told."""
        for job in piece:
            key = job.footprint.digest
            self._deaths[key] = self._deaths.get(key, 0) + (len(piece) == 1)
            self._deaths.move_to_end(key)
        while len(self._deaths) > _MOST_SUSPECTS:
            self._deaths.popitem(last=False)
        return self.guilty(piece[0]) if len(piece) == 1 else None

    def guilty(self, job: Job) -> Refusal | None:
        """The refusal of a group that is not computed any more."""
        if self._deaths.get(job.footprint.digest, 0) < _MOST_DEATHS:
            return None
        message = f"the model's process has ended {_MOST_DEATHS} times on this group; it is not tried again"
        return Refusal("unscorable", message, where=f"groups[{job.index}]")

    def cleared(self, job: Job) -> None:
        """A group was scored."""
        self._deaths.pop(job.footprint.digest, None)


def _fail(jobs: Sequence[Job], error: Exception) -> None:
    for job in jobs:
        job.call.fail(error)


def _not_loaded() -> Refusal:
    return Refusal("unavailable", "the model cannot be loaded", retry_after=_LONGEST_RETRY_SECONDS)


def _ending() -> Refusal:
    return Refusal("unavailable", "the server is about to end", retry_after=5)


def _without_id(group: Group) -> Group:
    """The group as the worker gets it: errors then say its place, and what clients call it stays here."""
    return group if group.id is None else Group(group.messages, group.responses)


def _cut(piece: Sequence[Job], error: Exception) -> list[Sequence[Job]]:
    """Two parts of a batch that has failed: the group that the error names and the others, else halves."""
    named = _NAMED.match(str(error))
    if named and int(named[1]) < len(piece):
        at = int(named[1])
        return [[*piece[:at], *piece[at + 1 :]], [piece[at]]]
    middle = len(piece) // 2
    return [piece[middle:], piece[:middle]]


def _refusal(error: Exception, job: Job) -> Refusal:
    """What a request is told of an error in one of its groups, which was alone in its batch."""
    where = f"groups[{job.index}]"
    if isinstance(error, Unforeseen):
        return Refusal("internal", "the model failed on this group; the server's log has the reason", where=where)
    refusal = refusal_of(error)
    named = _NAMED.match(refusal.message)
    if named is None:
        return Refusal(refusal.code, refusal.message, where=where, retry_after=refusal.retry_after)
    where += f".{named[2]}" if named[2] else ""
    return Refusal(refusal.code, refusal.message[named.end() :], where=where, retry_after=refusal.retry_after)
