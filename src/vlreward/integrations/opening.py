"""An engine from what a trainer's configuration can say: names, numbers and addresses."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from vlreward.engines.base import Engine
from vlreward.engines.shaped import ShapedEngine, Shaping, Squash
from vlreward.errors import ConfigError
from vlreward.model.calibration import Calibration, RewardScale


def open_engine(
    *,
    server: str | Sequence[str] | None = None,
    model: str | None = None,
    calibration: str | None = None,
    clip: float | None = None,
    squash: Squash | None = None,
    **options: Any,
) -> Engine:
    """The engine of a process: the same arguments give the same one.

    Args:
        server: the address of ``vlreward serve``, or several.
        model: a folder or hub id instead, loaded into this process.
        calibration: the calibration.json whose scale rewards are normalised by.
        clip, squash: see `vlreward.engines.shaped.Shaping`.
        options: further arguments of `vlreward.engines.remote.RemoteEngine`, or of `RewardModel.from_pretrained`.

    Raises:
        ConfigError: neither a server nor a model is named, or both.
        CheckpointError: the calibration or the model cannot be read.
    """
    if (server is None) == (model is None):
        raise ConfigError("name a server (server=http://…) or a model (model=…), one of them")
    if server is not None:
        addresses = (server,) if isinstance(server, str) else tuple(server)
        engine = _remote(addresses, **options)
    else:
        engine = _local(str(model), **options)
    scale = None if calibration is None else _scale(calibration)
    shaping = Shaping(scale=scale, clip=clip, squash=squash)
    return engine if shaping == Shaping() else ShapedEngine(engine, shaping)


@functools.cache
def _remote(addresses: tuple[str, ...], **options: Any) -> Engine:
    from vlreward.engines.remote import RemoteEngine

    return RemoteEngine(addresses[0] if len(addresses) == 1 else list(addresses), **options)


@functools.cache
def _local(model: str, **options: Any) -> Engine:
    from vlreward.engines.local import LocalEngine
    from vlreward.model.reward_model import RewardModel

    return LocalEngine(RewardModel.from_pretrained(model, **options))


@functools.cache
def _scale(calibration: str) -> RewardScale:
    return Calibration.read(calibration).scale
