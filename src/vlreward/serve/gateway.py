"""Another server as what scores: the dialects, media ids and calibration are ours, the engine is its."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args

from vlreward.engines.remote import AsyncRemoteEngine
from vlreward.errors import ConfigError, EngineError, VLRewardError
from vlreward.model.calibration import Calibration
from vlreward.types import Group, Reward

from .refusals import Refusal
from .vllm_engine import VllmEngine, model_card

logger = logging.getLogger("vlreward.serve")

Kind: TypeAlias = Literal["vlreward", "vllm"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What ``/v1/models`` of a server may say of who owns its model."""

_WATCH_SECONDS = 5.0
_PROBE_SECONDS = 10.0


class RemoteEngine(Protocol):
    """A server behind this one."""

    async def describe(self) -> dict[str, Any]:
        """What it says of its model: the body of ``/v1/models``."""
        ...

    async def score(self, groups: Sequence[Group]) -> list[Reward]:
        """The rewards of each group, in order; errors as `vlreward.engines.base.Engine.score`."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class DetectedEngine:
    """A server of which kind is found out by what ``/v1/models`` says of who owns the model.

    Args:
        servers: the address of one server, or of several that hold the same model.
        api_key: what they ask for.
        engines: what is made for each kind.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        api_key: str | None = None,
        engines: Mapping[Kind, Callable[..., RemoteEngine]] | None = None,
    ) -> None:
        self._engines = engines or {"vlreward": AsyncRemoteEngine, "vllm": VllmEngine}
        self._servers, self._api_key = servers, api_key
        self._asked = self._make("vlreward")
        self._found: RemoteEngine | None = None

    async def describe(self) -> dict[str, Any]:
        """As the engine's; the kind is known from then on.

        Raises:
            EngineError: the server does not answer, or is of no kind that is known.
        """
        models = await self._asked.describe()
        owner = model_card(models).get("owned_by")
        kind = next((kind for kind in KINDS if kind == owner), None)
        if kind is None:
            raise EngineError(f"the server's model is owned by {owner!r}; known kinds: {', '.join(KINDS)}")
        if self._found is None:
            self._found = self._asked if kind == "vlreward" else self._make(kind)
        return models

    async def score(self, groups: Sequence[Group]) -> list[Reward]:
        """As the engine's."""
        if self._found is None:
            await self.describe()
        assert self._found is not None
        return await self._found.score(groups)

    def _make(self, kind: Kind) -> RemoteEngine:
        return self._engines[kind](self._servers, api_key=self._api_key)

    async def close(self) -> None:
        """Close the connections."""
        for engine in {id(e): e for e in (self._asked, self._found) if e is not None}.values():
            await engine.close()


@dataclass(frozen=True, kw_only=True)
class GatewayLimits:
    """How much of the other server is used.

    Raises:
        ConfigError: a limit is not positive.
    """

    at_once: int = 64
    """Requests that are passed on at one time."""
    waiting: int = 1024
    """Requests that wait for their turn; more are told to come again."""
    seconds: float = 180.0
    """For a request that does not say within how many it wants its answer."""

    def __post_init__(self) -> None:
        if self.at_once < 1 or self.waiting < 0 or not self.seconds > 0:
            raise ConfigError(f"at_once, waiting and seconds must be positive, got {self}")


