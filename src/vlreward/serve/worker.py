"""One process that holds the model, watched and started again when it dies."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import multiprocessing
import pickle
import signal
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
        self._pickled = pickle.dumps(factory)
        self._backoff = backoff or Backoff()
        self._stuck_seconds = stuck_seconds
        self._ready, self._tried = asyncio.Event(), asyncio.Event()
        self._loaded: Loaded | None = None
        self._process: _Process | None = None
        self._sending = ThreadPoolExecutor(1, "vlreward-send")
        self._answer: asyncio.Future[Scored | Failed] | None = None
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
            WorkerDied: the process has ended, or does before the answer is there.
            VLRewardError: as the engine raises.
        """
        process, loop = self._process, asyncio.get_running_loop()
        if process is None or not self.ready:
            raise WorkerDied
        self._number += 1
        self._answer = loop.create_future()
        try:
            async with asyncio.timeout(self._stuck_seconds):
                await loop.run_in_executor(self._sending, process.send, (self._number, groups))
                answer = await self._answer
        except (TimeoutError, OSError) as error:  # OSError: nobody reads the pipe any more
            if isinstance(error, TimeoutError):
                logger.error("a batch took more than %g s; its process is ended", self._stuck_seconds)
            self._ready.clear()
            process.kill()
            raise WorkerDied from None
        finally:
            self._answer = None
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
            except OSError:
                logger.exception("no process could be started")
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
            if self._loaded is None and self.failure is None:
                self.failure = EngineError(
                    "the model's process ended while it loaded the model; was there memory enough?"
                )
            self._ready.clear()
            self._tried.set()
            self._process.kill()
            self._process = None
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(WorkerDied())

    def _hear(self, message: Loaded | Failed | Scored) -> None:
        if isinstance(message, Loaded):
            self._loaded, self.failure = message, None
            self._ready.set()
            self._tried.set()
        elif isinstance(message, Failed) and message.number is None:
            self.failure = message.error
        elif self._answer is not None and message.number == self._number and not self._answer.done():
            self._answer.set_result(message)


Message: TypeAlias = Loaded | Failed | Scored | None
"""What a process says; None: nothing more, it has ended."""


class _Process:
    """A process and the thread that listens to it."""

    def __init__(self, pickled: bytes, hear: Callable[[Message], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=worker_process.main, args=(theirs, pickled), name="vlreward-worker")
        with _signals_blocked():
            self._process.start()
        theirs.close()
        # Whoever forgets to close us must not wait for ever: multiprocessing joins its processes at exit.
        atexit.register(self.kill)
        threading.Thread(target=self._listen, args=(hear,), name="vlreward-listen", daemon=True).start()

    def send(self, message: tuple[int, Sequence[Group]]) -> None:
        """Put a batch into the pipe.

        Raises:
            OSError: the process has ended.
        """
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
