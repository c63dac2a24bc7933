"""Whole runs on a random checkpoint: the loss of a step, going on after a stop, what is saved, and what goes wrong."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import TrainerCallback

from vlreward import Group, RewardModel
from vlreward.data.rankings import read_rankings
from vlreward.errors import CheckpointError, ConfigError, InputError, ScoreError
from vlreward.train import run as run_module
from vlreward.train import saving
from vlreward.train.losses import bradley_terry
from vlreward.train.recipe import read_recipe
from vlreward.train.run import Outcome, train

from .conftest import write_pairs

Make = Callable[..., Any]


@pytest.fixture
def make(checkpoint: Callable[..., Path], tmp_path: Path) -> Make:
    """A recipe of one stage over 12 pairs, 8 of them with a picture: 5 to a step, in several packs."""
    path = write_pairs(tmp_path, 12)

    def made(backbone: str = "qwen2_5_vl", output: str = "out", stage: Any = None, **changes: Any) -> Any:
        one: dict[str, Any] = {
            "name": "one",
            "data": [{"path": str(path)}],
            "epochs": 2,
            "batch": 5,
            "pack_tokens": 110,
            "optimizer": {"learning_rate": 1e-3, "warmup": 0.2},
        }
        content: dict[str, Any] = {
            "model": str(checkpoint(backbone)),
            "output": str(tmp_path / output),
            "stages": [one | (stage or {})],
            "trainer": {"use_cpu": True, "logging_steps": 1, "save_steps": 2, "disable_tqdm": True},
        }
        extra = changes.pop("trainer", {})
        content |= changes
        content["trainer"] |= extra
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
        return read_recipe(tmp_path / "recipe.yaml")

    return made


class Logs(TrainerCallback):  # type: ignore[misc]
    """Keeps what is logged; may stop the run."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.entries: list[dict[str, float]] = []
        self.stop_at = stop_at

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in logs:
            self.entries.append(dict(logs))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.stop_at:
            raise KeyboardInterrupt


def weights(outcome: Outcome) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for file in outcome.folder.glob("*.safetensors"):
        tensors |= load_file(file)
    return tensors


def rankings(recipe: Any) -> Iterator[Any]:
    return read_rankings(recipe.stages[0].data[0].path)


def test_the_first_loss_is_the_mean_over_all_pairs(make: Make) -> None:
    recipe = make(stage={"batch": 12, "epochs": 1})
    logs = Logs()
    (outcome,) = train(recipe, callbacks=[logs])
    model = RewardModel.from_pretrained(recipe.model, dtype="float32", device="cpu")
    scores = torch.tensor(model.score_groups([ranking.group for ranking in rankings(recipe)]))
    expected = bradley_terry(scores[:, 0], scores[:, 1]).mean().item()
    (entry,) = logs.entries
    assert entry["loss"] == pytest.approx(expected, rel=1e-5)
    margins = scores[:, 0] - scores[:, 1]
    assert entry["accuracy"] == pytest.approx((margins > 0).float().mean().item())
    assert entry["margin"] == pytest.approx(margins.mean().item(), rel=1e-4)
    assert entry["reward_mean"] == pytest.approx(scores.mean().item(), rel=1e-4)
    assert entry["reward_spread"] == pytest.approx(scores.flatten().std(correction=0).item(), rel=1e-4)
    assert -1 <= entry["length_correlation"] <= 1
    assert (outcome.steps, outcome.figures["epoch"]) == (1, 1)


