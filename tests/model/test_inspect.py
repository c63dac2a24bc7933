from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vlreward import RewardModel
from vlreward.errors import CheckpointError, UnsupportedError, VLRewardError
from vlreward.model.checkpoints import CheckpointFolder, Question
from vlreward.model.inspect import PARTS, inspect, visual_tokens

from .checkpoint_folders import copy_folder, edit_json, edit_tensors, shard, to_torch_file

Get = Callable[..., Path]
BACKBONES = ("qwen2_5_vl", "qwen2_vl", "qwen3_vl")


@pytest.fixture
def folder(checkpoint: Get, tmp_path: Path) -> Path:
    return copy_folder(checkpoint(), tmp_path / "model")


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("form", ["value-head", "sequence-classification"])
def test_a_sound_checkpoint(checkpoint: Get, backbone: str, form: str):
    path = checkpoint(backbone, form)
    found = inspect(path)
    bias = "with bias" if form == "value-head" else "no bias"
    assert (found.form, found.head, found.backbone) == (form, f"linear 48 -> 1, {bias}", backbone)
    assert found.problems == found.missing == found.left_over == found.misshapen == ()
    assert found.packable
    assert found.context_length == 8192
    assert found.chat_template is not None
    assert found.size_on_disk == sum(file.stat().st_size for file in path.glob("*.safetensors"))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_parameters_by_part_are_those_of_the_model(checkpoint: Get, backbone: str):
    from transformers import AutoModelForImageTextToText

    path = checkpoint(backbone)
    model = AutoModelForImageTextToText.from_pretrained(path)
    expected = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        if "merger" in name:
            part = "projector"
        elif ".visual." in name:
            part = "vision"
        else:
            part = "lm_head" if name.startswith("lm_head") else "language"
        expected[part] += parameter.numel()
    expected["reward_head"] = 49
    found = inspect(path)
    assert found.parameters == expected
    assert found.dtypes == {"float32": sum(expected.values())}


def test_dtypes_are_counted(folder: Path):
    edit_tensors(folder / "model.safetensors", lambda model: model.update({k: v.half() for k, v in model.items()}))
    found = inspect(folder)
    assert found.dtypes == {"float16": sum(found.parameters.values()) - 49, "float32": 49}


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("size", [(1920, 1080), (1024, 1024), (30, 40), (500, 20)])
def test_visual_tokens_are_those_of_the_processor(checkpoint: Get, backbone: str, size: tuple[int, int]):
    import PIL.Image
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    path = checkpoint(backbone)
    processor = Qwen2VLImageProcessorPil.from_pretrained(path)
    _, rows, columns = processor([PIL.Image.new("RGB", size)], return_tensors="np")["image_grid_thw"][0].tolist()
    assert visual_tokens(CheckpointFolder.open(path), *size) == rows * columns // 4
    assert set(inspect(path).visual_tokens) == {"1920x1080", "1024x1024"}


def test_everything_is_plain_json(folder: Path):
    found = inspect(folder)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert found.to_dict()["problems"] == []


def test_a_question_is_inspected(checkpoint: Get):
    path = checkpoint(form="none")
    found = inspect(path)
    assert (found.form, found.head) == (None, None)
    assert found.problems == (
        f"{path}: no reward head found; known forms: score.weight in model.safetensors, value_head.safetensors,"
        " reward_head.safetensors; a model without one can be asked a question (token-logit)",
    )
    assert found.parameters["reward_head"] == 0
    asked = inspect(path, question=Question(positive="?", negative="!"))
    assert asked.form == "token-logit"
    assert asked.head == 'token logit "?" - "!", linear 48 -> 1, no bias'
    assert asked.problems == ()


