"""The tokenizer of a model folder."""

from __future__ import annotations

from typing import Any

from vlreward.errors import CheckpointError
from vlreward.model.backbone import quiet_transformers

from .folder import CheckpointFolder

_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")


def read_tokenizer(folder: CheckpointFolder) -> Any:
    """The folder's tokenizer, as transformers reads it.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    # Without files transformers makes an empty tokenizer, and says nothing.
    if not any((folder.path / file).is_file() for file in _FILES):
        raise CheckpointError(f"{folder.path}: no tokenizer; expected one of {', '.join(_FILES)}")
    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(folder.path, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the tokenizers library raises Exception itself
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{folder.path}: the tokenizer cannot be read: {reason}") from error
