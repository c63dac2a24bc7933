"""The rendered world as data to train on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vlreward import RewardModel
from vlreward.data.content import text_of
from vlreward.errors import ConfigError, InputError
from vlreward.model.packing import Column
from vlreward.tiny.world import Item, World
from vlreward.tiny.world.oracle import question_of, words_of
from vlreward.train.index import build_index
from vlreward.train.objective import Objective
from vlreward.train.recipe import read_recipe
from vlreward.train.run import train
from vlreward.train.sources import DataSource
from vlreward.train.worlds import WorldData, WorldRankings

from .conftest import Listed, image_part, one_pack, pair, user


@pytest.fixture(scope="module")
def model(checkpoint: Callable[..., Path]) -> RewardModel:
    return RewardModel.from_pretrained(checkpoint())


def silent(what: str, count: int) -> None:
    del what, count


def source(**values: object) -> WorldRankings:
    opened = DataSource(world=WorldData(**({"items": 40} | values))).open(Path(), silent)  # type: ignore[arg-type]
    assert isinstance(opened, WorldRankings)
    return opened


def test_a_ranking_is_the_worlds_item() -> None:
    ranking = source(start=7, wrong=2)[3]
    item = World().item(10)
    assert ranking.group.id == item.id
    assert sorted(ranking.ranks) == [0, 1, 1]
    assert ranking.group.responses[ranking.best] == item.right


def test_without_wrong_responses_it_is_a_conversation() -> None:
    for number in range(22):
        ranking = source(wrong=0)[number]
        assert ranking.ranks == (0,)
        (answer,) = ranking.group.responses[0]
        assert isinstance(answer.content, str)


def test_inventories() -> None:
    ranking = source(wrong=0, tell="inventories", families=("signs",))[4]
    (answer,) = ranking.group.responses[0]
    assert str(answer.content).startswith("it says ")
    ranking = source(wrong=2, tell="inventories", families=("signs",))[4]
    assert ranking.group.responses[0] == (answer,)
    assert ranking.ranks == (0, 1, 1)


def test_what_makes_the_world_is_in_the_fingerprint() -> None:
    settings = [{}, {"seed": 1}, {"items": 41}, {"wrong": 2}, {"families": ("signs",)}, {"split": "heldout"}]
    found = [source(**values).fingerprint for values in settings]
    assert len(set(found)) == len(found)
    assert source().fingerprint == found[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": "a.jsonl", "world": WorldData(items=1)}, "either a path or a world"),
        ({}, "either a path or a world"),
    ],
)
def test_a_source_is_one_thing(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataSource(**values)  # type: ignore[arg-type]


def test_impossible_worlds() -> None:
    with pytest.raises(ConfigError, match="did you mean 'signs'"):
        WorldData(items=1, families=("sings",))
    with pytest.raises(ConfigError, match="items must be above 0"):
        WorldData(items=0)


def test_a_sample_tells_the_size_of_all(model: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorldRankings, "sample", 6)
    held = source()
    index = build_index(held, model, max_length=4096, skip_missing=False, cache=tmp_path, progress=silent)
    assert index.numbers_N.tolist() == list(range(40))
    assert index.tokens_N.tolist() == (index.tokens_N[:6].tolist() * 7)[:40]
    exact = build_index(
        Listed([held[i] for i in range(6)]),
        model,
        max_length=4096,
        skip_missing=False,
        cache=tmp_path,
        progress=silent,
    )
    assert exact.tokens_N.tolist() == index.tokens_N[:6].tolist()


def test_a_language_pack_holds_the_best_response_alone(model: RewardModel) -> None:
    rankings = [pair(user("how many?"), "there are two", "there is one thing here", "none", ranks=(1, 0, 1))]
    pack = one_pack(model, rankings, Objective(loss="language"))
    assert len(pack["trie"].last_S) == 1
    text = model.processor.tokenizer.decode(pack["targets_A"])
    assert text.startswith("there is one thing here")


def test_pictures_in_a_response_are_not_written(model: RewardModel) -> None:
    so = {"type": "text", "text": "so"}
    answers = [[{"role": "assistant", "content": [image_part(seed), so]}] for seed in (1, 2)]
    pack = one_pack(model, [pair(user("draw it"), *answers)], Objective(language_weight=0.5))
    parents, targets = pack["parents_A"].numpy(), pack["targets_A"].numpy()
    image = model.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert image not in targets
    # Each is written by the token before it, which may well be a picture's last.
    rows, exits = pack["trie"].rows_TC, pack["trie"].exit_T
    last = pack["trie"].last_S[0]
    path = np.flatnonzero(exits[: last + 1] > last)
    following = dict(itertools.pairwise(path.tolist()))
    assert [int(rows[following[parent], Column.ID]) for parent in parents] == targets.tolist()


def test_both_objectives_train_on_it(tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        f"""
model: {checkpoint()}
output: {tmp_path / "out"}
stages:
  - name: base
    batch: 8
    max_steps: 2
    data: [{{world: {{items: 100, wrong: 0}}}}]
    objective: {{loss: language}}
    parts: {{vision: train, head: frozen}}
    optimizer: {{learning_rate: 1.0e-3, warmup: 0}}
  - name: rewards
    batch: 4
    max_steps: 2
    data:
      - {{world: {{items: 100, start: 100}}, name: all}}
      - {{world: {{items: 100, start: 100, families: [text]}}, name: text}}
    objective: {{language_weight: 0.5}}
    parts: {{vision: train}}
    optimizer: {{learning_rate: 1.0e-3, warmup: 0}}
