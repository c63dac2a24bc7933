from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vlreward.errors import CheckpointError, ConfigError, UnsupportedError
from vlreward.model.checkpoints import (
    FORMS,
    CheckpointFolder,
    Question,
    check_tensors,
    form_named,
    identify,
    read_head,
    reward_head,
    sequence_classification,
    token_logit,
    value_head,
)
from vlreward.model.checkpoints.names import compare_tensors
from vlreward.model.head import RewardHead

from .checkpoint_folders import Tensors, copy_folder, edit_json, edit_tensors, shard, to_torch_file

Get = Callable[..., Path]
SCORE, V_HEAD = "score.weight", "v_head.summary.weight"


@pytest.fixture
def folder(checkpoint: Get, tmp_path: Path) -> Path:
    """A value head."""
    return copy_folder(checkpoint(), tmp_path / "model")


@pytest.fixture
def classifier(checkpoint: Get, tmp_path: Path) -> Path:
    return copy_folder(checkpoint(form="sequence-classification"), tmp_path / "classifier")


@pytest.fixture
def plain(checkpoint: Get, tmp_path: Path) -> Path:
    """A vision-language model without a reward head."""
    return copy_folder(checkpoint(form="none"), tmp_path / "plain")


def read(path: Path, question: Question | None = None) -> RewardHead:
    return read_head(CheckpointFolder.open(path), question)


def refusal(path: Path, question: Question | None = None, kind: type[Exception] = CheckpointError) -> str:
    with pytest.raises(kind) as error:
        read(path, question)
    assert "\n" not in str(error.value)
    return str(error.value)


def write_layers(path: Path, *sizes: int, metadata: dict[str, str] | None = None) -> Tensors:
    """reward_head.safetensors of these layer sizes."""
    tensors = {}
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        tensors[f"layers.{i}.weight"] = torch.randn(outputs, inputs)
        tensors[f"layers.{i}.bias"] = torch.randn(outputs)
    save_file(tensors, path / "reward_head.safetensors", metadata=metadata)
    return tensors


def value_head_tensors(folder: Path) -> Tensors:
    return load_file(folder / "value_head.safetensors")


# Value head.


def assert_is_value_head(path: Path, tensors: Tensors) -> None:
    head = read(path).tensors()
    assert identify(CheckpointFolder.open(path)) is value_head
    assert torch.equal(head["layers.0.weight"], tensors["v_head.summary.weight"])
    assert torch.equal(head["layers.0.bias"], tensors["v_head.summary.bias"])


def test_a_value_head_beside_the_model(folder: Path):
    assert_is_value_head(folder, value_head_tensors(folder))


def test_a_value_head_in_a_torch_file(folder: Path):
    tensors = value_head_tensors(folder)
    to_torch_file(folder, "value_head.safetensors", "value_head.bin")
    assert_is_value_head(folder, tensors)


@pytest.mark.parametrize("suffix", ["safetensors", "bin", "whole"])
def test_a_value_head_in_the_shards(folder: Path, suffix: str):
    tensors = value_head_tensors(folder)
    (folder / "value_head.safetensors").unlink()
    edit_tensors(folder / "model.safetensors", lambda model: model.update(tensors))
    if suffix != "whole":
        shard(folder, 2, suffix)
    assert_is_value_head(folder, tensors)
    check_tensors(CheckpointFolder.open(folder))


def test_a_value_head_without_bias_in_bfloat16(folder: Path):
    weight = value_head_tensors(folder)[V_HEAD].bfloat16()
    save_file({V_HEAD: weight}, folder / "value_head.safetensors")
    head = read(folder)
    assert not head.has_bias
    assert torch.equal(head.tensors()["layers.0.weight"], weight.float())


def test_two_value_heads(folder: Path):
    torch.save(value_head_tensors(folder), folder / "value_head.bin")
    assert refusal(folder) == (
        f"{folder}: value-head twice, in value_head.safetensors and in value_head.bin; remove the stale one"
    )
    (folder / "value_head.bin").unlink()
    edit_tensors(folder / "model.safetensors", lambda model: model.update(value_head_tensors(folder)))
    assert refusal(folder) == (
        f"{folder}: value-head twice, in value_head.safetensors and in the model's weights; remove the stale one"
    )


def test_a_value_head_file_of_other_tensors(folder: Path):
    path = folder / "value_head.safetensors"
    edit_tensors(path, lambda tensors: tensors.update({"v_head.extra": torch.zeros(1)}))
    assert refusal(folder) == f"{path}: expected v_head.summary.weight and v_head.summary.bias, found v_head.extra"
    save_file({}, path)
    assert refusal(folder) == f"{path}: expected v_head.summary.weight and v_head.summary.bias, found none"


