"""``vlreward train`` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from vlreward.cli import main

from ..train.conftest import write_pairs


@pytest.fixture
def recipe(checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    content = {
        "model": str(checkpoint()),
        "output": str(tmp_path / "out"),
        "stages": [
            {
                "name": "one",
                "data": [{"path": str(write_pairs(tmp_path, 12))}],
                "epochs": 2,
                "batch": 5,
                "optimizer": {"learning_rate": 1e-3},
            }
        ],
        "trainer": {"use_cpu": True, "logging_steps": 1, "save_steps": 2},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_it_trains_and_says_what_came_of_it(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(recipe), "--set", "stages.one.epochs=1", "--json"]) == 0
    out, err = capsys.readouterr()
    (stage,) = json.loads(out)["stages"]
    assert (stage["stage"], stage["steps"]) == ("one", 3)
    assert (Path(stage["folder"]) / "value_head.safetensors").is_file()
    first, second, *_ = err.splitlines()
    assert first == "stage-1-one: 3 steps"
    assert second.startswith("step 1: loss ")


def test_a_dry_run_loads_no_weights(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlreward.model.backbone import Backbone

    monkeypatch.setattr(Backbone, "load", None)
    assert main(["train", str(recipe), "--dry-run", "--json"]) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert (stage["steps"], stage["rankings"]) == (5, 24)
    assert stage["text_only"] == pytest.approx(1 / 3)
    weights = load_file(Path(yaml.safe_load(recipe.read_text())["model"]) / "model.safetensors")
    held = sum(tensor.numel() for name, tensor in weights.items() if name != "lm_head.weight")
    assert sum(part["held"] for part in stage["parts"].values()) == held + 49
    assert stage["parts"]["vision"]["trained"] == 0
    assert stage["parts"]["language"]["trained"] == stage["parts"]["language"]["held"]
    assert stage["memory_bytes"] > 4 * 4 * stage["parts"]["language"]["held"]
    assert stage["flops"] > 6 * stage["tokens_per_step"]
    monkeypatch.setattr("vlreward.cli.train.on_terminal", lambda: True)
    assert main(["train", str(recipe), "--dry-run"]) == 0
    assert "24 rankings, 33% of them text only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.one.batches=3", "unknown key 'batches'; did you mean 'batch'?"),
        ("stages.one.data.0.path=none.jsonl", "stage one: data: none.jsonl: no such file"),
        ("stages.one.optimizer.learning_rate=0", "learning_rate must be above 0"),
        ("model=./none", "model: ./none: no such folder"),
        ("stages.one.max_length=2", "no rankings to train on"),
    ],
)
def test_mistakes_are_one_line(recipe: Path, capsys: pytest.CaptureFixture[str], override: str, message: str) -> None:
    assert main(["train", str(recipe), "--set", override]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
