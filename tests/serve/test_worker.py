"""The process that holds the model: errors, death, and being started again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import fake_reward
from vlreward import Group
from vlreward.errors import CheckpointError, EngineError, MediaError
from vlreward.serve import worker as worker_module
from vlreward.serve.worker import Backoff, NotSent, Worker, WorkerDied, _Process
from vlreward.serve.worker_process import Factory, Loaded, Unforeseen

from .engines import CALIBRATION, BrokenFactory, FaultyFactory

QUICK = Backoff(first_seconds=0.05, most_seconds=0.2)


@contextlib.asynccontextmanager
async def running(factory: Factory, stuck_seconds: float = 60.0) -> AsyncIterator[Worker]:
    worker = Worker(factory, backoff=QUICK, stuck_seconds=stuck_seconds)
    worker.start()
    try:
        async with asyncio.timeout(120):
            yield worker
    finally:
        await worker.close()


def process_of(worker: Worker) -> int:
    assert worker._process is not None
    pid = worker._process._process.pid
    assert pid is not None
    return pid


async def score(worker: Worker, text: str) -> tuple[float, ...]:
    group = Group(text, ["A", "B"])
    scored = await worker.score([group])
    assert scored.rewards[0].rewards == (fake_reward(group, 0), fake_reward(group, 1))
    return scored.rewards[0].rewards


def test_errors_come_back_as_they_were_and_signals_are_not_heeded() -> None:
    async def test() -> None:
        async with running(FaultyFactory(calibration=CALIBRATION)) as worker:
            assert not worker.ready
            with pytest.raises(NotSent):
                await worker.score([Group("Q", ["A"])])
            await worker.wait_ready()
            await worker.wait_tried()
            assert (worker.calibration, worker.settings) == (CALIBRATION, {"dtype": "fake"})
            assert (await worker.score([Group("Q", ["A", "B"])])).counts == {
                "conversations": 2,
                "tokens": 20,
                "computed_tokens": 8,
            }
            with pytest.raises(MediaError, match="not a picture"):
                await worker.score([Group("poison", ["A"])])
            with pytest.raises(Unforeseen, match=r"^the engine failed: RuntimeError$"):
                await worker.score([Group("crash", ["A"])])
            os.kill(process_of(worker), signal.SIGINT)
            os.kill(process_of(worker), signal.SIGTERM)
            await score(worker, "Q")
            assert worker.restarts == 0

    asyncio.run(test())


def test_a_killed_process_is_noticed_at_once_and_started_again() -> None:
    async def test() -> None:
        async with running(FaultyFactory()) as worker:
            await worker.wait_ready()
            pid = process_of(worker)
            asked = asyncio.ensure_future(worker.score([Group("sleep 60", ["A"])]))
            await asyncio.sleep(0.2)
            os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            with pytest.raises(WorkerDied):
                await asked
            assert time.monotonic() - began < 5
            assert not worker.ready
            await worker.wait_ready()
            assert (process_of(worker) != pid, worker.restarts) == (True, 1)
            await score(worker, "Q")

    asyncio.run(test())


def test_a_process_that_is_stuck_is_ended() -> None:
    async def test() -> None:
        async with running(FaultyFactory(), stuck_seconds=0.5) as worker:
            await worker.wait_ready()
            with pytest.raises(WorkerDied):
                await worker.score([Group("sleep 60", ["A"])])
            assert not worker.ready

    asyncio.run(test())


def test_a_model_that_cannot_be_loaded_is_tried_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(BrokenFactory(str(tmp_path / "mended"))) as worker:
            told: list[object] = []
            worker.on_failure = lambda: told.append(worker.failure)
            with pytest.raises(CheckpointError, match="no reward head"):
                await worker.wait_tried()
            assert not worker.ready
            assert told == [worker.failure]
            (tmp_path / "mended").touch()
            await worker.wait_ready()
            assert worker.failure is None
            await score(worker, "Q")

    asyncio.run(test())


class FakeProcess:
    """One that is ready at once and takes nothing."""

    def __init__(self, pickled: bytes, hear: Callable[[Any], None]) -> None:
        self.hear, self.killed = hear, threading.Event()
        hear(Loaded(calibration=None, settings={}))

    def send(self, message: object) -> None:
        # Its end is heard, and told, before it is known that the pipe is broken.
        self.hear(None)
        assert self.killed.wait(10)
        raise BrokenPipeError

    def kill(self) -> None:
        self.killed.set()


@pytest.mark.parametrize("loaded_before", [False, True])
def test_a_process_that_cannot_be_started_is_tried_again(loaded_before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[int] = []
    made: list[FakeProcess] = []

    def make(pickled: bytes, hear: Callable[[Any], None]) -> FakeProcess:
        if len(refused) < 2 and (made or not loaded_before):
            refused.append(1)
            raise MemoryError
        made.append(FakeProcess(pickled, hear))
        return made[-1]

    async def test() -> None:
        monkeypatch.setattr(worker_module, "_Process", make)
        async with running(FaultyFactory()) as worker:
            if loaded_before:
                await worker.wait_tried()
                await worker.wait_ready()
                made[0].hear(None)
                await asyncio.to_thread(made[0].killed.wait, 10)
            else:
                with pytest.raises(EngineError, match=r"could not be started \(MemoryError\)$"):
                    await worker.wait_tried()
            await worker.wait_ready()
            assert (len(refused), worker.failure) == (2, None)

    asyncio.run(test())


def test_a_process_without_a_listener_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="new thread"):
        _Process(pickle.dumps(functools.partial(time.sleep, 60)), lambda message: None)  # it loads for long
    children = [child for child in multiprocessing.active_children() if child.name == "vlreward-worker"]
    for child in children:
        child.join(10)
    assert not any(child.is_alive() for child in children)


def test_the_end_of_a_process_breaks_off_what_is_being_sent_to_it() -> None:
    alive, ended = os.pipe()
    ours, theirs = multiprocessing.Pipe()
    process = object.__new__(_Process)
    process._connection, process._closing = ours, threading.Lock()
    process._process = SimpleNamespace(sentinel=alive)  # type: ignore[assignment]
    with ThreadPoolExecutor(1) as thread, theirs:
        sent = thread.submit(process.send, (1, [Group("x" * 10_000_000, ["A"])]))
        assert theirs.poll(10)  # as much as the pipe holds
        process._hang_up()
        with pytest.raises(OSError, match="pipe"):
            sent.result(10)
    with pytest.raises(NotSent):
        process.send((2, []))
    os.close(alive)
    os.close(ended)


def test_nothing_is_sent_to_a_process_that_has_ended() -> None:
    alive, ended = os.pipe()
    os.close(ended)
    ours, theirs = multiprocessing.Pipe()
    process = object.__new__(_Process)
    process._connection, process._closing = ours, threading.Lock()
    process._process = SimpleNamespace(sentinel=alive)  # type: ignore[assignment]
    with ours, theirs, pytest.raises(NotSent):
        process.send((1, []))
    os.close(alive)


def test_a_death_that_is_known_twice_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[Any] = []

    async def test() -> None:
        monkeypatch.setattr(worker_module, "_Process", FakeProcess)
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        async with running(FaultyFactory()) as worker:
            await worker.wait_ready()
            with pytest.raises(WorkerDied):
                await worker.score([Group("Q", ["A"])])
            gc.collect()
            await asyncio.sleep(0)

    asyncio.run(test())
    assert not complaints


_PARENT = """
import asyncio
from vlreward import Group
from vlreward.serve.worker import Worker
from tests.serve.engines import FaultyFactory

async def main():
    worker = Worker(FaultyFactory())
    worker.start()
    await worker.wait_ready()
    asked = asyncio.ensure_future(worker.score([Group("sleep 600", ["A"])]))
    await asyncio.sleep(0.2)
    print(worker._process._process.pid, flush=True)
    {end}

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["await asked", "return"])
def test_the_process_ends_with_its_parent_in_the_middle_of_a_batch(end: str, tmp_path: Path, root: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT.format(end=end))
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if end == "await asked":
            parent.kill()
        parent.wait(timeout=60)
        wait_until(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