def test_what_is_wrong_is_said_and_not_raised(folder: Path):
    def spoil(model: dict[str, torch.Tensor]) -> None:
        del model["model.norm.weight"]
        model["model.layers.0.input_layernorm.weight"] = torch.ones(9)
        model["extra.weight"] = torch.ones(7)

    path = folder / "model.safetensors"
    edit_tensors(path, spoil)
    edit_tensors(folder / "value_head.safetensors", lambda head: head["v_head.summary.bias"].fill_(torch.nan))
    for file in folder.glob("chat_template*"):
        file.unlink()
    edit_json(folder / "tokenizer_config.json", lambda config: config.pop("chat_template", None))
    found = inspect(folder)
    assert found.problems == (
        f"{folder}/value_head.safetensors: v_head.summary.bias has 1 values that are not finite; the head is broken",
        "tensor language_model.norm.weight is missing",
        f"{path}: tensor extra.weight is left over",
        f"{path}: model.layers.0.input_layernorm.weight has shape (9,), config.json asks for (48,)",
        f"{folder}: no chat template; add chat_template.jinja, as its base model has it",
    )
    assert found.missing == ("language_model.norm.weight",)
    assert found.left_over == ("extra.weight",)
    assert found.misshapen == ("model.layers.0.input_layernorm.weight",)
    assert found.parameters["left_over"] == 7
    assert found.chat_template is None


def test_shards_and_torch_files(folder: Path):
    whole = inspect(folder)
    to_torch_file(folder, "value_head.safetensors", "value_head.bin")
    shard(folder, 3, "bin")
    sharded = inspect(folder)
    assert sharded.parameters == whole.parameters
    assert sharded.problems == ()
    assert sharded.size_on_disk == sum(file.stat().st_size for file in folder.glob("*.bin"))


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("tokenizer.json", None, "no tokenizer; expected one of"),
        ("tokenizer.json", "{}", "the tokenizer cannot be read"),
        ("preprocessor_config.json", None, "the picture processor's settings are missing"),
        ("vlreward.json", '{"resize": "torchvision"}', "asks for the torchvision resize"),
    ],
)
def test_what_scoring_refuses_is_a_problem(folder: Path, file: str, content: str | None, problem: str):
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    with pytest.raises(VLRewardError, match=problem):
        RewardModel.from_pretrained(folder)
    assert [problem in found for found in inspect(folder).problems] == [True]


def test_named_chat_templates_without_a_default_are_none(folder: Path):
    (folder / "chat_template.jinja").unlink()
    named = [{"name": "tool_use", "template": "x"}]
    edit_json(folder / "tokenizer_config.json", lambda config: config.update(chat_template=named))
    assert inspect(folder).chat_template is None
    assert ["no chat template" in found for found in inspect(folder).problems] == [True]


@pytest.mark.parametrize(
    "place", ["chat_template.jinja", "chat_template.json", "processor_config.json", "tokenizer_config.json"]
)
def test_the_chat_template_in_any_of_its_places(folder: Path, place: str):
    for file in folder.glob("chat_template*"):
        file.unlink()
    edit_json(folder / "tokenizer_config.json", lambda config: config.pop("chat_template", None))
    if place.endswith("jinja"):
        (folder / place).write_text("x")
    else:
        edit_json(folder / place, lambda config: config.update(chat_template="x"))
    assert inspect(folder).chat_template == place


def test_pixel_limits_and_their_file(folder: Path):
    found = inspect(folder)
    assert (found.min_pixels, found.max_pixels) == (4 * 28 * 28, 256 * 28 * 28)
    assert found.pixel_limits_from == "preprocessor_config.json"
    (folder / "vlreward.json").write_text('{"max_pixels": 50176}')
    assert inspect(folder).visual_tokens == {"1920x1080": 60, "1024x1024": 64}


def test_what_cannot_be_looked_at_is_raised(folder: Path):
    edit_json(folder / "config.json", lambda config: config.update(model_type="llava"))
    with pytest.raises(UnsupportedError, match=r"backbone 'llava' is not supported"):
        inspect(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no weights"):
        inspect(folder)


GOLDEN = {
    "skywork": ("value-head", "linear 48 -> 1, with bias", (1222, 1225)),
    "llamafactory": ("value-head", "linear 16 -> 1, with bias", (60, 64)),
    "ms-swift": ("sequence-classification", "linear 16 -> 1, no bias", (60, 64)),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_checkpoints(shared: Path, name: str):
    found = inspect(shared / "golden" / name / "checkpoint")
    assert found.problems == ()
    assert (found.form, found.head, tuple(found.visual_tokens.values())) == GOLDEN[name]
