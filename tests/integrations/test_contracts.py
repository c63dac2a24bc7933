"""The trainers themselves load and call ours, each in its own environment (benchmarks/peers/install.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from harness.environments import DEFAULT_FOLDER, SPECS, is_built, python_of

ENVIRONMENTS = Path(os.environ.get("VLREWARD_ENVS", DEFAULT_FOLDER))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trl", "verl", "ms-swift", "openrlhf"])
def test_contract(name: str) -> None:
    spec = next(spec for spec in SPECS if spec.name == name)
    if not is_built(spec, ENVIRONMENTS / name):
        pytest.skip(f"no environment {ENVIRONMENTS / name}; benchmarks/peers/install.py {name} builds it")
    script = ROOT / "tests" / "integrations" / f"contract_{name.replace('-', '_')}.py"
    # Their own warnings are theirs.
    command = [python_of(ENVIRONMENTS / name), "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", script]
    done = subprocess.run(
        [*map(str, command)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
