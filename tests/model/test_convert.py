from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from vlreward.errors import CheckpointError, ConfigError, UnsupportedError
from vlreward.model import convert as module
from vlreward.model.checkpoints import CheckpointFolder, Question, read_head
from vlreward.model.convert import convert, probe_groups
from vlreward.model.reward_model import RewardModel

from .checkpoint_folders import copy_folder, edit_tensors

Get = Callable[..., Path]
BACKBONES = ("qwen2_5_vl", "qwen2_vl", "qwen3_vl")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scores(path: Path, question: Question | None = None) -> list[list[float]]:
    model = RewardModel.from_pretrained(path, dtype="float32", device="cpu", question=question)
    return model.score_groups(probe_groups())


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    opened = CheckpointFolder.open(path)
    return {name: opened.read(name) for name in opened.tensors}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_there_and_back_with_the_proof(checkpoint: Get, tmp_path: Path, backbone: str):
    source = checkpoint(backbone)
    there = convert(source, "sequence-classification", tmp_path / "there")
    assert (there.form_before, there.form, there.head) == (
        "value-head",
        "sequence-classification",
        "linear 48 -> 1, with bias",
    )
    assert (there.probes, there.max_difference, there.proof_dtype) == (9, 0.0, "float32")
    back = convert(tmp_path / "there", "value-head", tmp_path / "back")
    assert (back.form_before, back.form, back.max_difference) == ("sequence-classification", "value-head", 0.0)
    assert scores(tmp_path / "back") == scores(source)


def test_the_probes_tell_models_apart(checkpoint: Get):
    rewards = scores(checkpoint())
    flat = [reward for group in rewards for reward in group]
    assert len(set(flat)) == len(flat) == 9


