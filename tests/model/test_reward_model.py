"""What users call: forms of input, order, probabilities, traces, saving, and what is refused at loading."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from vlreward import Group, LocalEngine, Message, RewardModel
from vlreward.engines.base import Engine
from vlreward.errors import CheckpointError, ConfigError, InputError, ScoreError, UnsupportedError
from vlreward.model.checkpoints import Question
from vlreward.model.reward_model import sentence_ends

from .test_backbones import their_processor
from .test_scoring import ask, image, text

Checkpoint = Callable[..., Path]


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint) -> RewardModel:
    return RewardModel.from_pretrained(checkpoint(), dtype="float32", device="cpu")


QUESTION = ask(image((84, 56), 1), text("What is it?"))


def answered(answer: str) -> list[dict[str, Any]]:
    return [*QUESTION, {"role": "assistant", "content": answer}]


def test_score_takes_one_conversation_or_several(model: RewardModel) -> None:
    one = model.score(answered("A cat."))
    several = model.score([answered("A cat."), answered("A dog.")])
    assert isinstance(one, float)
    assert several[0] == pytest.approx(one, abs=1e-5)
    assert several == pytest.approx(model.score_groups([Group(QUESTION, ["A cat.", "A dog."])])[0], abs=1e-5)


def test_score_takes_messages_of_ours(model: RewardModel) -> None:
    messages = [Message("user", "Hello"), Message("assistant", "Hi.")]
    plain = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]
    assert model.score(messages) == model.score(plain)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        (QUESTION, "this one ends in a user message"),
        ([], "this one is empty"),
        ([[*QUESTION]], r"conversations\[0\]: .* ends in a user message"),
        ({"role": "assistant", "content": "x"}, "expected a list of messages, got dict"),
    ],
)
def test_score_needs_an_answer(model: RewardModel, messages: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        model.score(messages)


def test_rank_and_best_of(model: RewardModel) -> None:
    group = Group(QUESTION, ["A cat.", "A dog.", "", "A very long answer about a cat.", "A cat."])
    rewards = model.score_groups([group])[0]
    ranked = model.rank(group)
    assert [item.reward for item in ranked] == sorted(rewards, reverse=True)
    assert [rewards[item.index] for item in ranked] == [item.reward for item in ranked]
    assert model.best_of(group) == ranked[0]
    places = [item.index for item in ranked]
    assert places.index(0) < places.index(4), "equal answers have equal rewards and keep their order"
    assert rewards[0] == rewards[4]


def test_compare_is_the_bradley_terry_probability(model: RewardModel) -> None:
    first, second = model.score_groups([Group(QUESTION, ["A cat.", "A dog."])])[0]
    probability = model.compare(Group(QUESTION, ["A cat.", "A dog."]))
    assert probability == pytest.approx(1 / (1 + math.exp(second - first)), abs=1e-6)
    assert model.compare(Group(QUESTION, ["A dog.", "A cat."])) == pytest.approx(1 - probability, abs=1e-6)
    with pytest.raises(InputError, match="two responses, got 3"):
        model.compare(Group(QUESTION, ["a", "b", "c"]))


def test_trace_is_the_score_of_each_beginning(model: RewardModel) -> None:
    answer = "It is a cat. It weighs 3.5 kg!\nIt sleeps on “the mat.” Good"
    points = model.trace(answered(answer))
    assert [point.text for point in points] == [
        "It is a cat.",
        " It weighs 3.5 kg!",
        "\nIt sleeps on “the mat.”",
        " Good",
    ]
    for point in points:
        assert point.reward == pytest.approx(model.score(answered(answer[: point.end])), abs=1e-4)
    assert points[-1].end == len(answer)


def test_trace_needs_text(model: RewardModel) -> None:
    with pytest.raises(UnsupportedError, match="plain text"):
        model.trace([*QUESTION, {"role": "assistant", "content": [text("a")]}])


@given(st.text(alphabet=st.sampled_from('ab 3.!?…。\n"”)')))
def test_sentences_cover_the_text_and_are_not_blank(value: str) -> None:
    ends = sentence_ends(value)
    assert ends[-1] == len(value)
    assert ends == sorted(set(ends))
    if value.strip():
        pieces = [value[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        assert all(piece.strip() for piece in pieces)


@pytest.mark.parametrize("value", ["." * 300_000, " \n" * 300_000 + "a", "a. " * 100_000, "a.a" * 100_000])
def test_sentences_of_long_texts_are_found_in_no_time(value: str) -> None:
    began = time.process_time()
    sentence_ends(value)
    assert time.process_time() - began < 2  # by the square of the length it would take minutes


def test_progress_counts_groups(model: RewardModel) -> None:
    small = RewardModel.from_pretrained(model.settings.model, dtype="float32", device="cpu", pack_tokens=20)
    done: list[int] = []
    groups = [Group("Hello", [f"Answer {i}."]) for i in range(10)]
    rewards = small.score_groups(groups, progress=done.append)
    assert sum(done) == len(groups) == len(rewards)
    assert len(done) > 1


def test_nothing_asked_is_nothing_scored(model: RewardModel) -> None:
    assert model.score_groups([]) == []


def test_many_visual_tokens_get_one_hint(checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture) -> None:
    wide = RewardModel.from_pretrained(checkpoint(), dtype="float32", device="cpu", max_pixels=10_000_000)
    groups = [Group(ask(image((2000, 1800), seed), text("?")), ["a"]) for seed in range(2)]
    with caplog.at_level(logging.WARNING, logger="vlreward"):
        conversation = wide.conversation  # encoding such a picture is not what is tested
        wide._score = lambda conversations, _table: [0.0] * len(conversations)  # type: ignore[method-assign]
        wide.score_groups(groups)
    assert conversation is not None
    assert [record.getMessage() for record in caplog.records] == [
        "a picture takes 4544 visual tokens; a smaller max_pixels (--max-pixels) is faster and may serve"
    ]


def test_a_score_that_is_not_finite_names_its_group(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "_score_distinct", lambda *_: [1.0, math.nan])
    with pytest.raises(ScoreError, match=r"^group 'q': responses\[1\]: the reward is nan"):
        model.score_groups([Group("Hello", ["a", "b"], id="q")])
    with pytest.raises(ScoreError, match=r"^groups\[1\]: responses\[0\]: the reward is nan"):
        model.score_groups([Group("Hello", ["a"]), Group("Hello", ["b"])])


@pytest.mark.parametrize("copies", [2, 3, 4, 7])
def test_equal_answers_tie_exactly(model: RewardModel, copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head's product rounds by the place of a row among others: 1e-7, which would decide a tie."""
    for answer in ("a", "A cat.", "It is a cat on a mat.", ""):
        rewards = model.score_groups([Group(QUESTION, [answer] * copies)])[0]
        assert len(set(rewards)) == 1
        assert [item.index for item in model.rank(Group(QUESTION, [answer] * copies))] == list(range(copies))
        assert model.compare(Group(QUESTION, [answer, answer])) == 0.5
    # Each conversation is alone over this budget, and so in a pack of its own.
    monkeypatch.setattr(model, "settings", dataclasses.replace(model.settings, pack_tokens=1))
    assert len(set(model.score_groups([Group(QUESTION, ["A cat."] * copies)])[0])) == 1


