"""Each backbone against transformers' own processor and model: the same ids, pixels, positions and hidden states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from vlreward import Group, RewardModel
from vlreward.errors import CheckpointError, InputError, LengthError, MediaError, UnsupportedError
from vlreward.model.backbone import Backbone, spec_for, text_after_video
from vlreward.model.checkpoints import read_head
from vlreward.model.packing import Column
from vlreward.model.processing import MediaTable
from vlreward.tiny.random_checkpoint import BACKBONES, write_random_checkpoint

from .test_scoring import ask, image, picture, text


@pytest.fixture(scope="module", params=BACKBONES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp(request.param), backbone=request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> RewardModel:
    return RewardModel.from_pretrained(folder, dtype="float32", device="cpu")


def their_processor(folder: Path) -> Any:
    """transformers' processor with the resize of the published procedure."""
    processor = transformers.AutoProcessor.from_pretrained(folder)
    pil = transformers.models.qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil
    processor.image_processor = pil.from_pretrained(folder)
    return processor


CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "text": [{"role": "user", "content": "Hello, who is it?"}],
    "picture": ask(image((84, 56), 1), text("What is it?")),
    "odd sizes": ask(text("Before: "), image((131, 47), 2), text(" and after: "), image((30, 200), 3), text(" What?")),
    "large": ask(image((900, 700), 4), text("Describe it.")),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_whole_way_equals_transformers(folder: Path, model: RewardModel, name: str) -> None:
    messages = [*CONVERSATIONS[name], {"role": "assistant", "content": "A cat, 1.5 m long."}]
    processor = their_processor(folder)
    rendered = processor.apply_chat_template(messages, tokenize=False)
    pictures = [p["image"] for m in messages if isinstance(m["content"], list) for p in m["content"] if "image" in p]
    inputs = processor(text=[rendered], images=pictures or None, return_tensors="pt")

    table = MediaTable()
    group = Group(messages[:-1], [messages[-1]["content"]])
    ours = model.conversation(group, 0, table, "here")
    np.testing.assert_array_equal(ours.rows_TC[:, Column.ID], inputs["input_ids"][0].numpy())
    if pictures:
        patches = np.concatenate([model.processor.media.patches(table.media[i]) for i in ours.media()])
        np.testing.assert_array_equal(patches, inputs["pixel_values"].numpy())

    theirs = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        hidden = theirs(**inputs).last_hidden_state[0, -1:]
        expected = float(read_head(model._source)(hidden)[0])
    assert model.score(messages) == pytest.approx(expected, abs=2e-5)  # measured 5e-6


def test_frames_are_resized_like_pictures_and_paired_in_time(model: RewardModel) -> None:
    still = picture((84, 56), 5)
    messages = ask({"type": "video", "video": [still] * 3}, {"type": "image", "image": still}, text("?"))
    table = MediaTable()
    conversation = model.conversation(Group(messages, ["a"]), 0, table, "here")
    video, image_medium = (table.media[i] for i in dict.fromkeys(conversation.media()))
    assert video.grid == (2, *image_medium.grid[1:])
    one = model.processor.media.patches(image_medium)
    np.testing.assert_array_equal(model.processor.media.patches(video), np.concatenate([one, one]))


def test_a_frame_has_a_cap_of_its_own(model: RewardModel) -> None:
    frames = [picture((2000, 1500), 1)] * 2
    table = MediaTable()
    model.conversation(Group(ask({"type": "video", "video": frames}, text("?")), ["a"]), 0, table, "here")
    assert table.media[0].tokens <= 768


def test_part_limits_override_the_models(model: RewardModel) -> None:
    large = picture((800, 800), 1)
    counts = []
    for limits in ({}, {"max_pixels": 50_000}, {"min_pixels": 900_000}):
        table = MediaTable()
        group = Group(ask({"type": "image", "image": large, **limits}, text("?")), ["a"])
        model.conversation(group, 0, table, "here")
        counts.append(table.media[0].tokens)
    assert counts[1] < counts[0] <= counts[2]


def test_a_mark_written_in_a_message_is_refused(model: RewardModel) -> None:
    group = Group(ask(image((56, 56), 1), text("What is <|image_pad|>?")), ["a"], id="g7")
    with pytest.raises(InputError, match=r"^group 'g7': responses\[0\]: 1 pictures but 2 <\|image_pad\|> in the"):
        model.score_groups([group])


def test_a_template_that_drops_a_picture_is_refused(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.processor, "template", "{% for m in messages %}{{ m.role }}{% endfor %}")
    with pytest.raises(InputError, match=r"1 pictures but 0 <\|image_pad\|>"):
        model.score_groups([Group(ask(image((56, 56), 1)), ["a"])])


