"""What is done for every request, whatever its route: an id, a line in the log, metrics, and an eye on its client."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
import uuid
from collections.abc import Container
from typing import TYPE_CHECKING

from fastapi import Request

from .metrics import Metrics
from .refusals import Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("vlreward.serve")

ID_HEADER = "X-Request-Id"
DEADLINE_HEADER = "X-Vlreward-Deadline"
_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
_QUIET = ("/health/live", "/health/ready", "/metrics")
CLIENT_GONE = 499
"""In logs and metrics, the status of a request whose client hung up before the answer."""


def deadline_of(request: Request) -> float | None:
    """Seconds within which a client wants its answer, None if it does not say.

    Raises:
        Refusal: the header is not a positive number.
    """
    value = request.headers.get(DEADLINE_HEADER)
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise Refusal("bad_request", "must be a positive number of seconds", where=DEADLINE_HEADER)
    return seconds


class InFlight:
    """How many requests are being answered, those that only look at the server aside."""

    def __init__(self) -> None:
        self.count = 0
        self._none = asyncio.Event()
        self._none.set()

    def began(self) -> None:
        """One more."""
        self.count += 1
        self._none.clear()

    def ended(self) -> None:
        """One less."""
        self.count -= 1
        if self.count == 0:
            self._none.set()

    async def wait_none(self) -> None:
        """Until there are none."""
        await self._none.wait()


class Requests:
    """ASGI middleware, the outermost.

    Each request gets an id (its own ``X-Request-Id`` where it has a sound one), a line in the log and its place in the
    metrics. One whose client hangs up is cancelled, which takes its groups out of the queue.

    Args:
        app: what is behind it.
        metrics: are told of every request.
        in_flight: likewise, but for those that only look at the server.
        paths: of the routes, by which a request is told that was refused before it came to one.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, in_flight: InFlight, paths: Container[str]) -> None:
        self._app, self._metrics, self._in_flight, self._paths = app, metrics, in_flight, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        exchange = _Exchange(_id_of(scope), receive, send)
        # Others may look for it: logs of what a request led to say its id.
        scope.setdefault("state", {})["request_id"] = exchange.id
        looks = scope["path"] in _QUIET
        self._metrics.request_began()
        if not looks:
            self._in_flight.began()
        try:
            await exchange.run(self._app, scope)
        finally:
            if not looks:
                self._in_flight.ended()
            seconds = time.perf_counter() - began
            path: str = scope["path"] if scope["path"] in self._paths else "unmatched"
            route = str(getattr(scope.get("route"), "path", path))
            self._metrics.request_ended(route, exchange.status, seconds)
            level = logging.DEBUG if looks else logging.INFO
            logger.log(level, "%s %s %s %d %.3f s", exchange.id, scope["method"], route, exchange.status, seconds)


def _id_of(scope: Scope) -> str:
    given = next((value for key, value in scope["headers"] if key == ID_HEADER.lower().encode()), b"")
    text = given.decode("latin-1")
    return text if _ID.fullmatch(text) else uuid.uuid4().hex


class _Exchange:
    """A request and its answer, with somebody who listens whether the client is still there."""

    def __init__(self, name: str, receive: Receive, send: Send) -> None:
        self.id = name
        self.status = CLIENT_GONE
        self._receive, self._send = receive, send
        self._has_body = asyncio.Event()
        self._gone = asyncio.Event()
        self._answered = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Let the application answer, or cancel it when the client is gone."""
        handling = asyncio.ensure_future(app(scope, self._heard, self._said))
        listening = asyncio.ensure_future(self._listen(handling))
        try:
            await handling
        except asyncio.CancelledError:
            if not self._gone.is_set():  # it is we who are cancelled
                handling.cancel()
                raise
        finally:
            listening.cancel()

    async def _listen(self, handling: asyncio.Future[None]) -> None:
        await self._has_body.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        if not self._answered:
            handling.cancel()

    async def _heard(self) -> Message:
        """The body; behind it, only that the client is gone."""
        if self._has_body.is_set():
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._has_body.set()
        return message

    async def _said(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != ID_HEADER.lower().encode()]
            message = {**message, "headers": [*headers, (ID_HEADER.lower().encode(), self.id.encode())]}
        elif not message.get("more_body", False):
            self._answered = True
        await self._send(message)
