"""The tokenizer and the chat template of a model folder."""

from __future__ import annotations

from typing import Any

from vlreward.errors import CheckpointError
from vlreward.model.backbone import quiet_transformers

from .folder import CheckpointFolder

_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")
_TEMPLATE_FILES = ("chat_template.json", "processor_config.json", "tokenizer_config.json")


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


def read_chat_template(folder: CheckpointFolder) -> tuple[str, str]:
    """The file that holds the chat template, newest place first as transformers reads it, and the template.

    Raises:
        CheckpointError: there is none, or a file cannot be read.
    """
    jinja = folder.path / "chat_template.jinja"
    if jinja.is_file():
        try:
            return jinja.name, jinja.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{jinja}: cannot be read: {error}") from error
    for name in _TEMPLATE_FILES:
        template = (folder.json(name) or {}).get("chat_template")
        if isinstance(template, list):  # several templates by name
            template = next((entry["template"] for entry in template if entry.get("name") == "default"), None)
        if isinstance(template, str):
            return name, template
    raise CheckpointError(f"{folder.path}: no chat template; add chat_template.jinja, as its base model has it")
