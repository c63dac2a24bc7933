"""Recipes of loops: those of the repository, and every way in which stages do not fit together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vlreward import Group
from vlreward.errors import ConfigError, InputError
from vlreward.policy.controls import RandomReward
from vlreward.policy.gold import KeyGold, WorldGold, families_in_words
from vlreward.policy.loop import LoopRecipe, read_loop_recipe
from vlreward.tiny.world import World
from vlreward.train.recipe import check_files

SMALL: dict[str, Any] = {
    "policy": "policy",
    "reward": "reward",
    "output": "out",
    "prompts": {"world": {"items": 10}},
    "held_out": {"world": {"items": 5, "split": "heldout"}},
    "train": {"optimizer": {"learning_rate": 1e-4}},
}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., LoopRecipe]:
    def read(*overrides: str, **changes: Any) -> LoopRecipe:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(SMALL | changes))
        return read_loop_recipe(path, overrides)

    return read


@pytest.mark.parametrize(("name", "beta"), [("mpo-7b", 0.1), ("tiny-mpo", 1.0)])
def test_the_recipes_of_the_repository(root: Path, name: str, beta: float) -> None:
    recipe = read_loop_recipe(root / "recipes" / f"{name}.yaml")
    (stage,) = recipe.training().stages
    assert stage.objective.loss == "mpo"
    assert stage.objective.mix.beta == beta
    assert stage.data[0].path == f"{recipe.output}/3-pairs/pairs.jsonl"
    assert recipe.held_out.has_gold
    assert (recipe.watch is None) == bool(recipe.trainer.get("fsdp"))
    if name == "mpo-7b":
        text = (root / "recipes" / "mpo-7b.yaml").read_text()
        assert "NOT RUN HERE" in text
        assert "73.5" in text


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["sampling.answers=1"], "pairs are made of different answers"),
        (["sampling.temperature=0"], "pairs are made of different answers"),
        (["pairs.top=8"], "top 8 and bottom 1 have to be below sampling.answers, 8"),
        (["sampling.max_tokens=300", "train.max_length=256"], "leaves no room for a prompt in train.max_length 256"),
        (["prompts={path: p.jsonl}", "correctness=true"], "correctness: nobody knows the right answers"),
        (["held_out={path: p.jsonl}", "reward=oracle"], "an oracle needs right answers"),
        (["held_out.world.split=train"], "held_out: the same as prompts"),
        (["prompts={path: p.jsonl}", "held_out={path: ./p.jsonl}"], "held_out: the same as prompts"),
        (["prompts.path=p.jsonl"], "prompts have either a path or a world"),
        (["prompts.world.families=[editing]"], "the world's editing is answered with pictures"),
        (["prompts.keys=true"], "keys are of a file"),
        (["train.data=[]"], "train: data is the loop's own"),
        (["train.optimiser=1"], "unknown key 'optimiser'; did you mean 'optimizer'?"),
        (["train.objective.loss=bradley-terry"], "expected one of 'mpo', 'dpo', 'sft'"),
        (["trainer.seed=1"], "trainer: seed is set by seed"),
        (["trainer.eval_steps=1"], "trainer: eval_steps: when there is an evaluation is said by watch.every"),
        (["watch.every=0"], "watch: every must be above 0"),
        (["watch={every: 1, on_overoptimisation: end}"], "expected one of 'warn', 'stop'"),
        (["watch={every: 1}", "trainer.fsdp=true"], "weights that trainer.fsdp shards cannot be asked while training"),
        (
            ["held_out={path: p.jsonl}", "watch={every: 1, on_overoptimisation: stop}"],
            "without right answers nobody sees a policy over-optimised",
        ),
        (["sampling.answer=2"], "unknown key 'answer'; did you mean 'answers'?"),
    ],
)
def test_what_does_not_fit_is_refused(read: Callable[..., LoopRecipe], overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(*overrides)
    assert said in str(error.value)


def test_a_policy_is_watched_when_the_recipe_says_so(read: Callable[..., LoopRecipe]) -> None:
    engine = RandomReward(0)
    assert read().watched_by(engine) is None
    recipe = read("watch={every: 5, prompts: 3, on_overoptimisation: stop}")
    trainer = recipe.training().trainer
    assert (trainer["eval_strategy"], trainer["eval_steps"], trainer["eval_on_start"]) == ("steps", 5, True)
    watch = recipe.watched_by(engine)
    assert watch is not None
    assert watch.stops
    assert [prompt.id for prompt in watch.prompts] == ["heldout-0-0", "heldout-0-1", "heldout-0-2"]
    assert watch.gold is not None


def test_worlds_that_start_elsewhere_are_apart(read: Callable[..., LoopRecipe]) -> None:
    read("held_out.world={items: 5, start: 10}")
    with pytest.raises(ConfigError, match="held_out: the same"):
        read("held_out.world={items: 5, start: 9}")


def test_missing_files_are_said_before_any_work(read: Callable[..., LoopRecipe], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"prompts: no\.jsonl: no such file"):
        read("prompts={path: no.jsonl}").check_files()
    with pytest.raises(ConfigError, match=r"policy: \./no: no such folder"):
        read("policy=./no").check_files()
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"messages": "Q"}\n{"mesages": "Q"}\n')
    with pytest.raises(InputError, match=r"prompts\.jsonl:2: unknown key 'mesages'"):
        read(held_out={"path": str(path)}).check_files()
    path.write_text('{"messages": "Q"}\n')
    with pytest.raises(InputError, match="no row has an 'answer'"):
        read(prompts={"path": str(path), "keys": True}).check_files()
    with pytest.raises(ConfigError, match="no such file"):
        check_files(read().training())


def test_the_world_knows_what_is_right() -> None:
    families = families_in_words()
    assert "editing" not in families
    assert {"captions", "counting", "reasoning"} <= set(families)
    world = World(3, "heldout", families)
    gold = WorldGold(world)
    for item in world.items(2 * len(families)):
        answers = [item.right, *(wrong.response for wrong in item.wrong[:2])]
        assert gold.right(Group(item.messages, answers, id=item.id)) == (True, False, False)
    with pytest.raises(InputError, match="not an item of the heldout world of seed 3"):
        gold.right(Group("q", ["a"], id="train-3-1"))


def test_a_key_knows_of_its_own_prompts() -> None:
    gold = KeyGold({"a": "4"})
    assert gold.right(Group("2 + 2?", ["The answer is 4.", "5"], id="a")) == (True, False)
    assert gold.right(Group("2 + 2?", ["4"], id="b")) is None
