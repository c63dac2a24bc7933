"""From files to packs: sources, the index, the plan, and what is left out on the way."""

from __future__ import annotations

import json
import resource
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlreward import RewardModel
from vlreward.data.rankings import read_rankings
from vlreward.errors import ConfigError, InputError, MediaError
from vlreward.model.media import Medium
from vlreward.model.packing import Column
from vlreward.train.features import FeatureCache
from vlreward.train.index import Index, build_index
from vlreward.train.objective import Objective
from vlreward.train.pack_loss import pack_loss
from vlreward.train.packs import PackDataset
from vlreward.train.plan import Plan, deal, make_plan
from vlreward.train.sources import DataSource
from vlreward.types import Image, Text

from .conftest import Listed, image_part, noise, one_pack, pack_model, pair, user, write_pairs


@pytest.fixture(scope="module")
def model(checkpoint: Callable[..., Path]) -> RewardModel:
    return RewardModel.from_pretrained(checkpoint(), dtype="float32", device="cpu")


def silent(what: str, count: int) -> None:
    del what, count


def indexed(model: RewardModel, source: Any, cache: Path, **options: Any) -> Index:
    options = {"max_length": 1000, "skip_missing": False} | options
    return build_index(source, model, cache=cache, progress=silent, **options)


def test_a_file_is_kept_as_it_is_read(tmp_path: Path) -> None:
    path = write_pairs(tmp_path, 7)
    said: Counter[str] = Counter()
    kept = DataSource(path=str(path)).open(tmp_path / "cache", lambda what, n: said.update({what: n}))
    expected = list(read_rankings(path))
    assert len(kept) == len(expected) == 7
    assert said == {"reading pairs": 7}
    for number in (6, 0, 3, 3):
        ours, theirs = kept[number], expected[number]
        assert (ours.ranks, ours.margin, ours.group.id) == (theirs.ranks, theirs.margin, theirs.group.id)
        for a, b in zip(ours.group.conversations(), theirs.group.conversations(), strict=True):
            assert [(m.role, len(m.parts)) for m in a] == [(m.role, len(m.parts)) for m in b]
            for left, right in zip((p for m in a for p in m.parts), (p for m in b for p in m.parts), strict=True):
                assert (left == right) if isinstance(left, Text) else (left.source == right.source)


def test_a_file_is_gone_through_once_until_it_changes(tmp_path: Path) -> None:
    path = write_pairs(tmp_path, 4)
    source, cache, calls = DataSource(path=str(path)), tmp_path / "cache", []
    first = source.open(cache, lambda what, n: calls.append(what))
    again = source.open(cache, lambda what, n: calls.append(what))
    assert (len(calls), first.fingerprint) == (4, again.fingerprint)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    assert len(source.open(cache, lambda what, n: calls.append(what))) == 3
    assert len(calls) == 7


def test_a_data_set_in_pieces_is_one_source(tmp_path: Path) -> None:
    lines = write_pairs(tmp_path, 7).read_text().splitlines(keepends=True)
    for i, piece in enumerate((lines[:3], lines[3:])):
        (tmp_path / f"train-{i}.jsonl").write_text("".join(piece))
    source = DataSource(path=str(tmp_path / "train-*.jsonl"))
    source.check("here")
    kept = source.open(tmp_path / "cache", silent)
    assert [kept[i].group.id for i in range(len(kept))] == [f"r{i}" for i in range(7)]
    assert (source.label, kept.label) == (tmp_path.name, tmp_path.name)
    (tmp_path / "train-2.jsonl").write_text(lines[0])
    assert len(source.open(tmp_path / "cache", silent)) == 8
    with pytest.raises(ConfigError, match=r"here: data: .*test-\*\.jsonl: no such file"):
        DataSource(path=str(tmp_path / "test-*.jsonl")).check("here")


