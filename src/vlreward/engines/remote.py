"""Rewards from servers. Nothing here needs torch or transformers, so that trainers with versions of their own can ask.

`AsyncRemoteEngine` does the work; `RemoteEngine` is the same for callers that are not asynchronous.
"""

from __future__ import annotations

import asyncio
import functools
import math
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

from vlreward.errors import ConfigError, EngineError, require
from vlreward.types import Group, Reward

from .background import Background
from .replies import Forgotten, TooLarge, Unavailable, read_reply, rewards_of
from .wire import Packed, Sent, pack

if TYPE_CHECKING:
    import httpx

_RESENDS = 3
_REMEMBERED = 100_000
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_CONNECT = 10.0
_T = TypeVar("_T")


@dataclass(eq=False)
class _Server:
    url: str
    ready_at: float = 0.0
    """When to ask it again after it could not answer, by the monotonic clock."""
    asked: int = 0
    """Requests that it has not answered yet."""
    sent: set[str] = field(default_factory=set)
    """Ids of media that it was sent."""
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    content: bytes | None = None
    content_type: str | None = None
    names: Sequence[str] = ()
    """The groups that it is about."""


def _upload(sent: Sent) -> _Request:
    return _Request("PUT", "/v1/media", sent.data, "application/octet-stream", (sent.where,))


