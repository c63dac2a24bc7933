"""The server as a process: where it listens, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from vlreward.errors import ConfigError, VLRewardError

from .app import Backend, ServerOptions
from .requests import InFlight

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger("vlreward.serve")

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75
_LAST_SECONDS = 5.0
"""For answers to be written once all are known."""


def check_host(host: str, options: ServerOptions) -> None:
    """See that strangers need a key.

    Raises:
        ConfigError: the host is not this machine alone, and there are no keys.
    """
    if options.keys is None and not _is_loopback(host):
        raise ConfigError(f"--host {host}: others than this machine could ask; name a file of keys with --api-keys")


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: it cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{host}:{port}: cannot listen there ({reason}); name another --port or --host") from None


def serve(app: FastAPI, listening: socket.socket, *, drain_seconds: float) -> None:
    """Serve until a signal says to end.

    With the first SIGTERM or SIGINT, ``/health/ready`` and new requests get 503 and those that are there are finished,
    for ``drain_seconds`` at most; with the second those get 503, too; with the third the server ends whoever waits.

    Args:
        app: of `create_app`.
        listening: of `listen`; closed at the end.
        drain_seconds: see above.

    Raises:
        VLRewardError: the model could not be loaded.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # The other implementation that uvicorn may find takes headers of any size.
        http="h11",
        ws="none",
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(_LAST_SECONDS),
    )
    server = _Server(config, app.state.backend, app.state.in_flight, drain_seconds)
    _allow_many_connections()
    host, port = listening.getsockname()[:2]
    logger.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    with listening:
        server.run(sockets=[listening])
    if server.failure is not None:
        raise server.failure


def _allow_many_connections() -> None:
    """As many open files as the system lets a process have: each client that waits is one."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _Server(uvicorn.Server):
    """uvicorn's, with an end that lets requests finish."""

    def __init__(self, config: uvicorn.Config, backend: Backend, in_flight: InFlight, drain_seconds: float) -> None:
        super().__init__(config)
        self.failure: VLRewardError | None = None
        self._backend, self._in_flight, self._drain_seconds = backend, in_flight, drain_seconds
        self._tasks: list[asyncio.Task[Any]] = []
        self._hurry = asyncio.Event()
        self._running: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and to watch whether the model can be loaded."""
        await super().startup(sockets)
        self._running = asyncio.get_running_loop()
        self._tasks.append(asyncio.create_task(self._watch()))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is open."""
        for task in self._tasks:
            task.cancel()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn calls it
        """Drain; at a second signal, hurry; at a third, end."""
        if self._running is None or self._hurry.is_set():
            self.should_exit = self.force_exit = True
            return
        if self._backend.draining:
            self._running.call_soon_threadsafe(self._hurry.set)
            return
        self._backend.draining = True
        logger.info("%s: finishing %d requests", signal.Signals(sig).name, self._in_flight.count)
        self._running.call_soon_threadsafe(lambda: self._tasks.append(asyncio.ensure_future(self._drain())))

    async def _watch(self) -> None:
        try:
            await self._backend.wait_tried()
        except VLRewardError as error:
            self.failure = error
            self.should_exit = True
        else:
            logger.info("%s is ready", self._backend.model)

    async def _drain(self) -> None:
        ends = [asyncio.create_task(self._in_flight.wait_none()), asyncio.create_task(self._hurry.wait())]
        self._tasks += ends
        await asyncio.wait(ends, timeout=self._drain_seconds, return_when=asyncio.FIRST_COMPLETED)
        # Whoever still waits is answered before connections are closed.
        await self._backend.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self._in_flight.wait_none()
        self.should_exit = True
