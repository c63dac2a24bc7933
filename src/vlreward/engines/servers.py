"""Asking one server or several: connections, whose turn it is, and again later where one cannot answer."""

from __future__ import annotations

import asyncio
import email.utils
import math
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from vlreward.errors import ConfigError, EngineError, require

if TYPE_CHECKING:
    import httpx

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_CONNECT = 10.0
_T = TypeVar("_T")


BUSY = (429, 502, 503, 504)
"""Statuses of a server that answers nobody now."""


class Unavailable(Exception):
    """A server cannot answer now; another, or the same one later, may."""

    def __init__(self, message: str, retry_after: float | None = None, *, busy: bool = True) -> None:
        """Args:
        message: starts with the server's address.
        retry_after: seconds for which it wants to be left alone; None: it does not say.
        busy: whether other requests are to leave it alone, too; False: it may be this one that it fails on.
        """
        super().__init__(message)
        self.retry_after, self.busy = retry_after, busy

    @classmethod
    def of(cls, response: httpx.Response, message: str) -> Self:
        """For an answer that another try may change."""
        return cls(message, _retry_after(response), busy=response.status_code in BUSY)


@dataclass(eq=False)
class Server:
    """One of them."""

    url: str
    """Without a slash at the end."""
    ready_at: float = 0.0
    """When to ask it again after it could not answer, by the monotonic clock."""
    asked: int = 0
    """Requests that it has not answered yet."""


class Servers:
    """One or several servers with the same model, for callers in one event loop.

    Args:
        addresses: of one, such as ``http://127.0.0.1:8080``, or of several.
        api_key: what they ask for.
        timeout: seconds for one request.
        retries: how often a request is tried again.
        headers: of every request.
        transport: another way to reach them, for tests.

    Raises:
        ConfigError: an argument is wrong.
        MissingDependency: httpx is not installed.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        api_key: str | None,
        timeout: float,
        retries: int,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not timeout > 0 or retries < 0:
            raise ConfigError(f"timeout {timeout!r}, retries {retries!r}: need more than 0, and at least 0")
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise ConfigError("the API key must be ASCII, and one line")
        require("httpx", extra="serve", purpose="asking a server")
        self.all = [Server(url) for url in _checked(addresses)]
        self._timeout, self._retries, self._transport = timeout, retries, transport
        self._headers = dict(headers or {}) | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._client: httpx.AsyncClient | None = None

    async def tried(
        self, ask: Callable[[Server], Coroutine[None, None, _T]], about: str, *, first: Server | None = None
    ) -> _T:
        """What a server answers, as often as it takes: on another one where there is one, after a wait that doubles.

        Args:
            ask: asks a server; raises `Unavailable` for what another try may change.
            about: what it asks about, for the error.
            first: the server to begin with, unless it is to be left alone for now.

        Raises:
            EngineError: no server could answer.
        """
        problem: Exception | None = None
        tried: Counter[Server] = Counter()
        waits: dict[Server, float] = {}
        for attempt in range(self._retries + 1):
            server = await self._free(tried, waits, first)
            tried[server] += 1
            server.asked += 1
            try:
                return await ask(server)
            except Unavailable as error:
                problem, waits[server] = error, time.monotonic() + _wait(attempt, error.retry_after)
                if error.busy:
                    server.ready_at = waits[server]
            finally:
                server.asked -= 1
        raise EngineError(f"{problem} (asked about {about}, {self._retries + 1} times)") from problem

    async def _free(self, tried: Counter[Server], waits: Mapping[Server, float], first: Server | None) -> Server:
        """Of the servers that are not to be left alone for now, one that was tried least, and has the least to do."""
        while True:
            now = time.monotonic()
            ready_at = {server: max(server.ready_at, waits.get(server, 0.0)) for server in self.all}
            ready = [server for server in self.all if ready_at[server] <= now]
            if ready:
                return min(ready, key=lambda one: (tried[one], one is not first, one.asked, random.random()))
            await asyncio.sleep(min(ready_at.values()) - now)

    async def request(
        self, server: Server, method: str, path: str, *, content: bytes | None = None, content_type: str | None = None
    ) -> httpx.Response:
        """The whole answer to one request, whatever its status.

        Raises:
            Unavailable: there is none.
        """
        import httpx

        headers = {"Content-Type": content_type} if content_type else None
        try:
            return await self._connected().request(method, server.url + path, content=content, headers=headers)
        except httpx.TimeoutException:
            raise Unavailable(f"{server.url}: no answer within {self._timeout:g} s") from None
        except httpx.TransportError as error:
            raise Unavailable(f"{server.url}: cannot be reached ({error or type(error).__name__})") from None

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

    async def close(self) -> None:
        """Close the connections. Asking again opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _checked(addresses: str | Sequence[str]) -> list[str]:
    """The addresses without a slash at the end.

    Raises:
        ConfigError: there is none, or one is not an address.
    """
    found = [addresses] if isinstance(addresses, str) else list(addresses)
    if not found:
        raise ConfigError("no servers; give an address such as http://127.0.0.1:8080")
    for address in found:
        if not _is_address(address):
            raise ConfigError(f"{address}: not the address of a server; give one such as http://127.0.0.1:8080")
    return [address.rstrip("/") for address in found]


def _is_address(text: str) -> bool:
    import httpx

    if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", text, re.IGNORECASE):
        return False
    try:
        port = httpx.URL(text).port
    except httpx.InvalidURL:
        return False
    return port is None or 0 < port < 2**16


def _wait(attempt: int, retry_after: float | None) -> float:
    """Seconds to leave a server alone: a random share of what doubles, or what the server says and a little more."""
    if retry_after is not None:
        return min(retry_after, _LONGEST_WAIT) + random.uniform(0, 0.5)
    return random.uniform(0.5, 1) * min(math.ldexp(_FIRST_WAIT, attempt), _LONGEST_WAIT)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds for which a server wants to be left alone, said as a number or as a date; None: it does not say."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