def test_without_the_proof_nothing_is_loaded(checkpoint: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(RewardModel, "from_pretrained", None)
    done = convert(checkpoint(), "reward-head", tmp_path / "out", prove=False)
    assert (done.probes, done.max_difference, done.proof_dtype) == (0, None, None)
    assert json.loads(json.dumps(done.to_dict()))["form"] == "reward-head"


@pytest.mark.parametrize("moved", [1e-3, float("nan")])
def test_scores_that_moved_are_an_error_and_nothing_is_written(
    checkpoint: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: float
):
    answers = iter([[1.0, 2.0], [1.0, 2.0 + moved]])
    monkeypatch.setattr(module, "_scores", lambda *_: next(answers))
    source = checkpoint()
    with pytest.raises(CheckpointError) as error:
        convert(source, "sequence-classification", tmp_path / "out")
    assert str(error.value) == (
        f"{source}: converted scores differ by up to {abs(moved):.3g}, more than 1e-05; nothing was written; please"
        " report this"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_target_with_something_in_it_is_refused_before_anything_is_read(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match="not empty; name another folder, or overwrite it"):
        convert("./nowhere", "value-head", tmp_path)


def test_a_source_with_tensors_missing_is_refused(checkpoint: Get, tmp_path: Path):
    source = copy_folder(checkpoint(), tmp_path / "model")
    edit_tensors(source / "model.safetensors", lambda model: model.pop("model.norm.weight"))
    with pytest.raises(CheckpointError, match=r"tensor language_model.norm.weight is missing"):
        convert(source, "sequence-classification", tmp_path / "out")


def test_a_head_that_the_form_cannot_hold(checkpoint: Get, tmp_path: Path):
    source = copy_folder(checkpoint(form="none"), tmp_path / "model")
    save_file(
        {"layers.0.weight": torch.ones(8, 48), "layers.1.weight": torch.ones(1, 8)}, source / "reward_head.safetensors"
    )
    with pytest.raises(UnsupportedError, match=r"a sequence classifier's score is one linear layer, this head has 2"):
        convert(source, "sequence-classification", tmp_path / "out")
    assert not (tmp_path / "out").exists()


QUESTION = Question(positive="?", negative="!", template="{prompt}\nAnswer: {response}\nRight", prefill=" ")


def test_a_plain_model_with_a_question_becomes_a_reward_model_of_any_form(checkpoint: Get, tmp_path: Path):
    source = checkpoint(form="none")
    expected = scores(source, QUESTION)
    done = convert(source, "token-logit", tmp_path / "token-logit", question=QUESTION)
    assert (done.form_before, done.max_difference) == ("token-logit", 0.0)
    for form in ("sequence-classification", "value-head", "reward-head"):
        done = convert(tmp_path / "token-logit", form, tmp_path / form)
        assert done.max_difference == 0.0
        assert scores(tmp_path / form) == expected
    assert len({score for group in expected for score in group}) == 9


def test_a_head_that_a_question_replaces_is_named(checkpoint: Get, tmp_path: Path):
    done = convert(checkpoint(), "token-logit", tmp_path / "out", question=QUESTION, prove=False)
    assert done.notes[0] == "the source's own head (value-head) is left out: the question was asked instead"
    assert read_head(CheckpointFolder.open(tmp_path / "out")).question == QUESTION


def test_in_place(checkpoint: Get, tmp_path: Path):
    source = copy_folder(checkpoint(), tmp_path / "model")
    expected = scores(source)
    done = convert(source, "sequence-classification", source, overwrite=True)
    assert done.form_before == "value-head"
    assert scores(source) == expected


def test_what_save_pretrained_writes_scores_the_same(checkpoint: Get, tmp_path: Path):
    source = checkpoint()
    model = RewardModel.from_pretrained(source, dtype="float32", device="cpu")
    expected = model.score_groups(probe_groups())
    for form in (None, "sequence-classification", "reward-head"):
        model.save_pretrained(tmp_path / str(form), form=form)
        assert scores(tmp_path / str(form)) == expected
        assert tensors_of(tmp_path / str(form)).keys() >= tensors_of(source).keys()


# What the loaders of other tools make of it.


def load_as_classifier(path: Path, backbone: str) -> tuple[Any, dict[str, Any]]:
    """A sequence classifier as ms-swift and others make it: transformers' generic class over the backbone."""
    import transformers
    from transformers.modeling_layers import GenericForSequenceClassification

    name = {"qwen2_5_vl": "Qwen2_5_VL", "qwen2_vl": "Qwen2VL", "qwen3_vl": "Qwen3VL"}[backbone]
    base = getattr(transformers, f"{name}PreTrainedModel")
    made = type(f"{name}ForSequenceClassification", (GenericForSequenceClassification, base), {})
    assert made.__name__ in json.loads((path / "config.json").read_text())["architectures"]
    # transformers renames the released names for its own classes; a class made elsewhere has to say how.
    mapping = {r"^visual": "model.visual", r"^model(?!\.(language_model|visual))": "model.language_model"}
    options = {"output_loading_info": True, "dtype": torch.float32, "key_mapping": mapping}
    return made.from_pretrained(path, **options)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_transformers_generic_classifier_loads_the_classifier_form(checkpoint: Get, tmp_path: Path, backbone: str):
    source = checkpoint(backbone)
    convert(source, "sequence-classification", tmp_path / "out", prove=False)
    model, info = load_as_classifier(tmp_path / "out", backbone)
    assert not info["missing_keys"]
    assert set(info["unexpected_keys"]) == {"lm_head.weight", "score.bias"}
    ours = RewardModel.from_pretrained(source, dtype="float32", device="cpu")
    messages = [{"role": "user", "content": "What is 17 + 25?"}, {"role": "assistant", "content": "It is 42."}]
    text = ours.processor.tokenizer.apply_chat_template(messages, tokenize=False)
    ids = ours.processor.tokenizer(text, return_tensors="pt").input_ids
    model.config.get_text_config().pad_token_id = None
    with torch.inference_mode():
        theirs = model(input_ids=ids).logits.item()
    bias = read_head(CheckpointFolder.open(source)).tensors()["layers.0.bias"].item()
    # The class has no bias: all its scores are shifted by ours. Measured: 2e-6.
    assert theirs + bias == pytest.approx(ours.score(messages), abs=2e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_transformers_language_model_loads_the_value_head_form(checkpoint: Get, tmp_path: Path, backbone: str):
    from transformers import AutoModelForImageTextToText

    model = RewardModel.from_pretrained(checkpoint(backbone), dtype="float32", device="cpu")
    model.save_pretrained(tmp_path / "out", form="value-head")
    _, info = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


# The checkpoints of other tools.


@pytest.mark.shared
@pytest.mark.parametrize("name", ["skywork", "llamafactory", "ms-swift"])
def test_golden_checkpoints_there_and_back(shared: Path, tmp_path: Path, name: str):
    source, there, back = shared / "golden" / name / "checkpoint", tmp_path / "there", tmp_path / "back"
    convert(source, "sequence-classification", there, prove=False)
    convert(there, "value-head", back, prove=False)
    assert scores(source) == scores(there) == scores(back)
    before, after = tensors_of(source), tensors_of(back)
    if name == "ms-swift":
        convert(back, "sequence-classification", tmp_path / "there again", prove=False)
        assert tensors_of(tmp_path / "there again").keys() == before.keys()
        del before["score.weight"]
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key].view(torch.uint8), after[key].view(torch.uint8)) for key in before)
    if name != "ms-swift":
        heads = [load_file(path / "value_head.safetensors") for path in (source, back)]
        assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])
        configs = [json.loads((path / "config.json").read_text()) for path in (source, back)]
        assert configs[0] == configs[1]
