"""The random checkpoint is small, the same every time, and laid out as a released one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vlreward.errors import ConfigError
from vlreward.tiny.random_checkpoint import BACKBONES, HIDDEN, BackboneName, write_random_checkpoint
from vlreward.tiny.tokenizer import CHAT_TEMPLATES, SPECIAL_TOKENS, VOCABULARY_SIZE, build_tokenizer


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_same_arguments_write_the_same_small_files(tmp_path: Path, backbone: BackboneName) -> None:
    before = torch.get_rng_state()
    first = contents(write_random_checkpoint(tmp_path / "a", 3, backbone))
    assert torch.equal(before, torch.get_rng_state())
    assert first == contents(write_random_checkpoint(tmp_path / "b", 3, backbone))
    assert first != contents(write_random_checkpoint(tmp_path / "c", 4, backbone))
    assert sum(map(len, first.values())) < 1_000_000


@pytest.mark.parametrize("backbone", BACKBONES)
def test_transformers_loads_every_tensor(tmp_path: Path, backbone: BackboneName) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = write_random_checkpoint(tmp_path, 0, backbone)
    model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.model_type == backbone
    processor = AutoProcessor.from_pretrained(folder)
    assert processor.image_token_id == model.config.image_token_id
    assert processor.tokenizer.chat_template == CHAT_TEMPLATES[backbone]


def test_forms(tmp_path: Path) -> None:
    value = write_random_checkpoint(tmp_path / "value", form="value-head")
    plain = write_random_checkpoint(tmp_path / "plain", form="none")
    sequence = write_random_checkpoint(tmp_path / "sequence", form="sequence-classification")
    head = load_file(value / "value_head.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in head.items()} == {
        "v_head.summary.weight": (1, HIDDEN),
        "v_head.summary.bias": (1,),
    }
    assert not (plain / "value_head.safetensors").exists()
    tensors = load_file(sequence / "model.safetensors")
    assert torch.equal(tensors["score.weight"], head["v_head.summary.weight"])
    assert "lm_head.weight" not in tensors
    config = json.loads((sequence / "config.json").read_text())
    assert config["architectures"] == ["Qwen2_5_VLForSequenceClassification"]
    assert len(config["id2label"]) == 1


def test_writing_another_form_leaves_no_head_behind(tmp_path: Path) -> None:
    write_random_checkpoint(tmp_path, form="value-head")
    write_random_checkpoint(tmp_path, form="none")
    assert not (tmp_path / "value_head.safetensors").exists()


@pytest.mark.parametrize("wrong", [{"backbone": "qwen9"}, {"form": "yes-no"}])
def test_unknown_names_are_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"unknown .* known: "):
        write_random_checkpoint(tmp_path, **wrong)  # type: ignore[arg-type]


def test_tokenizer_merges_at_the_seam_as_the_real_one_does() -> None:
    tokenizer = build_tokenizer()
    assert len(tokenizer) <= VOCABULARY_SIZE
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(len(SPECIAL_TOKENS)))
    start = "<|im_start|>assistant\n"
    seam = len(tokenizer.encode(start))
    assert tokenizer.encode(start + "\nYes")[:seam] != tokenizer.encode(start)
    text = "Naïve “quotes”, 数字 12, 🙂 and\ttabs\n\n  done."
    assert tokenizer.decode(tokenizer.encode(text)) == text
