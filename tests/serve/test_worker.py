"""The process that holds the model: errors, death, and being started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.fakes import fake_reward
from vlreward import Group
from vlreward.errors import CheckpointError, MediaError
from vlreward.serve.worker import Backoff, Worker, WorkerDied
from vlreward.serve.worker_process import Factory, Unforeseen

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
            with pytest.raises(WorkerDied):
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
            with pytest.raises(CheckpointError, match="no reward head"):
                await worker.wait_tried()
            assert not worker.ready
            (tmp_path / "mended").touch()
            await worker.wait_ready()
            assert worker.failure is None
            await score(worker, "Q")

    asyncio.run(test())


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
