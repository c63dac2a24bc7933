"""Whole runs on a random checkpoint: the loss of a step, the reference, the shift, and going on after a stop."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from tests.train.conftest import one_pack, write_pairs
from tests.train.test_trainer import Logs, weights
from vlreward.errors import CheckpointError, ConfigError, InputError
from vlreward.policy import trainer
from vlreward.policy.recipe import PolicyRecipe, read_policy_recipe
from vlreward.policy.reference import FILE, Reference
from vlreward.policy.trainer import SHIFT, train_policy
from vlreward.train.run import Outcome, load_start, prepare_data

Make = Callable[..., PolicyRecipe]


@pytest.fixture
def make(checkpoint: Callable[..., Path], tmp_path: Path) -> Make:
    """A recipe of one stage over 8 pairs, 5 of them with a picture: 4 to a step, in several packs."""
    path = write_pairs(tmp_path, 8)

    def made(output: str = "out", stage: Any = None, **changes: Any) -> PolicyRecipe:
        one: dict[str, Any] = {
            "name": "mpo",
            "data": [{"path": str(path)}],
            "epochs": 2,
            "batch": 4,
            "pack_tokens": 110,
            "optimizer": {"learning_rate": 1e-3, "schedule": "constant", "warmup": 0.0},
        }
        content: dict[str, Any] = {
            "model": str(checkpoint(form="none")),
            "output": str(tmp_path / output),
            "stages": [one | (stage or {})],
            "trainer": {"use_cpu": True, "logging_steps": 1, "save_steps": 2, "disable_tqdm": True},
        }
        content |= changes
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
        return read_policy_recipe(tmp_path / "recipe.yaml")

    return made


def trained(recipe: PolicyRecipe, **options: Any) -> tuple[Outcome, list[dict[str, float]]]:
    logs = Logs(**options)
    (outcome,) = train_policy(recipe, callbacks=[logs])
    return outcome, logs.entries


def test_it_learns_what_is_chosen(make: Make) -> None:
    recipe = make(stage={"epochs": 4})
    outcome, entries = trained(recipe)
    first, last = entries[0], entries[-1]
    # The policy is its own reference: no answer has gained anything, DPO is log 2 and BCO twice that.
    expected = (0.8 + 0.2 * 2) * torch.tensor(2.0).log().item()
    assert first["loss"] - expected == pytest.approx(mean_of_answers(recipe), rel=1e-4)
    assert first["reward_mean"] == pytest.approx(0, abs=1e-5)
    assert first["shift"] == pytest.approx(0, abs=1e-5)
    assert outcome.steps == 8
    assert last["accuracy"] > 0.9
    assert last["chosen_reward"] > max(0, last["rejected_reward"])
    assert last["chosen_nll"] < first["chosen_nll"]
    assert not list(outcome.folder.glob("*head*"))
    assert read_policy_recipe(outcome.folder / "recipe.yaml").stages[0].objective.loss == "mpo"


def mean_of_answers(recipe: PolicyRecipe) -> float:
    """The loss of writing the chosen answers of the first step, each the mean over its tokens, from the reference."""
    (stage,) = recipe.stages
    model, _ = load_start(recipe, stage, recipe.model, torch.device("cpu"), first=True, weights=False)
    data = prepare_data(recipe, stage, model, 1, lambda _what, _count: None)
    numbers = data.plan.numbers_E[:4].tolist()
    pack = one_pack(model, [data.sources[0][number] for number in numbers], stage.objective)
    lengths = pack["answer_A"].bincount()[pack["chosen_P"]].tolist()
    with np.load(Path(recipe.output) / "stage-1-mpo" / FILE) as held:
        first = np.cumsum(held["counts"]) - held["counts"]
        chosen = dict(zip(held["keys"][:, 1].tolist(), held["log_probs"][first].tolist(), strict=True))
    assert len(chosen) == 8
    return sum(-chosen[number] / length for number, length in zip(numbers, lengths, strict=True)) / 4


@pytest.mark.parametrize("variant", ["internvl", "trl"])
def test_packs_of_unequal_pairs_take_the_steps_of_one_pack(make: Make, variant: str) -> None:
    stage = {"objective": {"variant": variant}}
    (_, small) = trained(make("small", stage=stage))
    (_, large) = trained(make("large", stage=stage | {"pack_tokens": 10_000}))
    for a, b in zip(small, large, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a.get("shift", 0) == pytest.approx(b.get("shift", 0), abs=1e-4)
    assert [("shift" in entry) for entry in small] == [variant == "internvl"] * 4


def test_a_run_that_was_stopped_ends_like_one_that_was_not(make: Make) -> None:
    whole, expected = trained(make("whole"))
    recipe = make("stopped")
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, stop_at=3)
    place = Path(recipe.output) / "stage-1-mpo"
    shift = json.loads((place / "checkpoint-2" / SHIFT).read_text())
    assert shift["count"] == 2 * 4 * 2
    assert expected[1]["shift"] == pytest.approx(shift["total"] / shift["count"])
    resumed, entries = trained(recipe)
    assert [entry["loss"] for entry in entries] == [entry["loss"] for entry in expected[2:]]
    assert entries[0]["shift"] == expected[2]["shift"] != 0
    before, after = weights(whole), weights(resumed)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_reference_is_computed_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make()
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, stop_at=1)  # before the first checkpoint
    place = Path(recipe.output) / "stage-1-mpo"
    held = place / FILE
    found = held.read_bytes()
    monkeypatch.setattr(trainer, "compute_reference", lambda *_, **__: pytest.fail("computed again"))
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, stop_at=3)
    assert held.read_bytes() == found
    monkeypatch.undo()
    held.unlink()
    with pytest.raises(CheckpointError, match=rf"{FILE}: gone.*remove .*stage-1-mpo and begin again"):
        trained(recipe)


def test_the_reference_of_other_weights_is_computed_again(make: Make, checkpoint: Callable[..., Path]) -> None:
    start = shutil.copytree(checkpoint(form="none"), Path(make().output).parent / "start")
    recipe = make(model=str(start))
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, stop_at=1)
    held = Path(recipe.output) / "stage-1-mpo" / FILE
    found = held.read_bytes()
    shutil.copy(checkpoint(form="none", seed=1) / "model.safetensors", start)
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, stop_at=1)
    assert held.read_bytes() != found


def test_adapters_alone_are_trained(make: Make) -> None:
    stage = {"parts": {"projector": "frozen", "language": "lora"}, "lora": {"rank": 4}, "epochs": 1}
    outcome, entries = trained(make(stage=stage | {"objective": {"loss": "dpo", "beta": 0.5}}))
    assert entries[0]["loss"] == pytest.approx(torch.tensor(2.0).log().item(), abs=1e-4)
    assert entries[1]["reward_spread"] > 1e-3 > entries[0]["reward_spread"]  # it has moved away from the reference
    assert (outcome.folder.parent / "adapter" / "adapter_model.safetensors").is_file()


def test_what_cannot_be_is_refused(make: Make) -> None:
    for objective, message in (
        ({"loss": "ppo"}, "expected one of 'mpo', 'dpo', 'sft'"),
        ({"loss": "dpo", "quality": 0.5}, "quality: a weight of the losses of mpo"),
        ({"loss": "sft", "beta": 0.5}, "beta belongs to dpo and mpo"),
        ({"beta": 0}, "beta must be above 0"),
        ({"preference": 0, "quality": 0, "generation": 0}, "one of them has to be above"),
        ({"variant": "internvl2"}, "expected one of"),
        ({"centering": 0.1}, "unknown key 'centering'"),
    ):
        with pytest.raises(ConfigError, match=message):
            make(stage={"objective": objective})
    with pytest.raises(ConfigError, match="head: expected one of 'frozen', got 'train'"):
        make(stage={"parts": {"head": "train"}})
    with pytest.raises(ConfigError, match="a policy has none; drop them"):
        make(form="value-head")


def test_a_reference_is_read_back_by_its_own_run(tmp_path: Path) -> None:
    reference = Reference({(0, 3): [-1.5, -2.25], (1, 0): [-0.1, -7.0, -3.0]})
    reference.write(tmp_path / FILE, "this run")
    read = Reference.read(tmp_path / FILE, "this run")
    assert read is not None
    assert read.values == reference.values
    assert Reference.read(tmp_path / FILE, "another") is None
    assert Reference.read(tmp_path / "none.npz", "this run") is None
    (tmp_path / FILE).write_bytes(b"PK no")
    with pytest.raises(InputError, match="broken; remove it"):
        Reference.read(tmp_path / FILE, "this run")
