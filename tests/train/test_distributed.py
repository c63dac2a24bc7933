"""The same steps in one process, in two with DDP, and in two with FSDP2, on gloo."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from .conftest import noise

WORKER = Path(__file__).with_name("distributed_worker.py")
STEPS = 20


@pytest.fixture
def recipe(checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """Half of the rankings are of two responses to a picture, half of four to text; two to a step."""
    path = tmp_path / "rankings.jsonl"
    with path.open("w") as file:
        for i in range(2 * STEPS):
            content: list[dict[str, Any]] = [{"type": "text", "text": f"Question {i}, what is it?"}]
            responses = [f"Answer {i}.", f"Wrong {i}."]
            if i % 2:
                noise(i).save(tmp_path / f"{i}.png")
                content.insert(0, {"type": "image", "image": f"{i}.png"})
            else:
                responses += [f"Also {i} wrong.", "No."]
            row = {"messages": [{"role": "user", "content": content}], "responses": responses}
            file.write(json.dumps(row | {"ranks": [0, *[1] * (len(responses) - 1)]}) + "\n")
    stage = {
        "name": "one",
        "data": [{"path": str(path)}],
        "batch": 2,
        "optimizer": {"learning_rate": 1e-3},
        "objective": {"language_weight": 0.5},
        "parts": {"vision": "train"},
    }
    trainer = {"use_cpu": True, "logging_steps": 1, "save_steps": 10, "report_to": "none"}
    recipe = {"model": str(checkpoint()), "output": "set by the worker", "stages": [stage], "trainer": trainer}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path / "recipe.yaml"


def run(
    recipe: Path, name: str, processes: int, kind: str = "ddp", overrides: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """What each process saw. What one of them said before it failed is in the error."""
    output, logs = recipe.parent / name, recipe.parent / f"{name}-logs"
    command = [sys.executable]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
        command += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
        command += ["--redirects", "3", "--log-dir", str(logs)]
    command += [str(WORKER), str(recipe), str(output), kind, *overrides]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=900)
    said = [f"{path.parent.name}: {path.read_text()[-3000:]}" for path in sorted(logs.rglob("stderr.log"))]
    assert done.returncode == 0, "\n\n".join([done.stderr[-3000:], *said])
    return [json.loads(Path(f"{output}-{rank}.json").read_text()) for rank in range(processes)]


def tensors(seen: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(Path(seen["folder"]) / "model.safetensors")


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_two_processes_take_the_steps_of_one(recipe: Path) -> None:
    (alone,) = run(recipe, "alone", 1)
    assert alone["world"] == 1
    assert len(alone["losses"]) == STEPS
    for kind in ("ddp", "fsdp"):
        ranks = run(recipe, kind, 2, kind)
        assert [seen["world"] for seen in ranks] == [2, 2]
        for seen in ranks:
            assert seen["losses"] == pytest.approx(alone["losses"], abs=1e-4)
        held = [seen["held"] for seen in ranks]
        assert held[0].keys() == held[1].keys() == alone["held"].keys()
        if kind == "ddp":
            assert all(share == 1 for shares in held for share in shares.values())
        else:  # Each number is in one process alone, and of every layer's matrices there is a half in each.
            assert all(held[0][name] + held[1][name] == 1 for name in held[0])
            matrices = {name for name in held[0] if name.endswith("_proj.weight")}
            assert len(matrices) > 10
            assert all(held[0][name] == held[1][name] == 0.5 for name in matrices)
        # Pictures in one process and text alone in the other, and unequal numbers of pairs.
        together = list(zip(ranks[0]["packs"], ranks[1]["packs"], strict=True))
        assert sum((a[0] == 0) != (b[0] == 0) for a, b in together) >= 5
        assert sum(a[1] != b[1] for a, b in together) >= 5
        expected, found = tensors(alone), tensors(ranks[0])
        assert expected.keys() == found.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-3)
    # The sharded run goes on from its checkpoint to the same weights.
    place = Path(ranks[0]["folder"]).parent
    shutil.rmtree(place / "model")
    shutil.rmtree(place / f"checkpoint-{STEPS}")
    (resumed, _) = run(recipe, "fsdp", 2, "fsdp")
    assert len(resumed["losses"]) == STEPS // 2
    assert all(torch.equal(tensor, found[name]) for name, tensor in tensors(resumed).items())


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_adapters_over_a_frozen_tower_do_so_too(recipe: Path) -> None:
    parts = "{vision: frozen, projector: train, language: lora}"
    overrides = ["stages.one.max_steps=6", f"stages.one.parts={parts}", "stages.one.lora={rank: 4}"]
    # The layers' inputs alone are kept, and their insides run once more: as often in both processes.
    overrides += ["trainer.activation_checkpointing=true", "trainer.save_steps=3"]
    (alone,) = run(recipe, "alone", 1, overrides=overrides)
    assert len(alone["losses"]) == 6
    kinds: dict[str, list[str]] = {
        "ddp": [],
        "fsdp": ["trainer.fsdp_config.state_dict_type=FULL_STATE_DICT"],
    }  # as in the 7B recipes
    for kind, more in kinds.items():
        ranks = run(recipe, kind, 2, kind, overrides + more)
        for seen in ranks:
            assert seen["world"] == 2
            assert seen["losses"] == pytest.approx(alone["losses"], abs=1e-4)
        place = Path(ranks[0]["folder"]).parent
        for name in ("model/model", "model/value_head", "adapter/adapter_model"):
            expected = load_file(Path(alone["folder"]).parent / f"{name}.safetensors")
            found = load_file(place / f"{name}.safetensors")
            assert expected.keys() == found.keys()
            for key, tensor in expected.items():
                torch.testing.assert_close(found[key], tensor, rtol=0, atol=1e-3)
        found = tensors(ranks[0])
        shutil.rmtree(place / "model")
        shutil.rmtree(place / "checkpoint-6")
        (resumed, _) = run(recipe, kind, 2, kind, overrides + more)
        assert len(resumed["losses"]) == 3
        assert all(torch.equal(tensor, found[name]) for name, tensor in tensors(resumed).items())
