"""The random models of the benchmarks: complete, of the sizes that they claim, with text of known length."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from harness.random_model import LM_HEAD, bytes_on_disk, tensor_shapes, write_model
from harness.sizes import FIRST_SPECIAL_ID, QUICK, RELEASED_7B, SPECIAL_TOKENS
from harness.tokenizer import words
from harness.workload import Workload, mixed_groups, shape_of
from tests.conftest import SHARED
from vlreward import Group, RewardModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("random") / "model", QUICK, form="sequence-classification")


def test_released_size_has_the_released_number_of_parameters() -> None:
    counted = sum(torch.Size(shape).numel() for _, shape in tensor_shapes(RELEASED_7B))
    assert counted == 8_292_166_656


def test_shards_hold_every_tensor_once(tmp_path: Path) -> None:
    write_model(tmp_path, QUICK, form="value-head", dtype=torch.bfloat16, shard_bytes=200_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    found: dict[str, str] = {}
    for path in sorted(tmp_path.glob("model-*.safetensors")):
        with safe_open(path, "pt") as shard:
            found |= dict.fromkeys(shard.keys(), path.name)
    assert found == index["weight_map"]
    assert found.keys() == {name for name, _ in tensor_shapes(QUICK)}
    assert index["metadata"]["total_size"] < bytes_on_disk(tmp_path)


def test_forms_score_alike(folder: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "model", QUICK, form="value-head")
    group = Group(messages="the of", responses=[" and to", ""])
    scores = [
        RewardModel.from_pretrained(place, dtype="float32", device="cpu").score_groups([group])[0]
        for place in (folder, tmp_path / "model")
    ]
    # The value head has a bias of a quarter.
    assert scores[1] == pytest.approx([score + 0.25 for score in scores[0]], abs=1e-5)


def test_lm_head_stands_where_only_the_published_contestant_looks(folder: Path) -> None:
    with safe_open(folder / LM_HEAD, "pt") as head:
        assert head.get_slice("lm_head.weight").get_shape() == [QUICK.lm_head_rows, QUICK.hidden]
    assert not list(folder.glob("lm_head*"))


def _tokenizers(folder: Path) -> list[Path]:
    real = SHARED / "golden" / "ms-swift" / "checkpoint"
    return [folder, real] if real.is_dir() else [folder]


def test_words_have_the_length_asked_for_in_any_of_the_tokenizers(folder: Path) -> None:
    from transformers import AutoTokenizer

    for place in _tokenizers(folder):
        tokenizer = AutoTokenizer.from_pretrained(place)
        assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(
            range(FIRST_SPECIAL_ID, FIRST_SPECIAL_ID + len(SPECIAL_TOKENS))
        )
        for seed in range(3):
            text = f"<|im_start|>user\n{words(64, seed)}<|im_end|>\n"
            assert len(tokenizer(text)["input_ids"]) == 64 + len(
                tokenizer("<|im_start|>user\n<|im_end|>\n")["input_ids"]
            )


def test_shape_of_a_group_is_what_is_scored(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from vlreward.model.processing import MediaTable

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = RewardModel.from_pretrained(folder, dtype="float32", device="cpu")
    for spec in [Workload(name="N=2", answers=2).groups(0, tmp_path)[0], *mixed_groups(3, tmp_path)]:
        shape = shape_of(spec, tokenizer)
        group = Group(messages=spec["messages"], responses=spec["responses"])
        lengths = [len(model.conversation(group, i, MediaTable(), "here")) for i in range(len(group))]
        assert [shape.prefix + answer for answer in shape.answers] == lengths


def test_rounds_have_pictures_of_their_own(tmp_path: Path) -> None:
    rounds = [Workload(name="N=1", answers=1).groups(i, tmp_path)[0] for i in (-1, 0, 1)]
    paths = [group["messages"][0]["content"][0]["image"] for group in rounds]
    assert len({Path(path).read_bytes() for path in paths}) == 3


@pytest.mark.shared
def test_no_round_has_the_puzzles_of_another(tmp_path: Path) -> None:
    workload = Workload(name="puzzles", answers=4, puzzles=SHARED / "data" / "puzzlevqa")
    images = [
        group["messages"][0]["content"][0]["image"] for i in range(-1, 10) for group in workload.groups(i, tmp_path)
    ]
    assert len(images) == len(set(images)) == 88
