"""What a server needs of an engine, in this process and at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.fakes import FakeEngine
from vlreward.model.calibration import Calibration
from vlreward.types import Group, Reward


class FakeBackend:
    """A backend over `FakeEngine`; ``error`` is raised instead where it is set."""

    def __init__(self) -> None:
        self.model = "fake"
        self.calibration: Calibration | None = None
        self.draining = False
        self.ready = True
        self.settings = {"dtype": "float32"}
        self.asked: list[tuple[list[Group], str, float | None]] = []
        self.error: Exception | None = None
        self._engine = FakeEngine()

    def start(self) -> None:
        pass

    async def wait_tried(self) -> None:
        pass

    async def close(self) -> None:
        self.draining = True

    async def score(self, groups: Sequence[Group], *, client: str, seconds: float | None = None) -> list[Reward]:
        self.asked.append((list(groups), client, seconds))
        if self.error is not None:
            raise self.error
        return self._engine.score(groups)


def media_bytes(groups: Sequence[Group]) -> list[Any]:
    """The sources of all parts that have one."""
    return [
        part.source
        for group in groups
        for messages in (group.messages, *group.responses)
        for message in messages
        for part in message.parts
        if hasattr(part, "source")
    ]
