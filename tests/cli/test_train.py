"""``vlreward train`` as a user runs it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from vlreward.cli import main

from ..train.conftest import write_pairs

EVALUATION: dict[str, Any] = {
    "every": 2,
    "benchmarks": [{"benchmark": "tiny-world", "pairs": 11}, {"benchmark": "pairs", "pairs": 5}],
    "audits": {"names": ["length"], "pairs": 6},
}


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
        ("trainer.fsdp=true", "trainer: fsdp shards a model over processes, and this is the only one: start several"),
        ("trainer.report_to=nowhere", "trainer: report_to: no 'nowhere' is installed; there are "),
        ("trainer.deepspeed=none.json", "trainer: "),
        ("trainer.eval_strategy=steps", "eval_strategy asks for an evaluation; say what is measured in evaluation"),
    ],
)
def test_mistakes_are_one_line(recipe: Path, capsys: pytest.CaptureFixture[str], override: str, message: str) -> None:
    assert main(["train", str(recipe), "--set", override]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.fixture
def evaluated(recipe: Path) -> Path:
    """The recipe, with the model evaluated while it trains."""
    content = yaml.safe_load(recipe.read_text())
    data = content["stages"][0]["data"][0]["path"]
    world, own = EVALUATION["benchmarks"]
    content["stages"][0]["epochs"] = 1
    content["evaluation"] = EVALUATION | {
        "benchmarks": [world, own | {"data": data}],
        "audits": EVALUATION["audits"] | {"data": data},
    }
    recipe.write_text(yaml.safe_dump(content))
    return recipe


def test_the_model_is_measured_while_it_trains(
    evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(evaluated), "--json"]) == 0
    out, err = capsys.readouterr()
    (stage,) = json.loads(out)["stages"]
    place = Path(stage["folder"]).parent
    files = {int(path.stem.rpartition("-")[2]): path for path in place.glob("evaluation-*.json")}
    assert sorted(files) == [0, 2, 3]
    assert (place / "checkpoint-2").is_dir()
    seen = {step: json.loads(path.read_text()) for step, path in files.items()}
    last = seen[3]
    assert (last["stage"], last["step"], last["steps"]) == ("stage-1-one", 3, 3)
    assert last["evaluation"]["benchmarks"][0]["pairs"] == 11
    figures = last["figures"]
    assert figures.items() <= stage["figures"].items()
    for name in ("accuracy", "blank_accuracy", "blind_gap", "margin", "reward_mean", "reward_spread"):
        assert {f"eval_tiny-world_{name}", f"eval_pairs_{name}"} <= figures.keys()
    assert {"eval_audit_accuracy", "eval_audit_length_appended", "eval_audit_length_repeated"} <= figures.keys()
    assert [seen[step]["benchmarks"]["pairs"]["n"] for step in (0, 2, 3)] == [5, 5, 5]
    assert last["audits"]["n"] == 6
    assert "examples" not in last["audits"]["audits"][0]["variants"][0]
    margins = [seen[step]["figures"]["eval_pairs_margin"] for step in (0, 2, 3)]
    assert len(set(margins)) == 3
    assert f"step 2: eval_tiny-world_accuracy {seen[2]['figures']['eval_tiny-world_accuracy']:.4g}" in err
    # As the finished model is evaluated.
    argv = ["eval", "tiny-world", "--pairs", "11", "--model", stage["folder"], "--json", "--quiet"]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    ours = last["benchmarks"]["tiny-world"]
    assert {name: ours[name] for name in ("n", "accuracy", "interval", "baselines", "groups")} == {
        name: found[name] for name in ("n", "accuracy", "interval", "baselines", "groups")
    }
    # Looking changes nothing, to the last bit, and does not make it another run.
    other = tmp_path / "other"
    assert main(["train", str(evaluated), "--set", "evaluation=null", "--set", f"output={other}", "--json"]) == 0
    (without,) = json.loads(capsys.readouterr().out)["stages"]
    weights, same = (load_file(Path(each["folder"]) / "model.safetensors") for each in (stage, without))
    assert all(weights[name].equal(same[name]) for name in weights)
    runs = [
        json.loads((Path(each["folder"]).parent / "checkpoint-2" / "complete.json").read_text())
        for each in (stage, without)
    ]
    assert runs[0] == runs[1]


def test_a_run_that_goes_on_does_not_begin_with_an_evaluation(tmp_path: Path) -> None:
    from vlreward.cli.train_evaluation import Evaluator
    from vlreward.cli.train_progress import EvaluationFiles
    from vlreward.train.evaluation import BenchmarkPart, Evaluation

    asked = Evaluation(every=2, benchmarks=(BenchmarkPart(benchmark="tiny-world"),))
    files = EvaluationFiles(asked, Evaluator([], None, lambda: lambda what, count: None))
    for step, begins in ((0, True), (4, False)):
        args = SimpleNamespace(eval_on_start=True, should_save=False, output_dir=str(tmp_path))
        state = SimpleNamespace(global_step=step)
        files.on_train_begin(args, state, None)
        assert args.eval_on_start is begins
        files.on_evaluate(args, state, None, metrics={})
    assert not list(tmp_path.iterdir())  # another process writes


def test_a_dry_run_says_what_will_be_measured(
    evaluated: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlreward.model.backbone import Backbone

    monkeypatch.setattr(Backbone, "load", None)
    assert main(["train", str(evaluated), "--dry-run", "--json"]) == 0
    data = yaml.safe_load(evaluated.read_text())["evaluation"]["audits"]["data"]
    assert json.loads(capsys.readouterr().out)["evaluation"] == {
        "every": 2,
        "times": {"one": 3},
        "benchmarks": {"tiny-world": 11, "pairs": 5},
        "audits": {"data": data, "pairs": 6, "names": ["length"]},
    }
    monkeypatch.setattr("vlreward.cli.train.on_terminal", lambda: True)
    assert main(["train", str(evaluated), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "evaluation every 2 steps, 3 times in stage one\n  tiny-world: 11 items" in shown
    assert f"  audits on 6 pairs of {data}: length" in shown


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.benchmarks=[{benchmark: tiny-wrld}]", "tiny-wrld: benchmark: unknown key 'tiny-wrld'; did you"),
        ("evaluation.benchmarks=[{benchmark: pairs, data: no.jsonl}]", "benchmarks: no: no.jsonl: no such file"),
        ("evaluation.benchmarks=[{benchmark: tiny-world, format: trl}]", "tiny-world: tiny-world takes no format"),
        (
            "evaluation.audits.names=[lenght]",
            "evaluation: audits: audits: unknown key 'lenght'; did you mean 'length'?",
        ),
        ("evaluation.audits.data=no.jsonl", "evaluation: audits: no.jsonl: no such file"),
        ("evaluation.every=0", "evaluation: every must be above 0, got 0"),
        ("trainer.eval_steps=5", "trainer: eval_steps is set by evaluation.every"),
    ],
)
def test_what_cannot_be_measured_is_said_before_a_model_is_loaded(
    evaluated: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    override: str,
    message: str,
) -> None:
    monkeypatch.setattr("vlreward.train.run.load_start", None)
    assert main(["train", str(evaluated), "--set", override]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_missing_pictures_of_an_evaluation_are_named(
    evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures" / "4.png").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("vlreward.train.run.load_start", None)
        assert main(["train", str(evaluated)]) == 2
    err = capsys.readouterr().err
    assert "evaluation: benchmarks: pairs: 1 of 12 items cannot be used (evaluation.allow_missing: true goes on" in err
    assert "4.png" in err
    argv = ["train", str(evaluated), "--set", "evaluation.allow_missing=true", "--set", "evaluation.audits=null"]
    assert main([*argv, "--set", "stages.one.on_missing=skip", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evaluation"]["benchmarks"] == {"tiny-world": 11, "pairs": 5}


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_processes_share_an_evaluation(evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--set", "stages.one.max_steps=1"]
    assert main(["train", str(evaluated), *few, "--set", f"output={tmp_path / 'alone'}"]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    command += ["--master-port", str(port), "-m", "vlreward.cli", "train", str(evaluated), *few]
    command += ["--set", f"output={tmp_path / 'two'}", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 1
    for step in (0, 1):
        alone, two = (
            json.loads((tmp_path / name / "stage-1-one" / f"evaluation-{step}.json").read_text())
            for name in ("alone", "two")
        )
        assert two["figures"].keys() == alone["figures"].keys()
        if step == 0:  # the same weights; afterwards they are so to rounding
            assert two["benchmarks"] == alone["benchmarks"]
            assert two["audits"] == alone["audits"]
