"""A model in this process, shared by threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from vlreward.engines.local import LocalEngine
from vlreward.types import Group


class OneAtATime:
    """A model that another call in the middle of one would spoil."""

    def __init__(self) -> None:
        self._inside = threading.Lock()
        self._second = threading.Event()

    def score_groups(self, groups: Sequence[Group]) -> list[list[float]]:
        if not self._inside.acquire(blocking=False):
            self._second.set()
            raise RuntimeError("two calls at once")
        # Time for another call to come in, which ends the wait.
        self._second.wait(0.1)
        self._inside.release()
        return [[0.0] * len(group) for group in groups]


def test_threads_take_turns() -> None:
    engine = LocalEngine(OneAtATime())  # type: ignore[arg-type]
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(engine.score, [[Group("Q", ["A"])], [Group("Q", ["A", "B"])]]))
    assert [rewards[0].rewards for rewards in found] == [(0.0,), (0.0, 0.0)]
