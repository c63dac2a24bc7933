"""The token-logit head: rows of the LM head, so that any VLM's yes minus no is a reward.

No tensor marks the form: it is asked for with a `Question`, or recorded in vlreward.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vlreward.errors import CheckpointError, ConfigError, UnsupportedError
from vlreward.model.backbone import BackboneSpec

from .folder import CheckpointFolder
from .form import HeadFiles, language_model_config
from .headers import TensorInfo, read_rows
from .metadata import METADATA, read_metadata
from .question import Question
from .tokenizer import read_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from vlreward.model.head import RewardHead

NAME = "token-logit"
SIGN = f"a question in {METADATA}"
LM_HEAD = "lm_head.weight"


def find(folder: CheckpointFolder) -> dict[str, TensorInfo]:
    """Nothing: the rows belong to the language model."""
    del folder
    return {}


def matches(folder: CheckpointFolder) -> bool:
    """Whether vlreward.json says that the head is read so."""
    return read_metadata(folder).form == NAME


def read(folder: CheckpointFolder) -> RewardHead:
    """The head that vlreward.json describes; see `Form.read`."""
    question = read_metadata(folder).question
    if question is None:
        raise CheckpointError(f"{folder.path / METADATA}: form {NAME} without a question")
    return ask(folder, question)


def ask(folder: CheckpointFolder, question: Question) -> RewardHead:
    """The head that reads ``question`` from the LM head: row of the positive token minus that of the negative, float32.

    Raises:
        CheckpointError: the folder has no LM head, or a row is not finite.
        ConfigError: a token is not a single token of the tokenizer.
    """
    import torch

    from vlreward.model.head import RewardHead

    info = lm_head(folder)
    tokens = [token for token in (question.positive, question.negative) if token is not None]
    ids = _token_ids(folder, tokens)
    for token, row in zip(tokens, ids, strict=True):
        if row >= info.shape[0]:
            raise CheckpointError(f"{info.file}: {info.name} has {info.shape[0]:,} rows, {token!r} is row {row:,}")
    rows_KD: Tensor = read_rows(info, ids).to(torch.float32)
    if not bool(torch.isfinite(rows_KD).all()):
        raise CheckpointError(f"{info.file}: {info.name} has values that are not finite in the rows of {tokens}")
    weight_1D = rows_KD[:1] if question.negative is None else rows_KD[:1] - rows_KD[1:]
    return RewardHead.linear(weight_1D, question=question)


def lm_head(folder: CheckpointFolder) -> TensorInfo:
    """The LM head (vocabulary, D): its own tensor, or the embeddings where the two are tied.

    Raises:
        CheckpointError: neither is there, or its shape is not the config's.
    """
    info = folder.tensors.get(LM_HEAD)
    if info is None:
        tied = folder.config.get("tie_word_embeddings") or folder.text_config.get("tie_word_embeddings")
        named = [item for name, item in folder.tensors.items() if name.endswith("embed_tokens.weight")]
        if not tied or len(named) != 1:
            raise CheckpointError(
                f"{folder.path}: no {LM_HEAD}, and it is not tied to the embeddings; no logits to read"
            )
        info = named[0]
    if len(info.shape) != 2 or info.shape[1] != folder.hidden_size:
        raise CheckpointError(f"{info.file}: {info.name} has shape {info.shape}, expected (_, {folder.hidden_size})")
    return info


def _token_ids(folder: CheckpointFolder, tokens: list[str]) -> list[int]:
    tokenizer = read_tokenizer(folder)
    ids = []
    for token in tokens:
        pieces = tokenizer.encode(token, add_special_tokens=False)
        if len(pieces) != 1:
            split = " + ".join(repr(tokenizer.decode([piece])) for piece in pieces) or "nothing"
            raise ConfigError(f"{folder.path}: {token!r} is not one token: it splits into {split}; choose another word")
        ids.append(pieces[0])
    return ids


def write(head: RewardHead) -> HeadFiles:
    """No tensors: the question goes to vlreward.json, the rows are the LM head's."""
    if head.question is None:
        raise UnsupportedError(f"the form {NAME} holds a question; this head ({head.describe()}) has none")
    return HeadFiles(notes=("no tensors are written for the head: it is read from the rows of the LM head",))


def configure(config: Mapping[str, Any], spec: BackboneSpec) -> dict[str, Any]:
    """config.json of the class with an LM head."""
    return language_model_config(config, spec)
