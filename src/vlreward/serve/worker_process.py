"""The process that holds the model: groups in through a pipe, rewards out.

What goes through the pipe is read by a process without torch, so none of it may be torch's.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from vlreward.engines.base import Engine
from vlreward.errors import EngineError, VLRewardError
from vlreward.model.calibration import Calibration
from vlreward.types import Group, Reward

logger = logging.getLogger("vlreward.serve")


def _nothing() -> Mapping[str, int]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the process holds."""

    engine: Engine
    calibration: Calibration | None = None
    """What `vlreward calibrate` found of the model."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How the model was loaded, for `GET /v1/models`; plain values."""
    counts: Callable[[], Mapping[str, int]] = _nothing
    """What the engine has done since it was made; see `vlreward.model.counts`."""


Factory = Callable[[], Held]
"""Makes what the process holds, in the process. It is pickled, so a function of a module or a dataclass."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The first message of a process: it is ready."""

    calibration: Calibration | None
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The first and last message of a process that could not be made ready, or the answer to a batch that failed."""

    error: VLRewardError
    number: int | None = None
    """Which batch."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The answer to a batch."""

    number: int
    rewards: Sequence[Reward]
    counts: Mapping[str, int]
    """By how much the engine's counts have grown."""


class Unforeseen(EngineError):
    """An engine raised something that is no `VLRewardError`; the log has it."""


def main(connection: Connection, pickled: bytes) -> None:
    """Hold what the pickled factory makes, and answer batches until the pipe closes."""
    # A Ctrl-C in a terminal reaches every process there. When this one ends is for its parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        held: Held = pickle.loads(pickled)()
        loaded = Loaded(calibration=held.calibration, settings=held.settings)
    except Exception as error:
        connection.send(Failed(error=_foreseen(error, "the model cannot be loaded")))
        return
    connection.send(loaded)
    try:
        while True:
            number, groups = connection.recv()
            connection.send(_answer(held, number, groups))
    except (EOFError, OSError):
        held.engine.close()


def _end_with_parent() -> None:
    """A parent that was killed has told nobody; and a batch may take long to come to the end of the pipe."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(held: Held, number: int, groups: Sequence[Group]) -> Scored | Failed:
    before = dict(held.counts())
    try:
        rewards = held.engine.score(groups)
        if [len(reward.rewards) for reward in rewards] != [len(group) for group in groups]:
            raise EngineError("the engine answered short")
    except Exception as error:
        return Failed(error=_foreseen(error, "the engine failed"), number=number)
    grown = {name: count - before.get(name, 0) for name, count in held.counts().items()}
    return Scored(number=number, rewards=rewards, counts=grown)


def _foreseen(error: Exception, what: str) -> VLRewardError:
    """The error as one that the parent can read."""
    if isinstance(error, VLRewardError):
        return error
    logger.error(what, exc_info=error)
    return Unforeseen(f"{what}: {type(error).__name__}")
