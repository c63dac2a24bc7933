"""The losses of our preference training against those of TRL's ``DPOTrainer``, step by step, on the fixture of
``benchmarks/mpo_parity.py``: the same pairs in the same order, with a picture each, from the same weights.

TRL ran in an environment of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mpo_parity
from tests.conftest import ROOT

FIXTURE = ROOT / "tests" / "fixtures" / "trl-mpo"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURE / "losses.json").read_text())
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_step_has_the_loss_of_trl(said: dict[str, Any], dtype: str, tmp_path: Path) -> None:
    # Packs of two or three pairs: a step is several, and still what TRL's one batch is.
    recipe = mpo_parity.recipe_for(FIXTURE / "pairs.jsonl", tmp_path, dtype, pack_tokens=600)
    assert mpo_parity.order_of(recipe) == said["order"], "the plan has changed; make the fixture anew"
    steps = said["dtypes"][dtype]["steps"]
    ours = mpo_parity.losses_of(recipe)
    assert ours == pytest.approx([step["loss"] for step in steps], abs=mpo_parity.ATOL[dtype], rel=0)


def test_the_losses_differ_enough_to_tell_right_from_wrong(said: dict[str, Any]) -> None:
    steps = said["dtypes"]["float32"]["steps"]
    losses = [step["loss"] for step in steps]
    assert max(losses) - min(losses) > 1000 * mpo_parity.ATOL["float32"]
    # The policy has moved away from the reference, or two of the three losses would say nothing.
    assert abs(steps[-1]["chosen"][0] - steps[-1]["reference_chosen"][0]) > 0.1
