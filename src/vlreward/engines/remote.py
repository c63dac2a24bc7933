"""Rewards from servers. Nothing here needs torch or transformers, so that trainers with versions of their own can ask.

`AsyncRemoteEngine` does the work; `RemoteEngine` is the same for callers that are not asynchronous.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from vlreward.errors import ConfigError, EngineError
from vlreward.types import Group, Reward

from .background import Background
from .replies import Forgotten, TooLarge, read_reply, rewards_of
from .servers import Server, Servers, Unavailable
from .wire import Packed, Sent, pack

if TYPE_CHECKING:
    import httpx

_RESENDS = 3
_REMEMBERED = 100_000


@dataclass(eq=False)
class _Known:
    """What one server was sent."""

    ids: set[str] = field(default_factory=set)
    """Of media."""
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)


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
        for name, value in (("groups_per_request", groups_per_request), ("requests_at_once", requests_at_once)):
            if value < 1:
                raise ConfigError(f"{name} must be positive, got {value!r}")
        self._servers = Servers(
            servers,
            api_key=api_key,
            timeout=timeout,
            retries=retries,
            headers={"X-Vlreward-Deadline": f"{timeout:g}"},
            transport=transport,
        )
        self._known = {server: _Known() for server in self._servers.all}
        self._size = groups_per_request
        self._turns = asyncio.Semaphore(requests_at_once)

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

        async def ask(server: Server) -> dict[str, Any]:
            response = await self._servers.request(server, "GET", "/v1/models")
            models: dict[str, Any] = read_reply(response, server.url, ())
            return models

        return await self._servers.tried(ask, "model")

    async def close(self) -> None:
        """Close the connections."""
        await self._servers.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _scored(self, groups: Sequence[Group], names: Sequence[str]) -> list[Reward]:
        """The rewards of groups that fit one request; of each half, where the server says that they do not."""
        try:
            async with self._turns:
                packed = await asyncio.to_thread(pack, groups, names)
                about = f"group {names[0]!r}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
                return await self._servers.tried(lambda server: self._exchange(server, packed, groups), about)
        except TooLarge as error:
            if len(groups) == 1:
                raise error.meant from None
        middle = len(groups) // 2
        first = await self._scored(groups[:middle], names[:middle])
        return first + await self._scored(groups[middle:], names[middle:])

    async def _exchange(self, server: Server, packed: Packed, groups: Sequence[Group]) -> list[Reward]:
        """Send what the server does not have, then ask."""
        for _ in range(_RESENDS):
            await self._send(server, packed)
            response = await self._servers.request(
                server, "POST", "/v1/score", content=packed.body, content_type="application/json"
            )
            try:
                reply = read_reply(response, server.url, packed.names)
                return rewards_of(reply, server.url, groups, packed.names)
            except Forgotten as error:
                if not error.media & packed.media.keys():
                    raise EngineError(f"{server.url}: it was never sent {', '.join(sorted(error.media))}") from None
                self._known[server].ids -= error.media
        raise Unavailable(f"{server.url}: it drops pictures before they are used; its media store is too small")

    async def _send(self, server: Server, packed: Packed) -> None:
        known = self._known[server]
        if packed.media.keys() <= known.ids:
            return
        # One at a time, so that requests that share a picture do not both send it.
        async with known.sending:
            missing = [name for name in packed.media if name not in known.ids]
            await asyncio.gather(*(self._upload(server, packed.media[name]) for name in missing))
            if len(known.ids) > _REMEMBERED:
                known.ids.clear()
            known.ids.update(missing)

    async def _upload(self, server: Server, medium: Sent) -> None:
        response = await self._servers.request(
            server, "PUT", "/v1/media", content=medium.data, content_type="application/octet-stream"
        )
        read_reply(response, server.url, (medium.where,))


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