def test_pixel_limits_are_the_checkpoints_unless_said(checkpoint: Checkpoint) -> None:
    said = json.loads((checkpoint() / "preprocessor_config.json").read_text())
    model = RewardModel.from_pretrained(checkpoint())
    assert said["size"]["longest_edge"] == model.settings.max_pixels
    other = RewardModel.from_pretrained(checkpoint(), max_pixels=50_000)
    assert other.settings.max_pixels == 50_000
    assert other.settings.min_pixels == model.settings.min_pixels
    group = Group(ask(image((500, 500), 1), text("?")), ["a"])
    assert other.score_groups([group]) != model.score_groups([group])
    with pytest.raises(ConfigError, match="need 0 < min_pixels <= max_pixels"):
        RewardModel.from_pretrained(checkpoint(), min_pixels=100_000, max_pixels=50_000)


@pytest.mark.parametrize("instruction", ["avx512_bf16", "amx_bf16", "avx512_fp16"])
def test_auto_is_narrow_only_where_the_cpu_computes_in_it(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instruction: str
) -> None:
    RewardModel.from_pretrained(checkpoint(), dtype="bfloat16", device="cpu").save_pretrained(tmp_path / "narrow")
    for capable in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, instruction: capable})  # noqa: B023
        settings = RewardModel.from_pretrained(tmp_path / "narrow", device="cpu").settings
        assert settings.dtype == ("bfloat16" if capable and "bf16" in instruction else "float32")


def test_auto_is_what_the_checkpoint_says_on_the_cpu(checkpoint: Checkpoint, tmp_path: Path) -> None:
    settings = RewardModel.from_pretrained(checkpoint(), device="cpu").settings
    assert (settings.dtype, settings.device, settings.resize) == ("float32", "cpu", "pil")
    with pytest.raises(ConfigError, match="unknown dtype 'int8'; known: auto, float32"):
        RewardModel.from_pretrained(checkpoint(), dtype="int8")
    with pytest.raises(ConfigError, match="device 'gpu'"):
        RewardModel.from_pretrained(checkpoint(), device="gpu")
    with pytest.raises(ConfigError, match="pack_tokens must be a positive number"):
        RewardModel.from_pretrained(checkpoint(), pack_tokens=0)


