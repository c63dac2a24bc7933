"""The rendered world as data to train on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vlreward import RewardModel
from vlreward.errors import ConfigError
from vlreward.model.packing import Column
from vlreward.tiny.world import World
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