def test_a_value_head_without_weight(folder: Path):
    path = folder / "value_head.safetensors"
    edit_tensors(path, lambda tensors: tensors.pop(V_HEAD))
    assert refusal(folder) == f"{path}: v_head.summary.bias without v_head.summary.weight; the head is incomplete"


def test_a_truncated_value_head(folder: Path):
    path = folder / "value_head.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    assert refusal(folder).startswith(f"{path}: its header promises ")
    path.write_bytes(b"")
    assert refusal(folder) == f"{path}: zero bytes; copy or download the file again"


# Sequence classification.


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_sequence_classifier(classifier: Path, sharded: bool, bias: bool):
    expected = load_file(classifier / "model.safetensors")[SCORE]
    if bias:
        edit_tensors(classifier / "model.safetensors", lambda model: model.update({"score.bias": torch.ones(1)}))
    if sharded:
        shard(classifier)
    opened = CheckpointFolder.open(classifier)
    assert identify(opened) is sequence_classification
    head = read_head(opened)
    assert torch.equal(head.tensors()["layers.0.weight"], expected)
    assert head.has_bias == bias
    check_tensors(opened)


def test_a_classifier_of_several_labels(classifier: Path):
    edit_tensors(classifier / "model.safetensors", lambda model: model.update({SCORE: torch.zeros(3, 48)}))
    assert refusal(classifier) == (
        f"{classifier}/model.safetensors: score.weight is a classifier of 3 labels; a reward has one"
    )


@pytest.mark.parametrize("labels", [{"num_labels": 2}, {"id2label": {"0": "good", "1": "bad"}}])
def test_a_config_of_several_labels(classifier: Path, labels: dict[str, object]):
    edit_json(classifier / "config.json", lambda config: config.pop("num_labels", None) or config.update(labels))
    assert refusal(classifier) == f"{classifier}/config.json: num_labels is 2; a reward head has 1"


def test_a_score_without_weight(classifier: Path):
    path = classifier / "model.safetensors"
    edit_tensors(path, lambda model: model.pop(SCORE) is None or model.update({"score.bias": torch.ones(1)}))
    assert refusal(classifier) == f"{path}: score.bias without score.weight; the head is incomplete"


# Heads of any form: shape, dtype, finite values.

OTHER = "the head is of another model, or config.json has another hidden_size"


@pytest.mark.parametrize("shape", [(1, 64), (48,), (48, 1), (1, 48, 1)])
def test_a_head_of_another_hidden_size(folder: Path, shape: tuple[int, ...]):
    path = folder / "value_head.safetensors"
    save_file({V_HEAD: torch.zeros(shape)}, path)
    assert refusal(folder) == f"{path}: {V_HEAD} has shape {shape}, expected (1, 48); {OTHER}"


def test_a_score_of_another_hidden_size(classifier: Path):
    path = classifier / "model.safetensors"
    edit_tensors(path, lambda model: model.update({SCORE: torch.zeros(1, 64)}))
    assert refusal(classifier) == f"{path}: score.weight has shape (1, 64), expected (1, 48); {OTHER}"


def test_a_bias_of_another_shape(folder: Path):
    path = folder / "value_head.safetensors"
    edit_tensors(path, lambda tensors: tensors.update({"v_head.summary.bias": torch.zeros(2)}))
    assert refusal(folder) == f"{path}: v_head.summary.bias has shape (2,), expected (1,); {OTHER}"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [V_HEAD, "v_head.summary.bias"])
def test_a_head_that_is_not_finite(folder: Path, name: str, value: float):
    path = folder / "value_head.safetensors"
    edit_tensors(path, lambda tensors: tensors[name].view(-1)[:1].fill_(value))
    assert refusal(folder) == f"{path}: {name} has 1 values that are not finite; the head is broken"


def test_a_head_of_whole_numbers(folder: Path):
    path = folder / "value_head.safetensors"
    save_file({V_HEAD: torch.zeros(1, 48, dtype=torch.int8)}, path)
    assert refusal(folder) == f"{path}: {V_HEAD} is int8, expected floating point numbers"


# Our own form.


