"""Recipes: the ones in the repository, what is replaced in them, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vlreward.errors import ConfigError
from vlreward.train.config import plain
from vlreward.train.heads import Head, new_head
from vlreward.train.parts import part_of
from vlreward.train.recipe import check_files, read_recipe, write_recipe

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("reproduce", "mpo", "tiny-mpo")
"""Of other kinds, which are tested where these are."""
RECIPES = sorted(path for path in (ROOT / "recipes").glob("*.yaml") if not path.stem.startswith(OTHERS))

SMALL: dict[str, Any] = {
    "model": "m",
    "output": "out",
    "stages": [{"name": "one", "data": [{"path": "pairs.jsonl"}], "optimizer": {"learning_rate": 1e-3}}],
}

EVALUATED = ["evaluation={every: 5, benchmarks: [{benchmark: tiny-world, pairs: 11}]}"]


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(SMALL | changes))
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_is_one(path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path)
    write_recipe(recipe, tmp_path / "again.yaml")
    assert read_recipe(tmp_path / "again.yaml") == recipe


def test_the_published_values() -> None:
    recipe = read_recipe(ROOT / "recipes" / "skywork-vl-7b.yaml")
    assert [stage.optimizer.learning_rate for stage in recipe.stages] == [1e-5, 1e-6]
    assert [stage.epochs for stage in recipe.stages] == [2, 2]
    for stage in recipe.stages:
        assert stage.objective.loss == "bradley-terry"
        assert not stage.objective.margin
        assert plain(stage.parts) == {"vision": "frozen", "projector": "train", "language": "train", "head": "train"}
    assert read_recipe(ROOT / "recipes" / "lora-24gb.yaml").max_pixels == 602_112


def test_values_can_be_replaced(tmp_path: Path) -> None:
    path = written(tmp_path)
    recipe = read_recipe(
        path,
        [
            "seed=3",
            "stages.one.batch=7",
            "stages.0.optimizer.learning_rate=1e-6",
            "stages.one.objective.centering=0.01",
            "trainer.bf16=true",
            "stages.one.data.0.path=other.jsonl",
        ],
    )
    stage = recipe.stages[0]
    assert (recipe.seed, stage.batch, stage.optimizer.learning_rate) == (3, 7, 1e-6)
    assert (stage.objective.centering, recipe.trainer, stage.data[0].label) == (0.01, {"bf16": True}, "other")


def test_bfloat16_where_the_machine_computes_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    for capable in (True, False):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": capable})  # noqa: B023
        found = [read_recipe(path, [f"trainer.bf16={asked}"]).bf16 for asked in ("auto", "true", "false")]
        assert found == [capable, True, False]
    assert not read_recipe(path).bf16


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["modle=x"], "recipe.yaml: unknown key 'modle'; did you mean 'model'?"),
        (["stages.one.optimizer.learning_rte=1"], "unknown key 'learning_rte'; did you mean 'learning_rate'?"),
        (["stages.one.optimizer.learning_rate=-1"], "stages[0]: optimizer: learning_rate must be above 0, got -1.0"),
        (["stages.one.optimizer.learning_rate=fast"], "learning_rate: expected a number, got 'fast'"),
        (["stages.one.batch=1.5"], "batch: expected a whole number, got 1.5"),
        (["stages.one.batch=0"], "batch must be above 0, got 0"),
        (["stages.one.epochs=true"], "epochs: expected a whole number, got True"),
        (
            ["stages.one.parts.vision=melted"],
            "vision: expected one of 'train', 'frozen', 'lora', 'qlora', got 'melted'",
        ),
        (["stages.one.objective.word_dropout=0.1"], "word_dropout belongs to language"),
        (["stages.one.objective.word_dropout=1"], "word_dropout must be in [0, 1), got 1.0"),
        (["stages.one.objective.verifier_weight=-1"], "verifier_weight must not be below 0, got -1.0"),
        (["stages.one.objective.label_smoothing=0.7"], "label_smoothing must be in [0, 0.5), got 0.7"),
        (["seed=-1"], "recipe.yaml: seed must not be below 0, got -1"),
        (
            ["stages.one.optimizer.schedule=cosin"],
            "stage one: optimizer: schedule: expected one of 'linear', 'cosine', ",
        ),
        (
            ["stages.one.optimizer.schedule=cosine_with_min_lr"],
            "stage one: optimizer: schedule cosine_with_min_lr with trainer.lr_scheduler_kwargs None: ",
        ),
        (["stages.two.batch=3"], "--set stages.two.batch: no 'two' in the list; there are one"),
        (["stages.one.data=[]"], "data is empty; a stage needs a source"),
        (["stages=[]"], "stages is empty; a recipe needs one"),
        (["output"], "--set 'output': expected KEY=VALUE"),
        (["trainer.learning_rate=3"], "trainer: learning_rate is set by stages[].optimizer"),
        (["trainer.bf17=true"], "trainer: unknown key 'bf17'; did you mean 'bf16'?"),
        (["trainer.bf16=maybe"], "trainer: bf16: expected true or false, got 'maybe'"),
        (["trainer.gradient_checkpointing=1"], "trainer: gradient_checkpointing: expected true or false, got 1"),
        (["trainer.save_steps=often"], "trainer: save_steps: expected a number, got 'often'"),
        (["trainer.logging_steps=true"], "trainer: logging_steps: expected a number, got True"),
        (["min_pixels=100", "max_pixels=50"], "min_pixels 100 is above max_pixels 50"),
        (["head.kind=mlp", "form=value-head"], "form value-head holds a linear head, head.kind is mlp"),
        (["stages.one.objective.loss=language"], "set parts.head to frozen"),
        (["stages.one.objective={loss: plackett-luce, centering: 1}"], "belong to bradley-terry"),
        (["evaluation={every: 5}"], "evaluation: nothing to evaluate; say benchmarks or audits"),
        (["evaluation={benchmarks: [{benchmark: tiny-world}]}"], "evaluation: no 'every'; it has no default"),
        (["evaluation={every: 5, benchmarks: [{benchmark: tiny-world, pairs: 0}]}"], "pairs must be above 0, got 0"),
        (["evaluation={every: 5, benchmarks: [{benchmark: pairs}]}"], "say which file with data"),
        (["evaluation={every: 5, benchmarks: [{benchmark: a}, {benchmark: a}]}"], "two are called 'a'"),
        ([*EVALUATED, "trainer.eval_on_start=true"], "trainer: eval_on_start is set by evaluation.every"),
        ([*EVALUATED, "trainer.fsdp=full_shard"], "a model that trainer.fsdp shards cannot be asked"),
        (
            [*EVALUATED, "stages.one.objective.loss=language", "stages.one.parts.head=frozen"],
            "no stage trains a reward that could be evaluated",
        ),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_recipe(written(tmp_path), overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", "not YAML"),
        ("- 1", "expected keys and values"),
        ("model: m\noutput: o\n", "no 'stages'; it has no default"),
        ("model: 3\noutput: o\nstages: []", "model: expected text, got 3"),
        ("model: m\noutput: o\nstages: {}", "stages: expected a list, got {}"),
        ("model: m\noutput: o\nstages: [x]", "stages[0]: expected keys and values, got 'x'"),
    ],
)
def test_what_is_no_recipe_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"recipe\.yaml") as error:
        read_recipe(path)
    assert message in str(error.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_recipe(tmp_path / "none.yaml")
    recipe = read_recipe(written(tmp_path), [f"stages.one.data.0.path={tmp_path / 'none.jsonl'}"])
    with pytest.raises(ConfigError, match=r"stage one: data: .*none.jsonl: no such file"):
        check_files(recipe)
    (tmp_path / "none.jsonl").write_text("{}")
    pictures = f"stages.one.data.0.media_dir={tmp_path}/pictures"
    recipe = read_recipe(written(tmp_path), [f"stages.one.data.0.path={tmp_path}/none.jsonl", pictures])
    with pytest.raises(ConfigError, match=r"stage one: data: media_dir .*pictures: no such folder"):
        check_files(recipe)
    output = [f"stages.one.data.0.path={tmp_path}/none.jsonl", f"output={tmp_path}/none.jsonl"]
    with pytest.raises(ConfigError, match=r"output: .*none\.jsonl: a file; name a folder"):
        check_files(read_recipe(written(tmp_path), output))
    with pytest.raises(ConfigError, match=r"model: \./nowhere: no such folder"):
        check_files(
            read_recipe(written(tmp_path, model="./nowhere"), [f"stages.one.data.0.path={tmp_path}/none.jsonl"])
        )


def test_new_heads_start_as_stated() -> None:
    linear = new_head(Head(), 1000, seed=1)
    assert linear.sizes == (1000, 1)
    assert linear.has_bias
    tensors = linear.tensors()
    assert tensors["layers.0.weight"].std().item() == pytest.approx(1 / 1001, rel=0.1)
    assert tensors["layers.0.bias"].item() == 0
    mlp = new_head(Head(kind="mlp", width=64), 1000, seed=1)
    assert mlp.sizes == (1000, 64, 1)
    assert mlp.tensors()["layers.0.weight"].std().item() == pytest.approx(1000**-0.5, rel=0.05)
    again, other = (new_head(Head(), 1000, seed=seed).tensors()["layers.0.weight"] for seed in (1, 2))
    assert torch.equal(again, tensors["layers.0.weight"])
    assert not torch.equal(other, again)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("backbone.visual.blocks.0.attn.qkv.weight", "vision"),
        ("visual.patch_embed.proj.weight", "vision"),
        ("visual.merger.mlp.0.weight", "projector"),
        ("visual.deepstack_merger_list.1.norm.weight", "projector"),
        ("language_model.layers.2.mlp.up_proj.lora_A.default.weight", "language"),
        ("lm_head.weight", "language"),
        ("head.layers.0.bias", "head"),
    ],
)
def test_every_tensor_has_a_part(name: str, part: str) -> None:
    assert part_of(name) == part


def test_stages_with_rewards_are_evaluated(tmp_path: Path) -> None:
    one = SMALL["stages"][0]
    writes = one | {"name": "writes", "objective": {"loss": "language"}, "parts": {"head": "frozen"}}
    recipe = read_recipe(written(tmp_path, stages=[writes, one]), EVALUATED)
    assert recipe.evaluation is not None
    assert recipe.evaluation.benchmarks[0].label == "tiny-world"
    assert [recipe.evaluation.times(steps) for steps in (1, 5, 6)] == [2, 2, 3]
    first, second = map(recipe.evaluated_at, recipe.stages)
    assert first == {}
    assert second == {"eval_strategy": "steps", "eval_steps": 5, "eval_on_start": True}
    write_recipe(recipe, tmp_path / "again.yaml")
    assert read_recipe(tmp_path / "again.yaml") == recipe