@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("question", [Question(positive="yes", negative="no"), Question(positive="yes", negative=None)])
def test_a_question_reads_the_logits_of_a_plain_model(
    checkpoint: Checkpoint, backbone: str, question: Question
) -> None:
    folder = checkpoint(backbone=backbone, form="none")
    model = RewardModel.from_pretrained(folder, dtype="float32", device="cpu", question=question)
    rewards = model.score_groups([Group(QUESTION, ["A cat.", "A dog."])])[0]
    processor = their_processor(folder)
    theirs = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    for answer, reward in zip(("A cat.", "A dog."), rewards, strict=True):
        messages = [*answered(answer), {"role": "user", "content": question.template}]
        rendered = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        inputs = processor(text=[rendered], images=[QUESTION[0]["content"][0]["image"]], return_tensors="pt")
        with torch.inference_mode():
            logits = theirs(**inputs).logits[0, -1]
        yes, no = (processor.tokenizer.encode(word)[0] for word in ("yes", "no"))
        expected = logits[yes] - (0 if question.negative is None else logits[no])
        assert reward == pytest.approx(float(expected), abs=5e-5)


def test_a_question_in_place_keeps_pictures_where_they_are(checkpoint: Checkpoint) -> None:
    question = Question(
        positive="yes", negative="no", system="Judge.", template="Query: {prompt}\nDocument: {response}", prefill="so "
    )
    model = RewardModel.from_pretrained(checkpoint(form="none"), dtype="float32", device="cpu", question=question)
    from vlreward.model.processing import MediaTable

    conversation = model.conversation(Group(QUESTION, ["A cat."]), 0, MediaTable(), "here")
    from vlreward.model.packing import Column

    decoded = model.processor.tokenizer.decode(conversation.rows_TC[:, Column.ID])
    assert decoded.startswith(
        "<|im_start|>system\nJudge.<|im_end|>\n<|im_start|>user\nQuery: <|vision_start|><|image_pad|>"
    )
    assert decoded.endswith("What is it?\nDocument: A cat.<|im_end|>\n<|im_start|>assistant\nso ")


@pytest.mark.parametrize("form", ["value-head", "sequence-classification"])
@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen2_vl", "qwen3_vl"])
def test_saving_in_either_form_keeps_scores_and_weights(
    checkpoint: Checkpoint, tmp_path: Path, backbone: str, form: str
) -> None:
    model = RewardModel.from_pretrained(checkpoint(backbone=backbone), dtype="float32", device="cpu", max_pixels=60_000)
    group = Group(QUESTION, ["A cat.", "A dog.", ""])
    before = model.score_groups([group])
    model.save_pretrained(tmp_path / "out", form=form)
    again = RewardModel.from_pretrained(tmp_path / "out", dtype="float32", device="cpu")
    assert again.score_groups([group]) == before
    assert again.settings.max_pixels == 60_000
    for name, tensor in model.backbone.model.state_dict().items():
        assert torch.equal(tensor, again.backbone.model.state_dict()[name]), name