@pytest.mark.parametrize("sizes", [(48, 1), (48, 24, 1), (48, 8, 4, 1)])
def test_a_head_of_layers(plain: Path, sizes: tuple[int, ...]):
    tensors = write_layers(plain, *sizes, metadata={"activation": "silu"})
    opened = CheckpointFolder.open(plain)
    assert identify(opened) is reward_head
    head = read_head(opened)
    assert head.sizes == sizes
    assert all(torch.equal(head.tensors()[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("layers.0.weight"), "no layers.0.weight; the head is incomplete"),
        (
            lambda t: t.update({"layers.1.weight": torch.zeros(1, 9)}),
            f"layers.1.weight has shape (1, 9), expected (1, 24); {OTHER}",
        ),
        (
            lambda t: t.update({"layers.1.weight": torch.zeros(2, 24)}),
            f"layers.1.weight has shape (2, 24), expected (1, 24); {OTHER}",
        ),
        (
            lambda t: t.update({"layers.0.weight": torch.zeros(24, 64)}),
            f"layers.0.weight has shape (24, 64), expected (24, 48); {OTHER}",
        ),
        (
            lambda t: t.update({"layers.0.weight": torch.tensor(1.0)}),
            f"layers.0.weight has shape (), expected (1, 48); {OTHER}",
        ),
        (lambda t: t.update({"extra": torch.zeros(1)}), "expected layers.0.weight and so on, found extra"),
        (lambda t: t.clear(), "expected layers.0.weight and so on, found no tensors"),
        (
            lambda t: t["layers.1.bias"].fill_(torch.nan),
            "layers.1.bias has 1 values that are not finite; the head is broken",
        ),
    ],
)
def test_layers_that_cannot_be_read(plain: Path, change: Callable[[Tensors], object], message: str):
    write_layers(plain, 48, 24, 1)
    edit_tensors(plain / "reward_head.safetensors", change)
    assert refusal(plain) == f"{plain}/reward_head.safetensors: {message}"


def test_layers_with_an_unknown_activation(plain: Path):
    write_layers(plain, 48, 24, 1, metadata={"activation": "gelu"})
    assert refusal(plain) == (f"{plain}/reward_head.safetensors: reward head: unknown activation 'gelu'; known: silu")


# Token logits.

QUESTION = Question(positive="Yes", negative="No")


def ask(plain: Path, question: Question) -> RewardHead:
    """Read with words that the small tokenizer knows as one token each."""
    return read(plain, question)


