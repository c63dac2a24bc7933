"""The recipe of the bundled models runs from nothing to cards with figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlreward import RewardModel
from vlreward.tiny.world import World


@pytest.mark.slow
@pytest.mark.timeout(1200)  # twelve stages, on whatever processor there is
def test_from_nothing_to_two_models(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(root / "recipes/tiny.py"), "--quick", "--set", "trainer.save_steps=1"]
    command += ["--output", str(tmp_path / "run"), "--weights", str(tmp_path / "weights")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for _ in range(2):  # the second time nothing is trained
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert "step 1:" not in done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said) == {"policy", "reward"}
    for name in said:
        folder = tmp_path / "weights" / name
        assert f"{100 * said[name]:.1f}" in (folder / "README.md").read_text()
        assert "{" not in (folder / "README.md").read_text()
        assert (folder / "model.safetensors").stat().st_size < 16_000_000
    model = RewardModel.from_pretrained(tmp_path / "weights" / "reward")
    assert len(model.score_groups([World().item(0).group(2).group])[0]) == 3