trainer: {{bf16: true, save_strategy: "no", use_cpu: true}}
"""
    )
    base, rewards = train(read_recipe(recipe), log=lambda _: None)
    assert base.steps == rewards.steps == 2
    assert "accuracy" not in base.figures
    before, after = (RewardModel.from_pretrained(folder) for folder in (checkpoint(), rewards.folder))
    item = World().item(0).group(2).group
    assert not torch.allclose(*(torch.tensor(m.score_groups([item])[0]) for m in (before, after)))


def sampled_file(folder: Path, world: World, answers: Callable[[Item], list[str]], count: int = 8) -> Path:
    path = folder / "sampled.jsonl"
    path.write_text(
        "".join(
            json.dumps(
                {
                    "id": item.id,
                    "messages": [{"role": "user", "content": question_of(item)}],
                    "responses": answers(item),
                }
            )
            + "\n"
            for item in world.items(count)
        )
    )
    return path


def test_a_policys_own_answers_are_what_is_told_apart(tmp_path: Path) -> None:
    world = World(families=("counting",))

    def answers(item: Item) -> list[str]:
        return ["there are ninety.", text_of(item.right), "there are ninety.", "", "nothing", "many, many"]

    path = sampled_file(tmp_path, world, answers)
    asked = {"items": 40, "wrong": 2, "families": ("counting",)}
    held, plain = source(sampled=str(path), **asked), source(**asked)
    own = {"there are ninety.", "nothing", "many, many"}
    for number in range(8):
        item, ranking = world.item(number), held[number]
        assert words_of(ranking.group.messages) == question_of(item)
        assert text_of(ranking.group.responses[ranking.best]) == text_of(item.right)
        wrong = [text_of(r) for r, rank in zip(ranking.group.responses, ranking.ranks, strict=True) if rank]
        assert len(set(wrong)) == 2
        assert set(wrong) < own
    assert held[8].group.responses == plain[8].group.responses, "nothing was sampled for it"
    assert held.fingerprint != plain.fingerprint
    more = source(sampled=str(path), **(asked | {"wrong": 4}))[0]
    assert own < set(map(text_of, more.group.responses)), "the world's own mistakes fill up"


def test_a_right_answer_of_a_policy_may_be_the_right_one(tmp_path: Path) -> None:
    world = World(families=("counting",))
    path = sampled_file(tmp_path, world, lambda item: [text_of(item.right) + " ", "nothing"], count=40)
    held = source(sampled=str(path), wrong=1, families=("counting",))
    texts = [text_of(held[i].group.responses[held[i].best]) for i in range(40)]
    assert 0 < sum(text.endswith(" ") for text in texts) < 40


def test_answers_to_something_else_are_refused(tmp_path: Path) -> None:
    path = sampled_file(tmp_path, World(families=("counting",)), lambda _: ["nothing"])
    with pytest.raises(InputError, match=r"train-0-0 was sampled with another question; are the world's families"):
        source(sampled=str(path), families=("text",))[0]
    with pytest.raises(InputError, match=r"sampled.jsonl: 'train-0-0' is no item of the practice world of seed 0"):
        source(sampled=str(path), split="practice")
    with pytest.raises(ConfigError, match="say tell: answers, and wrong above 0"):
        WorldData(items=1, sampled=str(path), wrong=0)
    data = DataSource(world=WorldData(items=1, sampled=str(tmp_path / "none.jsonl")))
    with pytest.raises(ConfigError, match=r"stage 'a': data: world: sampled .*none.jsonl: no such file"):
        data.check("stage 'a'")