def test_a_template_error_is_one_of_input(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.processor, "template", "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(InputError, match=r"^group 'x': responses\[0\]: the chat template refuses .*must alternate"):
        model.score_groups([Group("Hello", ["a"], id="x")])
    monkeypatch.setattr(model.processor, "template", "{{ 1 / 0 }}")
    with pytest.raises(InputError, match=r"the chat template refuses these messages: division by zero"):
        model.score_groups([Group("Hello", ["a"], id="x")])


def test_text_without_a_utf8_form_is_refused(model: RewardModel) -> None:
    """As an argument of the command line that is not UTF-8 comes in."""
    with pytest.raises(InputError, match=r"^group 'x': responses\[0\]: '\\udcff' in a text is half of a pair"):
        model.score_groups([Group("Hello \udcff", ["a"], id="x")])


def test_a_thin_picture_is_named(model: RewardModel) -> None:
    with pytest.raises(MediaError, match=r"^group 'thin': responses\[0\]: 2x900: absolute aspect ratio"):
        model.score_groups([Group(ask(image((2, 900), 1)), ["a"], id="thin")])


def test_a_response_over_the_context_is_named(model: RewardModel) -> None:
    group = Group("Hello", ["short", "long " * 9000], id="wordy")
    with pytest.raises(LengthError, match=r"^group 'wordy': responses\[1\]: \d+ tokens, the model's context is 8192"):
        model.score_groups([group])


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3.5, most of whose layers are recurrent, in the folder of a Qwen3-VL that its processor shares."""
    path = write_random_checkpoint(tmp_path_factory.mktemp("qwen3_5"), backbone="qwen3_vl")
    base = transformers.AutoConfig.from_pretrained(path)
    config = transformers.Qwen3_5Config(
        text_config={
            "vocab_size": base.text_config.vocab_size,
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "max_position_embeddings": 8192,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [1, 1, 0],
                "mrope_interleaved": True,
                "partial_rotary_factor": 0.25,
            },
        },
        vision_config={
            "depth": 2,
            "hidden_size": 24,
            "num_heads": 2,
            "intermediate_size": 48,
            "out_hidden_size": 48,
            "patch_size": base.vision_config.patch_size,
        },
        image_token_id=base.image_token_id,
        video_token_id=base.video_token_id,
        vision_start_token_id=base.vision_start_token_id,
        vision_end_token_id=base.vision_end_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.Qwen3_5ForConditionalGeneration(config).save_pretrained(path)
    return path


def test_recurrent_layers_take_the_plain_path(recurrent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = RewardModel.from_pretrained(recurrent, dtype="float32", device="cpu")
    assert "linear_attention" in model.backbone.config.text_config.layer_types
    monkeypatch.delattr("vlreward.model.backbone.Backbone.hidden")
    answers = ["A cat, 1.5 m long.", "A dog.", ""]
    messages = ask(image((84, 56), 1), text("What is it?"))
    rewards = model.score_groups([Group(messages, answers)])[0]

    processor = their_processor(recurrent)
    theirs = transformers.AutoModel.from_pretrained(recurrent, dtype=torch.float32).eval()
    for answer, reward in zip(answers, rewards, strict=True):
        rendered = processor.apply_chat_template([*messages, {"role": "assistant", "content": answer}], tokenize=False)
        inputs = processor(text=[rendered], images=[messages[0]["content"][0]["image"]], return_tensors="pt")
        with torch.inference_mode():
            expected = float(read_head(model._source)(theirs(**inputs).last_hidden_state[0, -1:])[0])
        assert reward == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("version", "rule"),
    [
        (None, "last"),
        ("4.51.3", "last"),
        ("5.2.0", "last"),
        ("5.3.0", "frame"),
        ("5.19.0.dev0", "frame"),
        ("6.0", "frame"),
    ],
)
def test_the_position_behind_a_video_is_that_of_the_makers_library(version: str | None, rule: str) -> None:
    assert text_after_video({"transformers_version": version}) == rule


def test_text_goes_on_behind_the_last_position_of_a_video(model: RewardModel) -> None:
    """Qwen's definition: the first position behind a video is one more than the largest in it, on any axis."""
    frames = [picture((56, 56), seed) for seed in range(10)]
    parts = [text("a"), {"type": "video", "video": frames, "fps": 0.5}, text("b"), image((56, 84), 1), text("c")]
    table = MediaTable()
    rows = model.conversation(Group(ask(*parts), ["d"]), 0, table, "here").rows_TC
    media = [table.media[index] for index in dict.fromkeys(rows[rows[:, Column.MEDIUM] >= 0, Column.MEDIUM].tolist())]
    backbone = model.backbone
    assert backbone.text_after_video == "frame", "the fixture is written by a transformers of that rule"
    theirs = backbone.positions(rows[:, Column.ID], media)
    published = Backbone(backbone.model, backbone.spec, text_after_video="last").positions(rows[:, Column.ID], media)
    shift, expected = 0, theirs.copy()
    for t in range(1, len(expected)):
        behind = rows[t - 1, Column.ID] == backbone.video_token_id != rows[t, Column.ID]
        if behind:
            shift += expected[:t].max() + 1 - (theirs[t, 0] + shift)
        expected[t] = theirs[t] + shift
    np.testing.assert_array_equal(published, expected)
    if model.backbone.spec.video_timestamps:
        np.testing.assert_array_equal(published, theirs)
    else:
        assert (published[-1] > theirs[-1]).all()


def test_only_declared_backbones_are_taken() -> None:
    with pytest.raises(UnsupportedError, match=r"^here: backbone 'llama' is not supported; known: qwen2_5_vl"):
        spec_for({"model_type": "llama"}, "here")
    with pytest.raises(CheckpointError, match=r"^here: config.json has no model_type"):
        spec_for({}, "here")
    with pytest.raises(UnsupportedError, match="use_sliding_window"):
        spec_for({"model_type": "qwen2_5_vl", "text_config": {"use_sliding_window": True}}, "here")