@pytest.fixture
def words(plain: Path) -> tuple[str, str]:
    """Two words that are single tokens of the small tokenizer, and are letters."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(plain)
    single = [w for w in ("A", "B", "a", "b", "Yes", "No") if len(tokenizer.encode(w)) == 1]
    return single[0], single[1]


def lm_head_rows(plain: Path, *tokens: str, name: str = "lm_head.weight") -> torch.Tensor:
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(plain).convert_tokens_to_ids(list(tokens))
    return CheckpointFolder.open(plain).read(name)[ids].float()


def test_a_token_logit_head_is_the_difference_of_two_rows(plain: Path, words: tuple[str, str]):
    question = Question(positive=words[0], negative=words[1])
    rows_2D = lm_head_rows(plain, *words)
    head = read(plain, question)
    assert torch.equal(head.tensors()["layers.0.weight"], rows_2D[:1] - rows_2D[1:])
    assert head.question == question
    assert not head.has_bias
    hidden_ND = torch.randn(3, 48)
    logits_N2 = hidden_ND @ rows_2D.T
    torch.testing.assert_close(head(hidden_ND), logits_N2[:, 0] - logits_N2[:, 1])


def test_one_token_alone(plain: Path, words: tuple[str, str]):
    head = read(plain, Question(positive=words[0], negative=None))
    assert torch.equal(head.tensors()["layers.0.weight"], lm_head_rows(plain, words[0]))


def test_rows_of_bfloat16_are_subtracted_in_float32(plain: Path, words: tuple[str, str]):
    edit_tensors(plain / "model.safetensors", lambda model: model.update({k: v.bfloat16() for k, v in model.items()}))
    rows_2D = lm_head_rows(plain, *words)
    head = read(plain, Question(positive=words[0], negative=words[1]))
    assert torch.equal(head.tensors()["layers.0.weight"], rows_2D[:1] - rows_2D[1:])


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_tied_embeddings_are_the_lm_head(plain: Path, words: tuple[str, str], suffix: str):
    edit_tensors(plain / "model.safetensors", lambda model: model.pop("lm_head.weight"))
    question = Question(positive=words[0], negative=None)
    assert refusal(plain, question) == (
        f"{plain}: no lm_head.weight, and it is not tied to the embeddings; no logits to read"
    )
    edit_json(plain / "config.json", lambda config: config.update(tie_word_embeddings=True))
    shard(plain, 2, suffix)
    name = next(name for name in CheckpointFolder.open(plain).tensors if "embed_tokens" in name)
    assert torch.equal(read(plain, question).tensors()["layers.0.weight"], lm_head_rows(plain, words[0], name=name))


def test_a_token_logit_head_is_never_taken_silently(plain: Path):
    assert refusal(plain) == (
        f"{plain}: no reward head found; known forms: score.weight in model.safetensors, value_head.safetensors,"
        " reward_head.safetensors; a model without one can be asked a question (token-logit)"
    )


def test_a_question_in_the_metadata(plain: Path, words: tuple[str, str]):
    question = Question(positive=words[0], negative=words[1], prefill="x")
    saved = {"form": "token-logit", "question": question.to_dict()}
    (plain / "vlreward.json").write_text(json.dumps(saved))
    opened = CheckpointFolder.open(plain)
    assert identify(opened) is token_logit
    assert read_head(opened).question == question
    assert identify(opened, question) is token_logit
    (plain / "vlreward.json").write_text(json.dumps({"form": "token-logit"}))
    assert refusal(plain) == f"{plain}/vlreward.json: form token-logit without a question"


def test_a_question_is_asked_whatever_other_head_there_is(folder: Path, words: tuple[str, str]):
    question = Question(positive=words[0], negative=words[1])
    assert read(folder, question).question == question
    assert identify(CheckpointFolder.open(folder), question) is token_logit


def test_a_question_head_in_a_published_form_keeps_its_question(classifier: Path):
    question = Question(template="{prompt} {response}")
    (classifier / "vlreward.json").write_text(
        json.dumps({"form": "sequence-classification", "question": question.to_dict()})
    )
    opened = CheckpointFolder.open(classifier)
    assert read_head(opened).question == question
    assert identify(opened, question) is sequence_classification


def test_a_word_of_several_tokens(plain: Path):
    message = refusal(plain, Question(positive="unquestionably", negative=None), ConfigError)
    assert message.startswith(f"{plain}: 'unquestionably' is not one token: it splits into 'u")
    assert message.endswith("; choose another word")


def test_a_token_beyond_the_lm_head(plain: Path, words: tuple[str, str]):
    path = plain / "model.safetensors"
    edit_tensors(path, lambda model: model.update({"lm_head.weight": model["lm_head.weight"][:3].clone()}))
    message = refusal(plain, Question(positive=words[0], negative=None))
    assert message.startswith(f"{path}: lm_head.weight has 3 rows, '{words[0]}' is row ")


def test_an_lm_head_of_another_hidden_size(plain: Path, words: tuple[str, str]):
    path = plain / "model.safetensors"
    edit_tensors(path, lambda model: model.update({"lm_head.weight": torch.zeros(9, 9)}))
    message = refusal(plain, Question(positive=words[0], negative=None))
    assert message == f"{path}: lm_head.weight has shape (9, 9), expected (_, 48)"


def test_an_lm_head_that_is_not_finite(plain: Path, words: tuple[str, str]):
    path = plain / "model.safetensors"
    edit_tensors(path, lambda model: model["lm_head.weight"].fill_(torch.inf))
    message = refusal(plain, Question(positive=words[0], negative=None))
    assert message == f"{path}: lm_head.weight has values that are not finite in the rows of ['{words[0]}']"


def test_a_model_without_tokenizer(plain: Path):
    for file in plain.glob("*token*"):
        file.unlink()
    message = refusal(plain, Question())
    assert message == f"{plain}: no tokenizer; expected one of tokenizer.json, vocab.json, tokenizer.model"
    (plain / "tokenizer.json").write_text("{")
    assert refusal(plain, Question()).startswith(f"{plain}: the tokenizer cannot be read: ")


# Which form it is.


def test_two_heads(folder: Path):
    edit_tensors(folder / "model.safetensors", lambda model: model.update({SCORE: torch.zeros(1, 48)}))
    assert refusal(folder) == (
        f"{folder}: 2 reward heads found: sequence-classification (score.weight in model.safetensors) and value-head"
        " (value_head.safetensors); remove all but one"
    )
    write_layers(folder, 48, 1)
    assert refusal(folder).startswith(f"{folder}: 3 reward heads found: ")


def test_another_head_than_the_metadata_says(folder: Path):
    (folder / "vlreward.json").write_text('{"form": "sequence-classification"}')
    assert refusal(folder) == (
        f"{folder}: vlreward.json says that the head is sequence-classification, found value-head; remove the stale one"
    )


def test_forms_by_name():
    assert [form_named(form.NAME) for form in FORMS] == list(FORMS)
    with pytest.raises(ConfigError, match=r"form: unknown key 'value_head'; did you mean 'value-head'\?"):
        form_named("value_head")


@pytest.mark.parametrize("form", [value_head, sequence_classification])
def test_published_forms_hold_one_layer(form: object):
    head = RewardHead([(torch.zeros(4, 8), None), (torch.zeros(1, 4), None)])
    with pytest.raises(UnsupportedError, match="one linear layer, this head has 2; write the form reward-head instead"):
        form.write(head)  # type: ignore[attr-defined]


def test_the_token_logit_form_holds_a_question():
    message = r"the form token-logit holds a question; this head \(linear 8 -> 1, no bias\) has none"
    with pytest.raises(UnsupportedError, match=message):
        token_logit.write(RewardHead.linear(torch.zeros(1, 8)))


# All other tensors.


@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen2_vl", "qwen3_vl"])
@pytest.mark.parametrize("form", ["value-head", "sequence-classification", "none"])
def test_every_tensor_is_accounted_for(checkpoint: Get, backbone: str, form: str):
    report = compare_tensors(CheckpointFolder.open(checkpoint(backbone, form)))
    assert (report.missing, report.left_over, report.misshapen) == ((), (), ())


@pytest.mark.parametrize("names", ["published", "new", "base"])
def test_tensors_of_all_three_namings(folder: Path, names: str):
    def rename(name: str) -> str:
        if name == "lm_head.weight":
            return name
        bare = name.removeprefix("model.")
        text = not bare.startswith("visual.")
        if names == "published":
            return name
        return ("model." if names == "new" else "") + ("language_model." if text else "") + bare

    edit_tensors(folder / "model.safetensors", lambda m: [m.update({rename(name): m.pop(name)}) for name in list(m)])
    check_tensors(CheckpointFolder.open(folder))


def test_tables_that_old_files_hold_are_no_matter(folder: Path):
    extra = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.zeros(6) for i in range(2)}
    edit_tensors(folder / "model.safetensors", lambda model: model.update(extra))
    check_tensors(CheckpointFolder.open(folder))


NORM = "model.norm.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m.pop(NORM),
            "{folder}: tensor language_model.norm.weight is missing; the checkpoint is incomplete",
        ),
        (
            lambda m: [m.pop(name) for name in list(m) if "layers.1." in name],
            "{folder}: tensor language_model.layers.1.self_attn.q_proj.weight is missing (and 11 more);"
            " the checkpoint is incomplete",
        ),
        (
            lambda m: m.update({NORM: torch.ones(64)}),
            "{folder}/model.safetensors: model.norm.weight has shape (64,), config.json asks for (48,);"
            " weights and config are of different models",
        ),
        (
            lambda m: m.update({"classifier.weight": torch.ones(1, 48)}),
            "{folder}/model.safetensors: tensor classifier.weight is left over: no part of a qwen2_5_vl model or of a"
            " known reward head has that name",
        ),
        (
            lambda m: m.update({f"model.layers.{i}.extra": torch.ones(1) for i in (0, 1)}),
            "{folder}/model.safetensors: tensor model.layers.0.extra is left over (and 1 more): no part of a qwen2_5_vl"
            " model or of a known reward head has that name",
        ),
    ],
)
def test_tensors_that_do_not_fit(folder: Path, change: Callable[[Tensors], object], message: str):
    edit_tensors(folder / "model.safetensors", change)
    with pytest.raises(CheckpointError) as error:
        check_tensors(CheckpointFolder.open(folder))
    assert str(error.value) == message.format(folder=folder)


def test_a_tensor_under_two_names_is_left_over(folder: Path):
    def add(model: Tensors) -> None:
        model["model.language_model.norm.weight"] = model[NORM].clone()

    edit_tensors(folder / "model.safetensors", add)
    assert len(compare_tensors(CheckpointFolder.open(folder)).left_over) == 1


def test_a_config_that_no_model_can_be_built_from(folder: Path):
    edit_json(folder / "config.json", lambda config: config["text_config"].update(num_hidden_layers="three"))
    with pytest.raises(CheckpointError) as error:
        check_tensors(CheckpointFolder.open(folder))
    assert str(error.value).startswith(f"{folder}/config.json: no model can be built from it: ")
    assert "\n" not in str(error.value)