def test_packs_of_unequal_pairs_take_the_steps_of_one_pack(make: Make) -> None:
    first, second = Logs(), Logs()
    small = make(stage={"pack_tokens": 110}, output="small")
    large = make(stage={"pack_tokens": 10_000}, output="large")
    (a,), (b,) = train(small, callbacks=[first]), train(large, callbacks=[second])
    assert a.steps == b.steps == 5
    losses = [[entry["loss"] for entry in logs.entries] for logs in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_it_learns(make: Make) -> None:
    logs = Logs()
    train(make(stage={"epochs": 12, "parts": {"vision": "train"}}, trainer={"save_steps": 100}), callbacks=[logs])
    assert logs.entries[-1]["loss"] < 0.3 < logs.entries[0]["loss"]


@pytest.mark.parametrize("vision", ["frozen", "train"])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(make: Make, vision: str) -> None:
    stage = {"parts": {"vision": vision}}
    (whole,) = train(make(stage=stage, output="whole"))
    recipe = make(stage=stage, output="stopped")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, callbacks=[Logs(stop_at=3)])
    logs = Logs()
    (resumed,) = train(recipe, callbacks=[logs])
    assert len(logs.entries) == 3  # from step 2, the last that was saved
    expected, found = weights(whole), weights(resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    start = load_file(Path(recipe.model) / "model.safetensors")
    changed = {name for name in start if name in found and not torch.equal(start[name], found[name])}
    assert any("merger" in name for name in changed)
    assert any("visual.blocks" in name for name in changed) == (vision == "train")


def test_a_finished_run_is_not_trained_again(make: Make) -> None:
    recipe, logs = make(), Logs()
    (first,) = train(recipe)
    (again,) = train(recipe, callbacks=[logs])
    assert (first, logs.entries) == (again, [])
    assert json.loads((first.folder / "training.json").read_text())["steps"] == 5
    assert read_recipe(first.folder / "recipe.yaml") == recipe
    # What it came to is not what another recipe would come to.
    changed = r"stage-1-one/model: finished with another recipe \(seed, batch changed\); remove .*stage-1-one, or name"
    with pytest.raises(ConfigError, match=changed):
        train(make(seed=1, stage={"batch": 4}))
    assert train(make(trainer={"logging_steps": 2}, features={"max_bytes": 0})) == [first]


def test_a_checkpoint_of_another_recipe_is_refused(make: Make) -> None:
    recipe = make()
    with pytest.raises(KeyboardInterrupt):
        train(recipe, callbacks=[Logs(stop_at=3)])
    with pytest.raises(ConfigError, match=r"checkpoint-2: of a run with another recipe or other data"):
        train(make(stage={"batch": 4}))
    train(make(trainer={"logging_steps": 2}))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[RewardModel]:
    """The models that are loaded to be trained, as they are afterwards."""
    models: list[RewardModel] = []
    real = run_module.load_start

    def spy(*args: Any, **options: Any) -> Any:
        found = real(*args, **options)
        models.append(found[0])
        return found

    monkeypatch.setattr(run_module, "load_start", spy)
    return models


@pytest.mark.parametrize("form", ["value-head", "sequence-classification", "reward-head"])
@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen2_vl", "qwen3_vl"])
def test_what_was_trained_scores_the_same_after_loading(
    make: Make, trained: list[RewardModel], backbone: str, form: str
) -> None:
    recipe = make(backbone, form=form, head={"start": "new"}, max_pixels=40_000, stage={"epochs": 1})
    (outcome,) = train(recipe)
    groups = [ranking.group for ranking in rankings(recipe)]
    loaded = RewardModel.from_pretrained(outcome.folder, device="cpu")
    assert loaded.settings.max_pixels == 40_000
    ours, theirs = (torch.tensor(model.score_groups(groups)) for model in (trained[0], loaded))
    assert ours.std() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    # The model of a checkpoint on the way is one to score with too, and not yet the finished one.
    saved = RewardModel.from_pretrained(outcome.folder.parent / "checkpoint-2" / "model", device="cpu")
    assert not torch.equal(torch.tensor(saved.score_groups(groups)), theirs)


def test_a_deep_head_is_what_was_trained(make: Make, trained: list[RewardModel]) -> None:
    recipe = make(head={"start": "new", "kind": "mlp", "width": 8})
    (outcome,) = train(recipe)
    groups = [ranking.group for ranking in rankings(recipe)]
    loaded = RewardModel.from_pretrained(outcome.folder, device="cpu")
    assert loaded.head.sizes == (48, 8, 1)
    ours, theirs = (torch.tensor(model.score_groups(groups)) for model in (trained[0], loaded))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_a_calibration_of_the_weights_before_stays_behind(
    make: Make, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    start = tmp_path / "start"
    shutil.copytree(checkpoint(), start)
    (start / "calibration.json").write_text("{}")
    (outcome,) = train(make(model=str(start)))
    assert not (outcome.folder / "calibration.json").exists()


def test_stages_go_on_from_one_another(make: Make) -> None:
    recipe = make()
    second = {"name": "two", "optimizer": {"learning_rate": 1e-12}, "parts": {"projector": "frozen"}}
    content = yaml.safe_load(Path(recipe.output).parent.joinpath("recipe.yaml").read_text())
    content["stages"].append(content["stages"][0] | second)
    content["save_dtype"] = "bfloat16"
    path = Path(recipe.output).parent / "two.yaml"
    path.write_text(yaml.safe_dump(content))
    first, last = train(read_recipe(path))
    assert (first.stage, last.stage) == ("one", "two")
    before, after = weights(first), weights(last)
    name = "model.layers.0.mlp.up_proj.weight"
    assert before[name].dtype == torch.float32
    assert torch.equal(before[name].bfloat16(), after[name])


def test_a_base_is_trained_to_write_and_then_to_judge(make: Make, checkpoint: Callable[..., Path]) -> None:
    writes = {"objective": {"loss": "language"}, "parts": {"vision": "train", "head": "frozen"}}
    logs = Logs()
    (base,) = train(make(model=str(checkpoint(form="none")), stage=writes | {"epochs": 6}), callbacks=[logs])
    assert logs.entries[-1]["loss"] < logs.entries[0]["loss"] / 2
    start, trained = load_file(checkpoint(form="none") / "model.safetensors"), weights(base)
    assert not torch.equal(start["lm_head.weight"], trained["lm_head.weight"])
    assert not list(base.folder.glob("*head*"))
    joint = {"objective": {"language_weight": 0.5}}
    (judge,) = train(make(model=str(base.folder), stage=joint, output="judge"))
    assert not torch.equal(weights(judge)["lm_head.weight"], trained["lm_head.weight"])
    RewardModel.from_pretrained(judge.folder, device="cpu").score_groups([Group("Hi", ["A"])])


@pytest.mark.parametrize("loss", ["plackett-luce", "bradley-terry"])
def test_other_objectives_run(make: Make, loss: str) -> None:
    objective = {"loss": loss} | ({"label_smoothing": 0.1, "centering": 0.01} if loss == "bradley-terry" else {})
    (outcome,) = train(make(stage={"objective": objective, "epochs": 1}, trainer={"activation_checkpointing": True}))
    assert outcome.steps == 3


# What goes wrong.


def test_a_loss_that_is_not_finite_stops_and_names_the_batch(make: Make) -> None:
    recipe = make(stage={"optimizer": {"learning_rate": 1e30, "schedule": "constant", "warmup": 0, "max_grad_norm": 0}})
    with pytest.raises(
        ScoreError, match=r"step 2: the (loss|gradient) is not finite; its batch: pairs: ranking \d+ \(r\d+\)"
    ):
        train(recipe)


def test_the_last_good_checkpoint_is_kept_and_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlreward.train import trainer as trainer_module

    real = trainer_module.pack_loss

    def broken(output: Any, pack: Any, objective: Any) -> torch.Tensor:
        return real(output, pack, objective) * (float("nan") if saving.checkpoints(place) else 1.0)

    recipe = make()
    place = Path(recipe.output) / "stage-1-one"
    monkeypatch.setattr(trainer_module, "pack_loss", broken)
    with pytest.raises(ScoreError, match=r"the last good checkpoint is .*checkpoint-2"):
        train(recipe)
    monkeypatch.undo()
    (outcome,) = train(make())
    assert outcome.steps == 5


class FullDisk(TrainerCallback):  # type: ignore[misc]
    """Takes no file of more than a few bytes from an event on: what is written is cut off, as on a full disk."""

    limit = 100_000

    def __init__(self, event: str) -> None:
        self._event, self._hard = event, resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def on_event(self, event: str, control: Any) -> Any:
        if event == self._event:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self._hard))
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        return self.on_event("a checkpoint", control)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        return self.on_event("the end", control)

    def over(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._hard, self._hard))