class RemoteService:
    """A `vlreward.serve.app.Backend` over another server.

    Args:
        engine: the server.
        model: its name, as clients are told; None: what the server says.
        calibration: of its model, for probabilities.
        limits: how much of it is used.
    """

    def __init__(
        self,
        engine: RemoteEngine,
        *,
        model: str | None = None,
        calibration: Calibration | None = None,
        limits: GatewayLimits | None = None,
    ) -> None:
        self.draining = False
        self._engine, self._name, self._calibration = engine, model, calibration
        self._limits = limits or GatewayLimits()
        self._turns = _Turns(self._limits.at_once, self._limits.waiting)
        self._card: Mapping[str, Any] | None = None
        self._problem: VLRewardError | None = None
        self._tried = asyncio.Event()
        self._timers: set[asyncio.Timeout] = set()
        self._watching: asyncio.Task[None] | None = None

    @property
    def model(self) -> str:
        """The model's name, as clients are told."""
        return self._name or (str(self._card["id"]) if self._card else "unknown")

    @property
    def calibration(self) -> Calibration | None:
        """What `vlreward calibrate` found of the model, None if it was not asked."""
        return self._calibration

    @property
    def ready(self) -> bool:
        """Whether the other server answered when it was asked last."""
        return self._tried.is_set() and self._problem is None

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the other server says of its model."""
        card = self._card or {}
        known = {key: card[key] for key in ("owned_by", "max_model_len") if card.get(key) is not None}
        return dict(card.get("settings") or {}) | known

    def start(self) -> None:
        """Begin to watch the other server; called once, in the event loop."""
        self._watching = asyncio.create_task(self._watch())

    async def wait_tried(self) -> None:
        """Until the other server has been asked.

        Raises:
            VLRewardError: it does not answer, or has no model.
        """
        await self._tried.wait()
        if self._problem is not None:
            raise self._problem

    async def score(self, groups: Sequence[Group], *, client: str, seconds: float | None = None) -> list[Reward]:
        """The rewards of each group, in order; see `vlreward.serve.service.Service.score`."""
        if self.draining:
            raise _ending()
        limit = self._limits.seconds if seconds is None else min(seconds, self._limits.seconds)
        timer = asyncio.timeout(limit)
        self._timers.add(timer)
        try:
            async with timer, self._turns.turn(client):
                return await self._engine.score(groups)
        except TimeoutError:
            late = Refusal("too_late", f"no rewards within {limit:g} s")
            raise late if timer in self._timers else _ending() from None
        except ConfigError as error:  # of this server, such as a key that the other one does not know
            raise EngineError(str(error)) from error
        finally:
            self._timers.discard(timer)

    async def close(self) -> None:
        """Close the connections; whoever still waits is told so. Calling it twice is harmless."""
        self.draining = True
        now = asyncio.get_running_loop().time()
        while self._timers:
            timer = self._timers.pop()
            if not timer.expired():
                timer.reschedule(now)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
            await self._engine.close()

    async def _watch(self) -> None:
        """Ask the other server again and again: at first for as long as the engine tries, then for a moment."""
        while True:
            limit = _PROBE_SECONDS if self._tried.is_set() else None
            problem: VLRewardError | None = None
            try:
                async with asyncio.timeout(limit):
                    self._card = _unshaped(model_card(await self._engine.describe()))
            except VLRewardError as error:
                problem = error
            except TimeoutError:
                problem = EngineError(f"it does not answer within {limit:g} s")
            if problem is not None and self._problem is None:
                logger.error("the server behind this one: %s", problem)
            self._problem = problem
            self._tried.set()
            await asyncio.sleep(_WATCH_SECONDS)


def _unshaped(card: dict[str, Any]) -> dict[str, Any]:
    """The same card of a model whose rewards are its own: probabilities, and another shaping, are made of those.

    Raises:
        EngineError: they are not.
    """
    if (card.get("settings") or {}).get("shaping"):
        raise EngineError("the server behind this one shapes its rewards; start it without, and shape them here")
    return card


def _ending() -> Refusal:
    return Refusal("unavailable", "the server is about to end", retry_after=5)


class _Turns:
    """Places for requests. Clients that wait take turns, whatever number of requests each has."""

    def __init__(self, places: int, waiting: int) -> None:
        self._free, self._room = places, waiting
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """A place, for as long as the block lasts.

        Raises:
            Refusal: too many wait.
        """
        await self._take(client)
        try:
            yield
        finally:
            self._give()

    async def _take(self, client: str) -> None:
        if self._free:
            self._free -= 1
            return
        if self._room <= 0:
            raise Refusal("busy", "too many requests wait; try again later", retry_after=1)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(client, deque()).append(place)
        self._room -= 1
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was given one just now
                self._give()
            else:
                self._leave(client, place)
            raise
        finally:
            self._room += 1

    def _leave(self, client: str, place: asyncio.Future[None]) -> None:
        queue = self._queues.get(client)
        if queue is not None and place in queue:
            queue.remove(place)
            if not queue:
                del self._queues[client]

    def _give(self) -> None:
        """Hand a place to the client whose turn it is."""
        while self._queues:
            client, queue = self._queues.popitem(last=False)
            place = queue.popleft()
            if queue:
                self._queues[client] = queue
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
