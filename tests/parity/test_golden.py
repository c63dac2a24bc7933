"""Our scores against those that other tools gave to checkpoints of their own making, in the shared golden folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.golden import Case, read_cases
from tests.conftest import SHARED
from tests.parity import ways
from vlreward import RewardModel

pytestmark = pytest.mark.shared


@dataclass(frozen=True, kw_only=True)
class Golden:
    """One golden folder."""

    name: str
    form: str
    atol: float
    min_pixels: int | None = None
    max_pixels: int | None = None

    @property
    def folder(self) -> Path:
        return SHARED / "golden" / self.name

    def load(self, checkpoint: Path | None = None) -> RewardModel:
        return RewardModel.from_pretrained(
            checkpoint or self.folder / "checkpoint",
            dtype="float32",
            device="cpu",
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
        )


GOLDEN = (
    # Measured 1.8e-5; the scores spread over 8.9.
    Golden(name="skywork", form="value-head", atol=2e-4),
    # Its scores are rounded to two decimals: measured 0.005, which is the rounding.
    Golden(name="llamafactory", form="value-head", atol=0.006),
    # Measured 5e-6; it takes pictures at full size whatever the checkpoint says.
    Golden(name="ms-swift", form="sequence-classification", atol=1e-3, min_pixels=3136, max_pixels=12845056),
)


@pytest.fixture(scope="module", params=GOLDEN, ids=lambda golden: golden.name)
def golden(request: pytest.FixtureRequest) -> Golden:
    found: Golden = request.param
    return found


@pytest.fixture(scope="module")
def cases(golden: Golden) -> list[Case]:
    return read_cases(golden.folder)


@pytest.fixture(scope="module")
def model(golden: Golden) -> RewardModel:
    return golden.load()


def test_alone(golden: Golden, cases: list[Case], model: RewardModel) -> None:
    assert ways.furthest(ways.alone(model, cases), cases) < (golden.atol, "")


def test_together(golden: Golden, cases: list[Case], model: RewardModel) -> None:
    assert ways.furthest(ways.together(model, cases), cases) < (golden.atol, "")


def test_shuffled(golden: Golden, cases: list[Case], model: RewardModel) -> None:
    assert ways.furthest(ways.shuffled(model, cases), cases) < (golden.atol, "")


def test_in_the_other_form_and_back(golden: Golden, cases: list[Case], tmp_path: Path) -> None:
    for folder in ways.there_and_back(golden.folder / "checkpoint", golden.form, tmp_path):
        converted = golden.load(folder)
        assert ways.furthest(ways.together(converted, cases), cases) < (golden.atol, "")