FULL: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "weights": ({}, "a checkpoint", "checkpoint-4", "checkpoint-2"),
    "adapters": (
        {"parts": {"projector": "lora", "language": "lora"}, "lora": {"rank": 16}},
        "a checkpoint",
        "checkpoint-4",
        "checkpoint-2",
    ),
    "the optimizer's state": (
        {"parts": {"projector": "frozen", "language": "lora"}, "lora": {"rank": 7}},
        "a checkpoint",
        "checkpoint-4",
        "checkpoint-2",
    ),
    "the finished model": ({}, "the end", "model", "checkpoint-5"),
}


@pytest.mark.parametrize("case", FULL)
def test_a_full_disk_leaves_the_checkpoint_before(make: Make, case: str) -> None:
    stage, event, written, kept = FULL[case]
    (whole,) = train(make(stage=stage, output="whole"))
    recipe, disk = make(stage=stage), FullDisk(event)
    place = Path(recipe.output) / "stage-1-one"
    try:
        with pytest.raises(CheckpointError) as error:
            train(recipe, callbacks=[disk])
    finally:
        disk.over()
    said = str(error.value)
    assert said.startswith(f"{place / written}: could not be written, ")
    assert said.endswith(f"; the last good checkpoint is {place / kept}, from which the run goes on")
    assert "\n" not in said
    assert saving.checkpoints(place)[-1].name == kept
    assert not (place / written).exists()
    assert not [path.name for path in place.iterdir() if path.name.startswith(".")]
    (resumed,) = train(recipe)
    expected, found = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_what_a_killed_run_was_writing_goes(make: Make) -> None:
    recipe = make()
    place = Path(recipe.output) / "stage-1-one"
    for name in (".partial/checkpoint-2/model", ".partial/checkpoint-9", "checkpoint-3"):
        (place / name).mkdir(parents=True)
        (place / name / "half").touch()
    train(recipe)
    assert [path.name for path in saving.checkpoints(place)] == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
    assert not list(place.glob("checkpoint-2/**/half"))
    assert not (place / ".partial").exists()


