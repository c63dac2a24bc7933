"""One process that holds the model, watched and started again when it dies."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from typing import Any, TypeAlias

from vlreward.errors import EngineError, VLRewardError
from vlreward.model.calibration import Calibration
from vlreward.types import Group

from . import worker_process
from .refusals import Refusal
from .worker_process import Factory, Failed, Loaded, Scored

logger = logging.getLogger("vlreward.serve")

_WELL_SECONDS = 30.0
"""A process that lived as long was well; after it, waiting begins small again."""


class WorkerDied(Refusal):
    """The process ended with a batch in hand."""

    def __init__(self) -> None:
        super().__init__("unavailable", "the model's process ended during the request; try again", retry_after=1)


class NotSent(Exception):
    """There is no process to give a batch to; it has not seen this one."""


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How long to wait before a process is started again."""

    first_seconds: float = 0.5
    factor: float = 2.0
    most_seconds: float = 30.0


class Worker:
    """Scores one batch at a time in a process of its own.

    Args:
        factory: makes the engine, in that process.
        backoff: between one process and the next.
        stuck_seconds: a batch that takes as long is given up, and the process with it.
    """

    def __init__(self, factory: Factory, *, backoff: Backoff | None = None, stuck_seconds: float = 600.0) -> None:
        self.restarts = 0
        self.failure: VLRewardError | None = None
        """Why the model cannot be loaded, until it can."""
        self.on_failure: Callable[[], None] = lambda: None
        """Called in the event loop each time that it could not."""
        self._pickled = pickle.dumps(factory)
        self._backoff = backoff or Backoff()
        self._stuck_seconds = stuck_seconds
        self._ready, self._tried = asyncio.Event(), asyncio.Event()
        self._loaded: Loaded | None = None
        self._process: _Process | None = None
        self._sending = ThreadPoolExecutor(1, "vlreward-send")
        self._answer: asyncio.Future[Scored | Failed | None] | None = None
        self._number = 0
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and its process alive."""
        return self._ready.is_set()

    @property
    def calibration(self) -> Calibration | None:
        """Of the model, once it was loaded."""
        return self._loaded.calibration if self._loaded else None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the model, once it was loaded."""
        return self._loaded.settings if self._loaded else {}

    def start(self) -> None:
        """Start the process, without waiting for the model."""
        self._supervisor = asyncio.create_task(self._supervise())

    async def wait_ready(self) -> None:
        """Until the model is loaded, if it ever is."""
        await self._ready.wait()

    async def wait_tried(self) -> None:
        """Until the first process has loaded the model, or has failed to.

        Raises:
            VLRewardError: why it has.
        """
        await self._tried.wait()
        if self.failure is not None:
            raise self.failure

    async def score(self, groups: Sequence[Group]) -> Scored:
        """The rewards of groups, and what they took. One call at a time.

        Raises:
            NotSent: there was no process to begin with.
            WorkerDied: the process has ended before the answer was there.
            VLRewardError: as the engine raises.
        """
        process, loop = self._process, asyncio.get_running_loop()
        if process is None or not self.ready:
            raise NotSent
        self._number += 1
        self._answer = loop.create_future()
        try:
            async with asyncio.timeout(self._stuck_seconds):
                await loop.run_in_executor(self._sending, process.send, (self._number, groups))
                answer = await self._answer
        except (TimeoutError, OSError, NotSent) as error:  # OSError: nobody reads the pipe any more
            if isinstance(error, TimeoutError):
                logger.error("a batch took more than %g s; its process is ended", self._stuck_seconds)
            self._ready.clear()
            process.kill()
            raise error if isinstance(error, NotSent) else WorkerDied() from None
        finally:
            self._answer = None
        if answer is None:
            raise WorkerDied
        if isinstance(answer, Failed):
            raise answer.error
        return answer

    async def close(self) -> None:
        """End the process, and with it what it is doing."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        self._sending.shutdown(wait=False)

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        delay = self._backoff.first_seconds
        while True:
            began = loop.time()
            try:
                await self._live()
            except Exception as error:  # no memory, no file, no thread: there may be one the next time
                logger.exception("the model's process could not be started")
                self._not_loaded(f"the model's process could not be started ({type(error).__name__})")
            if loop.time() - began > _WELL_SECONDS:
                delay = self._backoff.first_seconds
            # One that never had a model is for `wait_tried` to tell.
            level = logging.INFO if self._loaded is None else logging.ERROR
            logger.log(level, "the model's process has ended%s; another begins in %.1f s", self._reason, delay)
            await asyncio.sleep(delay)
            delay = min(delay * self._backoff.factor, self._backoff.most_seconds)
            self.restarts += 1

    @property
    def _reason(self) -> str:
        return f": {self.failure}" if self.failure is not None else ""

    async def _live(self) -> None:
        """One process, from its start to its end."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def hear(message: Message) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(ended.set if message is None else lambda: self._hear(message))

        self._process = _Process(self._pickled, hear)
        try:
            await ended.wait()
        finally:
            self._ready.clear()
            self._process.kill()
            self._process = None
            self._not_loaded("the model's process ended while it loaded the model; was there memory enough?")
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(None)

    def _not_loaded(self, reason: str) -> None:
        """A process has ended; if none ever had the model, that is why."""
        if self._loaded is None and self.failure is None:
            self._fail(EngineError(reason))

    def _fail(self, error: VLRewardError) -> None:
        self.failure = error
        self._tried.set()
        self.on_failure()

    def _hear(self, message: Loaded | Failed | Scored) -> None:
        if isinstance(message, Loaded):
            self._loaded, self.failure = message, None
            self._ready.set()
            self._tried.set()
        elif isinstance(message, Failed) and message.number is None:
            self._fail(message.error)
        elif self._answer is not None and message.number == self._number and not self._answer.done():
            self._answer.set_result(message)


