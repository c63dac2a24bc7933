"""Engines from what a trainer's configuration says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vlreward.engines.base import Engine
from vlreward.engines.remote import RemoteEngine
from vlreward.engines.shaped import ShapedEngine
from vlreward.errors import CheckpointError, ConfigError
from vlreward.integrations.opening import open_engine
from vlreward.model.calibration import Calibration, RewardScale, Temperature
from vlreward.types import Group, Reward


def write_calibration(path: Path) -> Path:
    facts = {"head": "h", "checkpoint": "c", "fitted_on": {}, "before": {}, "after": {}}
    scale = RewardScale(mean=1.0, spread=2.0, n=10)
    Calibration(map=Temperature(temperature=1.0), scale=scale, **facts).write(path)  # type: ignore[arg-type]
    return path


def test_a_server() -> None:
    engine = open_engine(server="http://127.0.0.1:8080")
    assert isinstance(engine, RemoteEngine)
    assert open_engine(server="http://127.0.0.1:8080") is engine
    assert open_engine(server=["http://127.0.0.1:8080", "http://127.0.0.1:8081"]) is not engine


def test_shaped(tmp_path: Path) -> None:
    calibration = write_calibration(tmp_path / "calibration.json")
    engine = open_engine(server="http://127.0.0.1:8080", calibration=str(calibration), clip=3.0)
    assert isinstance(engine, ShapedEngine)
    assert engine.engine is open_engine(server="http://127.0.0.1:8080")
    assert engine.shaping(Reward(rewards=(1.0, 5.0, 99.0))).rewards == (0.0, 2.0, 3.0)


def test_a_model_in_this_process(checkpoint: Callable[..., Path]) -> None:
    from vlreward import RewardModel

    engine = open_engine(model=str(checkpoint()), dtype="float32")
    assert isinstance(engine, Engine)
    assert open_engine(model=str(checkpoint()), dtype="float32") is engine
    group = Group("What is 2 + 2?", ["4", "5"])
    wanted = RewardModel.from_pretrained(checkpoint(), dtype="float32").score_groups([group])[0]
    assert list(engine.score([group])[0].rewards) == pytest.approx(wanted, abs=1e-5)
    engine.close()


@pytest.mark.parametrize("arguments", [{}, {"server": "http://a", "model": "b"}])
def test_one_of_them(arguments: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"name a server .* or a model"):
        open_engine(**arguments)  # type: ignore[arg-type]


def test_a_calibration_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"calibration\.json"):
        open_engine(server="http://127.0.0.1:8080", calibration=str(tmp_path / "calibration.json"))
