"""A map beside a checkpoint: its arithmetic, its file, and that the model uses it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlreward import Group, Reward, RewardModel
from vlreward.errors import CheckpointError, ConfigError
from vlreward.model.calibration import (
    CALIBRATION,
    Calibration,
    Isotonic,
    RewardScale,
    Temperature,
    bradley_terry,
    head_digest,
)
from vlreward.model.head import RewardHead

MARGINS = st.floats(-1e3, 1e3)
RISING = st.lists(st.tuples(st.floats(0, 50), st.floats(0.5, 1)), min_size=1, max_size=6).map(
    lambda points: Isotonic(
        margins=tuple(sorted(margin for margin, _ in points)),
        probabilities=tuple(sorted(probability for _, probability in points)),
    )
)
MAPS = st.one_of(RISING, st.floats(0.01, 100).map(lambda value: Temperature(temperature=value)))


@given(MAPS, MARGINS, MARGINS)
def test_every_map_is_symmetric_and_never_falls(form: Temperature | Isotonic, one: float, other: float) -> None:
    assert form.probability(one) + form.probability(-one) == pytest.approx(1, abs=1e-15)
    low, high = sorted((one, other))
    assert 0 <= form.probability(low) <= form.probability(high) + 1e-15 <= 1 + 1e-15
    assert form.probability(0.0) == 0.5


@given(RISING, st.floats(1e-6, 1e3))
def test_an_isotonic_map_is_a_line_through_its_points(form: Isotonic, margin: float) -> None:
    if len(set(form.margins)) == len(form.margins) and form.margins[0] > 0:
        expected = np.interp(margin, [0.0, *form.margins], [0.5, *form.probabilities])
        assert form.probability(margin) == pytest.approx(float(expected), abs=1e-12)


def test_a_temperature_of_one_changes_nothing() -> None:
    for margin in (-30.0, -1.0, 0.0, 2.5, 800.0):
        assert Temperature(temperature=1.0).probability(margin) == bradley_terry(margin)
    assert Temperature(temperature=2.0).probability(3.0) == bradley_terry(1.5)


def test_a_scale_makes_mean_0_and_spread_1() -> None:
    rewards = np.random.default_rng(0).normal(-4, 3, 50)
    scale = RewardScale(mean=float(rewards.mean()), spread=float(rewards.std()), n=50)
    found = scale(Reward(id="7", rewards=tuple(rewards)))
    assert found.rewards == tuple(scale.normalise(value) for value in rewards)
    assert found.id == "7"
    assert np.mean(found.rewards) == pytest.approx(0, abs=1e-12)
    assert np.std(found.rewards) == pytest.approx(1)
    assert found.order == Reward(rewards=tuple(rewards)).order


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Temperature(temperature=0.0), "temperature must be a positive number, got 0.0"),
        (lambda: Temperature(temperature=float("nan")), "temperature must be a positive number"),
        (lambda: RewardScale(mean=0.0, spread=0.0, n=1), "spread must be a positive number, got 0.0"),
        (lambda: RewardScale(mean=float("inf"), spread=1.0, n=1), "mean must be a number"),
        (lambda: Isotonic(margins=(), probabilities=()), "margins must be numbers from 0 to inf in ascending order"),
        (lambda: Isotonic(margins=(1.0,), probabilities=(0.4,)), "probabilities must be numbers from 0.5 to 1"),
        (lambda: Isotonic(margins=(1.0, 2.0), probabilities=(0.9, 0.8)), "in ascending order"),
        (lambda: Isotonic(margins=(1.0, 2.0), probabilities=(0.9,)), "1 probabilities for 2 margins"),
    ],
)
def test_maps_that_cannot_be_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def calibration(**changes: Any) -> Calibration:
    values: dict[str, Any] = {
        "map": Temperature(temperature=2.0),
        "scale": RewardScale(mean=1.0, spread=2.0, n=10),
        "head": "0",
        "checkpoint": "f",
        "fitted_on": {"items": 10},
        "before": {"brier": 0.2},
        "after": {"brier": 0.1},
        "vlreward_version": "0.1.0",
    }
    return Calibration(**values | changes)


@pytest.mark.parametrize("form", [Temperature(temperature=0.3), Isotonic(margins=(0.5, 1.0), probabilities=(0.6, 0.9))])
def test_what_is_written_is_read(tmp_path: Path, form: Temperature | Isotonic) -> None:
    path = tmp_path / CALIBRATION
    calibration(map=form).write(path)
    assert Calibration.read(path) == calibration(map=form)
    with pytest.raises(ConfigError, match=r"no/calibration\.json: cannot be written \(No such file"):
        calibration().write(tmp_path / "no" / CALIBRATION)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mpa": {}}, "unknown key 'mpa'; did you mean 'map'"),
        ({"map": None}, "map: must be an object, got None"),
        ({"map": {"kind": "platt"}}, "map: unknown kind 'platt'; known: temperature, isotonic"),
        ({"map": {"kind": "temperature", "temperature": -1}}, "map: temperature must be a positive number, got -1"),
        ({"map": {"kind": "temperature"}}, "map: .*missing .*'temperature'; fit it again with vlreward calibrate"),
        ({"map": {"kind": "isotonic", "margins": 3, "probabilities": [1]}}, "map: margins must be numbers"),
        ({"scale": {"mean": "x", "spread": 1, "n": 3}}, "scale: mean must be a number, got 'x'"),
        ({"head": 3}, "head: must be text, got 3"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / CALIBRATION
    path.write_text(json.dumps(calibration().to_dict() | change), encoding="utf-8")
    with pytest.raises(CheckpointError, match=rf"calibration\.json: {message}"):
        Calibration.read(path)


def test_the_digest_is_of_the_head_alone() -> None:
    weight = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    head = RewardHead.linear(weight, torch.zeros(1))
    assert head_digest(head) == head_digest(RewardHead.linear(weight.clone(), torch.zeros(1)))
    assert head_digest(head) != head_digest(RewardHead.linear(weight + 1e-6, torch.zeros(1)))
    assert head_digest(head) != head_digest(RewardHead.linear(weight))


def test_the_model_uses_what_is_beside_it(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    group = Group("What is it?", ["A cat.", "A dog."])
    folder = tmp_path / "model"
    shutil.copytree(checkpoint(), folder)
    model = RewardModel.from_pretrained(folder)
    first, second = model.score_groups([group])[0]
    assert model.calibration is None
    assert model.compare(group) == bradley_terry(first - second)
    own = calibration(map=Temperature(temperature=0.25), head=head_digest(model.head))
    own.write(folder / CALIBRATION)
    calibrated = RewardModel.from_pretrained(folder)
    assert calibrated.calibration == own
    assert calibrated.score_groups([group]) == [[first, second]]
    assert calibrated.compare(group) == bradley_terry(4 * (first - second))
    calibrated.calibration = None
    assert calibrated.compare(group) == model.compare(group)
    # A converted checkpoint is the same model.
    RewardModel.from_pretrained(folder).save_pretrained(tmp_path / "other", form="sequence-classification")
    assert RewardModel.from_pretrained(tmp_path / "other").calibration == own
    # A trained one is not, whoever copied the file.
    replace(own, head="of another").write(folder / CALIBRATION)
    trained = RewardModel.from_pretrained(folder)
    assert trained.score_groups([group]) == [[first, second]]
    with pytest.raises(CheckpointError, match=r"model/calibration\.json: fitted for another reward head"):
        trained.compare(group)