Message: TypeAlias = Loaded | Failed | Scored | None
"""What a process says; None: nothing more, it has ended."""


class _Process:
    """A process and the thread that listens to it.

    Raises:
        Exception: it cannot be started, for whatever the system lacks; nothing of it is left then.
    """

    def __init__(self, pickled: bytes, hear: Callable[[Message], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._closing = threading.Lock()
        with contextlib.ExitStack() as undo:
            undo.callback(self._connection.close)
            with theirs:
                self._process = context.Process(
                    target=worker_process.main, args=(theirs, pickled), name="vlreward-worker"
                )
                with _signals_blocked():
                    self._process.start()
            # Whoever forgets to close us must not wait for ever: multiprocessing joins its processes at exit.
            atexit.register(self.kill)
            undo.callback(self.kill)
            threading.Thread(target=self._listen, args=(hear,), name="vlreward-listen", daemon=True).start()
            undo.pop_all()

    def send(self, message: tuple[int, Sequence[Group]]) -> None:
        """Put a batch into the pipe.

        Raises:
            NotSent: the process had ended before.
            OSError: it has ended meanwhile.
        """
        with self._closing:
            if self._connection.closed or connection.wait([self._process.sentinel], 0):
                raise NotSent
            self._connection.send(message)

    def kill(self) -> None:
        """End the process now; it heeds no other signal."""
        with contextlib.suppress(ValueError):  # it is closed already
            self._process.kill()
        atexit.unregister(self.kill)

    def _listen(self, hear: Callable[[Message], None]) -> None:
        try:
            # The sentinel too: a process that has left children behind leaves the pipe open.
            while self._connection in connection.wait([self._connection, self._process.sentinel]):
                hear(self._connection.recv())
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("the model's process said something that cannot be read")
        hear(None)
        self._process.join()
        self._hang_up()

    def _hang_up(self) -> None:
        """Close the pipe once nobody writes to it: the number of a closed file may be another one's a moment later."""
        # Whoever writes to what nobody reads any more waits no longer.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as pipe:
            pipe.shutdown(socket.SHUT_RDWR)
        with self._closing:
            self._connection.close()


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """A process that is started here is born with these signals blocked, until it can say that it ignores them."""
    resource_tracker.ensure_running()  # would unblock them, were it started with the process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