def test_old_checkpoints_go(make: Make) -> None:
    recipe = make(trainer={"save_steps": 1, "save_total_limit": 2})
    train(recipe)
    names = [path.name for path in saving.checkpoints(Path(recipe.output) / "stage-1-one")]
    assert names == ["checkpoint-4", "checkpoint-5"]


@pytest.mark.parametrize("on_missing", ["stop", "skip"])
def test_a_picture_that_goes_missing_in_the_middle(make: Make, tmp_path: Path, on_missing: str) -> None:
    recipe = make(stage={"on_missing": on_missing})
    with pytest.raises(KeyboardInterrupt):
        train(recipe, callbacks=[Logs(stop_at=2)])
    for path in (Path(recipe.output) / "features").glob("*/*/*"):
        path.unlink()
    (tmp_path / "pictures" / "4.png").unlink()
    if on_missing == "stop":
        with pytest.raises(InputError, match=r"ranking 4 \(r4\).*4\.png: no such file"):
            train(recipe)
        return
    (outcome,) = train(recipe)
    assert outcome.steps == 5
    assert 1 <= outcome.dropped["a picture that cannot be read"] <= 2


def test_nothing_to_train_on(make: Make) -> None:
    with pytest.raises(InputError, match=r"no rankings to train on; left out: 12 longer than max_length"):
        train(make(stage={"max_length": 3}))


def test_a_new_head_is_asked_for_where_two_are_found(make: Make, checkpoint: Callable[..., Path]) -> None:
    recipe = make(head={"start": "checkpoint"}, model=str(checkpoint(form="none")))
    with pytest.raises(CheckpointError, match="no reward head found"):
        train(recipe)


def test_evaluation_is_called_with_the_model_as_it_is(make: Make) -> None:
    recipe = make(trainer={"eval_strategy": "steps", "eval_steps": 2})
    group = next(rankings(recipe)).group
    seen: list[float] = []

    def evaluate(model: RewardModel) -> dict[str, float]:
        seen.append(model.score_groups([group])[0][0])
        return {"first": seen[-1]}

    train(recipe, evaluate=evaluate)
    assert len(seen) == len(set(seen)) == 3  # after steps 2 and 4, and the last


def test_an_evaluation_needs_someone_who_evaluates(make: Make) -> None:
    recipe = make(evaluation={"every": 2, "benchmarks": [{"benchmark": "tiny-world", "pairs": 11}]})
    with pytest.raises(ConfigError, match="evaluation: nothing is given that evaluates"):
        train(recipe)