def test_saving_keeps_the_form_it_had(checkpoint: Checkpoint, tmp_path: Path) -> None:
    model = RewardModel.from_pretrained(checkpoint(form="sequence-classification"), dtype="float32", device="cpu")
    model.save_pretrained(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["Qwen2_5_VLForSequenceClassification"]
    assert config["num_labels"] == 1
    assert config["problem_type"] == "regression"
    assert "score.weight" in load_file(tmp_path / "out" / "model.safetensors")


def test_the_engine_wraps_the_model(model: RewardModel) -> None:
    engine = LocalEngine(model)
    assert isinstance(engine, Engine)
    rewards = engine.score([Group(QUESTION, ["A cat.", "A dog."], id="a"), Group("Hello", ["Hi."], id="b")])
    assert [reward.id for reward in rewards] == ["a", "b"]
    assert list(rewards[0].rewards) == pytest.approx(
        model.score_groups([Group(QUESTION, ["A cat.", "A dog."])])[0], abs=1e-4
    )
    engine.close()
    engine.close()


def edited(folder: Path, out: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of a checkpoint with other tensors in its weights."""
    shutil.copytree(folder, out)
    tensors = load_file(out / "model.safetensors")
    change(tensors)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


NAME = "model.layers.1.mlp.up_proj.weight"


def test_a_missing_tensor_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    broken = edited(checkpoint(), tmp_path / "m", lambda tensors: tensors.__delitem__(_full(tensors)))
    with pytest.raises(CheckpointError, match=r"tensor \S*layers\.1\.mlp\.up_proj\.weight is missing"):
        RewardModel.from_pretrained(broken)


def test_a_left_over_tensor_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    broken = edited(checkpoint(), tmp_path / "m", lambda tensors: tensors.update({"model.extra.weight": torch.ones(2)}))
    with pytest.raises(CheckpointError, match=r"extra\.weight is left over"):
        RewardModel.from_pretrained(broken)


def test_a_tensor_of_another_shape_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    broken = edited(checkpoint(), tmp_path / "m", lambda tensors: tensors.update({_full(tensors): torch.ones(3, 4)}))
    with pytest.raises(
        CheckpointError, match=r"layers\.1\.mlp\.up_proj\.weight has shape \(3, 4\), config.json asks for"
    ):
        RewardModel.from_pretrained(broken)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_tensor_that_is_not_finite_is_named(checkpoint: Checkpoint, tmp_path: Path, value: float) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[_full(tensors)][2, 3] = value

    broken = edited(checkpoint(), tmp_path / "m", spoil)
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj\.weight holds NaN or infinite values"):
        RewardModel.from_pretrained(broken)


def _full(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name in tensors if name.endswith(NAME.removeprefix("model.")) and "visual" not in name)


@pytest.mark.parametrize(
    ("remove", "problem"),
    [
        ("preprocessor_config.json", "the picture processor's settings are missing"),
        ("chat_template", "no chat template"),
        ("tokenizer", "tokenizer"),
        ("value_head.safetensors", "no reward head found; known forms"),
        ("config.json", "no config.json"),
    ],
)
def test_a_missing_file_is_named(checkpoint: Checkpoint, tmp_path: Path, remove: str, problem: str) -> None:
    broken = tmp_path / "m"
    shutil.copytree(checkpoint(), broken)
    for path in broken.glob(f"{remove}*"):
        path.unlink()
    if remove == "chat_template" and (broken / "tokenizer_config.json").is_file():
        config = json.loads((broken / "tokenizer_config.json").read_text())
        config.pop("chat_template", None)
        (broken / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=problem):
        RewardModel.from_pretrained(broken)


@pytest.mark.parametrize(
    ("file", "key", "value", "problem"),
    [
        ("preprocessor_config.json", "patch_size", 16, r"patch_size is 16, patch_size in config.json is 14"),
        ("preprocessor_config.json", "merge_size", "x", r"merge_size is 'x', spatial_merge_size in config.json is 2"),
        ("config.json", "image_token_id", 10**6, r"image_token_id 1000000 of config.json is no token of the tokenizer"),
    ],
)
def test_files_of_different_models_are_told(
    checkpoint: Checkpoint, tmp_path: Path, file: str, key: str, value: Any, problem: str
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(checkpoint(), folder)
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | {key: value}))
    with pytest.raises(CheckpointError, match=problem):
        RewardModel.from_pretrained(folder)


@pytest.mark.parametrize("device", ["nonsense", "meta", torch.device("meta"), "cuda:99"])
def test_a_device_that_is_not_there(checkpoint: Checkpoint, device: Any) -> None:
    with pytest.raises(ConfigError, match=r"^device '"):
        RewardModel.from_pretrained(checkpoint(), device=device)


def test_the_chat_template_may_be_in_any_of_its_places(checkpoint: Checkpoint, tmp_path: Path) -> None:
    expected = RewardModel.from_pretrained(checkpoint(), dtype="float32").score(answered("A cat."))
    template = (checkpoint() / "chat_template.jinja").read_text()
    for place in ("chat_template.json", "tokenizer_config.json"):
        folder = tmp_path / place
        shutil.copytree(checkpoint(), folder)
        (folder / "chat_template.jinja").unlink()
        config = json.loads((folder / place).read_text()) if (folder / place).is_file() else {}
        (folder / place).write_text(json.dumps(config | {"chat_template": template}))
        assert RewardModel.from_pretrained(folder, dtype="float32").score(answered("A cat.")) == expected


def test_an_array_is_a_picture(model: RewardModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    group = Group(ask({"type": "image", "image": pixels}, text("?")), ["a"])
    import PIL.Image

    same = Group(ask({"type": "image", "image": PIL.Image.fromarray(pixels)}, text("?")), ["a"])
    assert model.score_groups([group]) == model.score_groups([same])