def test_a_file_is_read_anew_when_its_description_changes(tmp_path: Path) -> None:
    row = {"asked": [{"from": "human", "value": "Q"}]} | {
        key: {"from": "gpt", "value": key.upper()} for key in ("good", "bad")
    }
    (tmp_path / "pairs.json").write_text(json.dumps([row]))

    def described(chosen: str, rejected: str) -> str:
        columns = {"messages": "asked", "chosen": chosen, "rejected": rejected}
        entry = {"file_name": "pairs.json", "formatting": "sharegpt", "ranking": True, "columns": columns}
        (tmp_path / "dataset_info.json").write_text(json.dumps({"pairs": entry}))
        source = DataSource(path=str(tmp_path / "pairs.json")).open(tmp_path / "cache", silent)
        (better, _) = source[0].group.responses
        return str(better[0].content)

    assert [described("bad", "good"), described("good", "bad")] == ["BAD", "GOOD"]


def test_an_unfinished_reading_starts_again(tmp_path: Path) -> None:
    path = write_pairs(tmp_path, 4)

    def stop(what: str, count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DataSource(path=str(path)).open(tmp_path / "cache", stop)
    assert len(DataSource(path=str(path)).open(tmp_path / "cache", silent)) == 4


def test_the_index_says_what_packs_will_hold(model: RewardModel, tmp_path: Path) -> None:
    source = DataSource(path=str(write_pairs(tmp_path, 8))).open(tmp_path / "cache", silent)
    index = indexed(model, source, tmp_path / "cache")
    for number, tokens, pictures in zip(index.numbers_N, index.tokens_N, index.pictures_N, strict=True):
        trie = one_pack(model, [source[int(number)]])["trie"]
        assert len(trie) == tokens
        assert (trie.rows_TC[:, Column.MEDIUM] >= 0).sum() == pictures
    assert (index.pictures_N == 0).sum() == 3
    assert list(tmp_path.glob("cache/index-*.npz"))
    measured: list[str] = []
    again = build_index(
        source,
        model,
        max_length=1000,
        skip_missing=False,
        cache=tmp_path / "cache",
        progress=lambda what, n: measured.append(what),
    )
    assert not measured
    np.testing.assert_array_equal(again.tokens_N, index.tokens_N)


def test_what_cannot_be_trained_on_is_counted(model: RewardModel, tmp_path: Path) -> None:
    noise(1).save(tmp_path / "a.png")
    noise(1).save(tmp_path / "b.png")
    noise(2).save(tmp_path / "c.png")

    def answer(name: str) -> list[dict[str, Any]]:
        return [{"type": "image", "image": str(tmp_path / name)}]

    rankings = [
        pair(user("Q"), "A", "B", id="good"),
        pair(user("Q"), "A", "A", id="equal"),
        pair(user("Draw."), answer("a.png"), answer("b.png"), id="equal pixels in two files"),
        pair(user("Draw."), answer("a.png"), answer("c.png"), id="pictures differ"),
        pair(user("Q"), "A", "B", ranks=(0, 0), id="tied"),
        pair(user("Q"), "A " * 2000, "B", id="long"),
        pair(user(image_part(1, (2000, 2000)), "Q"), "A", "B", id="large"),
    ]
    index = indexed(model, Listed(rankings), tmp_path, max_length=200)
    assert index.numbers_N.tolist() == [0, 3]
    assert index.dropped == {"chosen equals rejected": 2, "all ranks tied": 1, "longer than max_length": 2}
    with pytest.raises(InputError, match=r"no rankings to train on; left out: 1 chosen equals rejected"):
        plan([indexed(model, Listed([rankings[1]], "one"), tmp_path)])


def test_a_missing_picture_stops_or_is_counted(model: RewardModel, tmp_path: Path) -> None:
    gone = pair(user({"type": "image", "image": str(tmp_path / "gone.png")}, "Q"), "A", "B", id="gone")
    source = Listed([gone, pair(user("Q"), "A", "B")])
    with pytest.raises(MediaError, match=r"listed: ranking 0 \(gone\).*gone.png: no such file"):
        indexed(model, source, tmp_path)
    index = indexed(model, source, tmp_path, skip_missing=True)
    assert (index.numbers_N.tolist(), index.dropped) == ([1], {"a picture that cannot be read": 1})


def test_a_picture_that_goes_missing_later(model: RewardModel, tmp_path: Path) -> None:
    noise(1).save(tmp_path / "a.png")
    rankings = [pair(user({"type": "image", "image": str(tmp_path / "a.png")}, "Q"), "A", "B", id="gone")]
    rankings.append(pair(user("Q"), "A", "B", id="here"))
    indexed(model, Listed(rankings), tmp_path)
    (tmp_path / "a.png").unlink()
    stopped = one_pack(model, rankings, skip_missing=False)
    assert "ranking 0 (gone)" in stopped["failure"]
    assert "\n" not in stopped["failure"]
    skipped = one_pack(model, rankings, skip_missing=True)
    assert skipped["failure"] is None
    assert skipped["names"] == ("listed: ranking 1 (here)",)
    assert len(skipped["skipped"]) == 1
    assert "a.png: no such file" in skipped["skipped"][0]


def plan(indices: list[Index], **options: Any) -> Plan:
    options = {"epochs": 1, "batch": 4, "budget": 100, "processes": 1, "seed": 0} | options
    return make_plan(indices, options.pop("weights", [1.0] * len(indices)), **options)


def sized(tokens: list[int]) -> Index:
    n = len(tokens)
    return Index(np.arange(n), np.asarray(tokens, dtype=np.int64), np.zeros(n, dtype=np.int64), Counter())


sizes = st.lists(st.integers(1, 150), min_size=1, max_size=40)


@given(sizes, st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(0, 5))
def test_every_ranking_is_seen_once_an_epoch(
    tokens: list[int], batch: int, processes: int, epochs: int, seed: int
) -> None:
    made = plan([sized(tokens)], batch=batch, processes=processes, epochs=epochs, seed=seed)
    packs = [made.pack(i) for i in range(len(made))]
    assert Counter(entry.number for pack in packs for entry in pack) == {i: epochs for i in range(len(tokens))}
    assert made.packs % processes == 0
    assert made.steps == -(-len(tokens) * epochs // batch)
    for pack in packs:
        assert len(pack) == 1 or sum(min(tokens[e.number], 100) for e in pack) <= 100


@given(sizes, st.integers(1, 9))
def test_steps_are_the_same_for_any_number_of_processes(tokens: list[int], batch: int) -> None:
    def steps(processes: int) -> list[set[int]]:
        made = plan([sized(tokens)], batch=batch, processes=processes)
        k = made.packs
        return [{e.number for i in range(s * k, (s + 1) * k) for e in made.pack(i)} for s in range(made.steps)]

    assert steps(1) == steps(2) == steps(3)


def test_order_follows_the_seed_and_differs_between_epochs() -> None:
    index = sized([1] * 20)
    orders = [plan([index], seed=seed, epochs=2, batch=20).numbers_E.tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:20] != orders[0][20:]


def test_weights_mix_sources() -> None:
    made = plan([sized([1] * 10), sized([1] * 10)], weights=[2.0, 0.5], epochs=2)
    seen = Counter(made.sources_E.tolist())
    assert seen == {0: 40, 1: 10}
    assert plan([sized([1] * 10)], batch=4, max_steps=2).steps == 2
    with pytest.raises(InputError, match=r"no rankings to train on: the sources' weights take none of 12 in 1 epochs"):
        plan([sized([1] * 10), sized([1] * 2)], weights=[0.01, 0.1])


def test_packs_are_dealt_evenly_the_largest_first() -> None:
    assert deal((5, 1, 1, 4, 3), 2) == ((0, 1, 2), (3, 4))
    assert deal((1,), 3) == ((0,), (), ())


def test_cached_sights_give_the_same_loss(model: RewardModel, tmp_path: Path) -> None:
    rankings = [pair(user(image_part(1), "What?"), "A", "B"), pair(user(image_part(2, (56, 140)), "What?"), "A", "C")]
    plain = pack_model(model)
    plain.freeze(["projector", "language", "head"])
    fresh = one_pack(model, rankings)
    expected = pack_loss(plain(fresh), fresh, Objective())
    cache = FeatureCache(tmp_path, max_bytes=1 << 20, dtype=torch.float32)
    module = pack_model(model, cache=cache)
    module.freeze(["projector", "language", "head"])
    first, second = one_pack(model, rankings, cache=cache), None
    assert all(sight is None for sight in first["media"].sights)
    losses = [pack_loss(module(first), first, Objective())]
    second = one_pack(model, rankings, cache=cache)
    assert all(patches is None for patches in second["media"].patches)
    losses.append(pack_loss(module(second), second, Objective()))
    assert losses[0].item() == losses[1].item()
    torch.testing.assert_close(losses[0], expected, rtol=1e-6, atol=0)
    losses[1].backward()
    assert module.backbone.visual.merger.mlp[0].weight.grad.abs().max() > 0
    module.freeze(["vision", "projector", "language", "head"])


def test_the_cache_is_bounded_and_survives_broken_files(model: RewardModel, tmp_path: Path) -> None:
    from vlreward.model.backbone import Sight

    def medium(i: int) -> Medium:
        return Medium(bytes([i] * 16), "image", (1, 2, 2), 1, None, ())

    cache = FeatureCache(tmp_path, max_bytes=1000, dtype=torch.bfloat16)
    sight = cache.rounded(Sight(torch.ones((1, 200)), (torch.zeros((1, 10)),)))
    for i in range(5):
        cache.put(medium(i), sight)
    held = [cache.get(medium(i)) for i in range(5)]
    assert [item is not None for item in held] == [True, True, False, False, False]
    assert held[0] is not None
    assert held[0].states_VM.dtype == torch.bfloat16
    assert len(held[0].deepstack) == 1
    for file in tmp_path.glob("*/*.safetensors"):
        file.write_bytes(file.read_bytes()[:20])
    assert cache.get(medium(0)) is None


def test_a_full_disk_ends_the_caching_and_no_more(model: RewardModel, tmp_path: Path) -> None:
    from vlreward.model.backbone import Sight

    cache = FeatureCache(tmp_path, max_bytes=1 << 30, dtype=torch.float32)
    medium = Medium(b"one", "image", (1, 2, 2), 1, None, ())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        cache.put(medium, Sight(torch.ones((100, 200)), ()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert cache.max_bytes == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_pack_passes_between_processes(model: RewardModel, tmp_path: Path) -> None:
    rankings = [pair(user(image_part(1), "What?"), "A", "B")]
    zeros = np.zeros(1, dtype=np.int64)
    dataset = PackDataset(
        Plan(zeros, zeros, zeros + 1, 1, 1, 1), [Listed(rankings)], model, Objective(), skip_missing=False
    )
    loader = torch.utils.data.DataLoader(dataset, batch_size=1, num_workers=1, collate_fn=lambda packs: packs[0])
    (pack,) = list(loader)
    here = dataset[0]
    np.testing.assert_array_equal(pack["trie"].rows_TC, here["trie"].rows_TC)
    assert torch.equal(pack["media"].patches[0], here["media"].patches[0])


def test_files_are_made_of_what_the_reader_says(tmp_path: Path) -> None:
    row = {"prompt": "Q", "chosen": "A", "rejected": "B", "odd": 1}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=r"pairs\.jsonl:1.*odd"):
        DataSource(path=str(tmp_path / "pairs.jsonl")).open(tmp_path / "cache", silent)
    source = DataSource(path=str(tmp_path / "pairs.jsonl"), ignore=("odd",)).open(tmp_path / "cache", silent)
    assert isinstance(source[0].group.messages[0].content, str)
    assert not any(isinstance(part, Image) for part in source[0].group.messages[0].parts)