class AsyncRemoteEngine:
    """Asks one or several servers that hold the same model.

    Long lists are split into requests, which are spread over the servers. Pictures and videos are read here and sent to
    a server once. What it answers with 429, 502, 503 or 504, and connections that break, are tried again, on another
    server if there is one, after a wait that doubles (or that the server names).

    Args:
        servers: the address of one, such as ``http://127.0.0.1:8080``, or of several.
        api_key: what the servers ask for.
        timeout: seconds for one request; the server drops what it cannot answer by then.
        retries: how often a request is tried again.
        groups_per_request: groups that are sent together.
        requests_at_once: requests that are under way at one time.
        transport: another way to reach the servers, for tests.

    Raises:
        ConfigError: an argument is wrong.
        MissingDependency: httpx is not installed.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        api_key: str | None = None,
        timeout: float = 180.0,
        retries: int = 8,
        groups_per_request: int = 32,
        requests_at_once: int = 8,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        for name, value in (("timeout", timeout), ("groups_per_request", groups_per_request)):
            if not value > 0:
                raise ConfigError(f"{name} must be positive, got {value!r}")
        if requests_at_once < 1 or retries < 0:
            raise ConfigError(f"requests_at_once {requests_at_once}, retries {retries}: need at least 1 and 0")
        require("httpx", extra="serve", purpose="asking a reward server")
        self._servers = [_Server(url) for url in _addresses(servers)]
        self._timeout, self._retries, self._size = timeout, retries, groups_per_request
        self._turns = asyncio.Semaphore(requests_at_once)
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    async def score(self, groups: Sequence[Group]) -> list[Reward]:
        """The rewards of each group, in order.

        Raises:
            MediaError: a picture or video of a group cannot be read.
            InputError: the server does not take a group, which is named.
            ScoreError: the model cannot score a group.
            EngineError: no server could answer, or one answered short.
            ConfigError: the API key is missing or not known.
        """
        # A group without an id is told by its place here, which its place in a request is not.
        names = [f"#{i}" if group.id is None else str(group.id) for i, group in enumerate(groups)]
        starts = range(0, len(groups), self._size)
        parts = [
            asyncio.ensure_future(self._scored(groups[i : i + self._size], names[i : i + self._size])) for i in starts
        ]
        try:
            return [reward for part in await asyncio.gather(*parts) for reward in part]
        except BaseException:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            raise

    async def describe(self) -> dict[str, Any]:
        """What the first server that answers says of its model: the body of ``/v1/models``.

        Raises:
            EngineError: none answers.
        """
        reply: dict[str, Any] = await self._tried(lambda server: self._ask(server, _Request("GET", "/v1/models")), ())
        return reply

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _scored(self, groups: Sequence[Group], names: Sequence[str]) -> list[Reward]:
        """The rewards of groups that fit one request; of each half, where the server says that they do not."""
        try:
            async with self._turns:
                packed = await asyncio.to_thread(pack, groups, names)
                return await self._tried(lambda server: self._exchange(server, packed, groups), names)
        except TooLarge as error:
            if len(groups) == 1:
                raise error.meant from None
        middle = len(groups) // 2
        first = await self._scored(groups[:middle], names[:middle])
        return first + await self._scored(groups[middle:], names[middle:])

    async def _tried(self, ask: Callable[[_Server], Coroutine[Any, Any, _T]], names: Sequence[str]) -> _T:
        """What a server answers, as often as it takes; ``names`` are the groups that are asked about."""
        problem: Exception | None = None
        tried: Counter[str] = Counter()
        for attempt in range(self._retries + 1):
            server = await self._free(tried)
            tried[server.url] += 1
            server.asked += 1
            try:
                return await ask(server)
            except Unavailable as error:
                server.ready_at = time.monotonic() + _wait(attempt, error.retry_after)
                problem = error
            finally:
                server.asked -= 1
        about = f"group {names[0]!r}" + (f" and {len(names) - 1} more" if len(names) > 1 else "") if names else "model"
        raise EngineError(f"{problem} (asked about {about}, {self._retries + 1} times)") from problem

    async def _free(self, tried: Mapping[str, int]) -> _Server:
        """Of the servers that are not to be left alone for now, one that was tried least, and has the least to do."""
        while True:
            now = time.monotonic()
            ready = [server for server in self._servers if server.ready_at <= now]
            if ready:
                return min(ready, key=lambda server: (tried[server.url], server.asked, random.random()))
            await asyncio.sleep(min(server.ready_at for server in self._servers) - now)

    async def _exchange(self, server: _Server, packed: Packed, groups: Sequence[Group]) -> list[Reward]:
        """Send what the server does not have, then ask."""
        for _ in range(_RESENDS):
            await self._send(server, packed)
            try:
                ask = _Request("POST", "/v1/score", packed.body, "application/json", packed.names)
                return rewards_of(await self._ask(server, ask), server.url, groups, packed.names)
            except Forgotten as error:
                if not error.media & packed.media.keys():
                    raise EngineError(f"{server.url}: it was never sent {', '.join(sorted(error.media))}") from None
                server.sent -= error.media
        raise Unavailable(f"{server.url}: it drops pictures before they are used; its media store is too small")

    async def _send(self, server: _Server, packed: Packed) -> None:
        if packed.media.keys() <= server.sent:
            return
        # One at a time, so that requests that share a picture do not both send it.
        async with server.sending:
            missing = [name for name in packed.media if name not in server.sent]
            await asyncio.gather(*(self._ask(server, _upload(packed.media[name])) for name in missing))
            if len(server.sent) > _REMEMBERED:
                server.sent.clear()
            server.sent.update(missing)

    async def _ask(self, server: _Server, request: _Request) -> Any:
        """The JSON of the answer to one request."""
        import httpx

        headers = {"X-Vlreward-Deadline": f"{self._timeout:g}"}
        if request.content_type:
            headers["Content-Type"] = request.content_type
        try:
            response = await self._connected().request(
                request.method, server.url + request.path, content=request.content, headers=headers
            )
        except httpx.TimeoutException:
            raise Unavailable(f"{server.url}: no answer within {self._timeout:g} s") from None
        except httpx.TransportError as error:
            raise Unavailable(f"{server.url}: cannot be reached ({error or type(error).__name__})") from None
        return read_reply(response, server.url, request.names)

    def _connected(self) -> httpx.AsyncClient:
        """The connections, made where they are used."""
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=self._transport,
                timeout=httpx.Timeout(self._timeout, connect=min(_CONNECT, self._timeout), pool=None),
                headers=self._headers,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            )
        return self._client


class RemoteEngine:
    """An `Engine` over servers; see `AsyncRemoteEngine` for what it does, its arguments and its errors.

    It asks from a thread of its own, so that it can be used anywhere: in a notebook, from several threads, in a process
    that was forked after it was made. It can be pickled.
    """

    _running: tuple[Background, AsyncRemoteEngine] | None

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        api_key: str | None = None,
        timeout: float = 180.0,
        retries: int = 8,
        groups_per_request: int = 32,
        requests_at_once: int = 8,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._make = functools.partial(
            AsyncRemoteEngine,
            servers,
            api_key=api_key,
            timeout=timeout,
            retries=retries,
            groups_per_request=groups_per_request,
            requests_at_once=requests_at_once,
            transport=transport,
        )
        self._make()  # wrong arguments are said now
        self._forget()

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        """The rewards of each group, in order; errors as `AsyncRemoteEngine.score`."""
        background, engine = self._started()
        return background.run(engine.score(groups))

    def describe(self) -> dict[str, Any]:
        """What the server says of its model; errors as `AsyncRemoteEngine.describe`."""
        background, engine = self._started()
        return background.run(engine.describe())

    def close(self) -> None:
        """Close the connections. Scoring again opens new ones."""
        with self._lock:
            started = self._running
            self._running = None
        if started is not None and started[0].is_alive:
            background, engine = started
            background.run(engine.close())
            background.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"_make": self._make}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._make = state["_make"]
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._running = None

    def _started(self) -> tuple[Background, AsyncRemoteEngine]:
        with self._lock:
            if self._running is None or not self._running[0].is_alive:
                self._running = Background(), self._make()
            return self._running


def _addresses(servers: str | Sequence[str]) -> list[str]:
    """The addresses of servers without a slash at the end.

    Raises:
        ConfigError: there is none, or one is not an address.
    """
    found = [servers] if isinstance(servers, str) else list(servers)
    if not found:
        raise ConfigError("no servers; give an address such as http://127.0.0.1:8080")
    for server in found:
        if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", server, re.IGNORECASE):
            raise ConfigError(f"{server}: not the address of a server; give one such as http://127.0.0.1:8080")
    return [server.rstrip("/") for server in found]


def _wait(attempt: int, retry_after: float | None) -> float:
    """Seconds to leave a server alone: a random share of what doubles, or what the server says and a little more."""
    if retry_after is not None:
        return min(retry_after, _LONGEST_WAIT) + random.uniform(0, 0.5)
    return random.uniform(0.5, 1) * min(math.ldexp(_FIRST_WAIT, attempt), _LONGEST_WAIT)
