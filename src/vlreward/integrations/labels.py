"""The prompt behind an answer, for trainers that hand over one string of the data set with it.

That string is then a JSON object: the prompt, or the ``id`` of a row in a file of prompts, and the answer key::

    {"prompt": "<image>How many cats?", "images": ["cats.png"], "answer": "2"}
    {"id": "17", "answer": "2"}
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlreward.data.parts import resolve_paths
from vlreward.data.rows import read_rows
from vlreward.errors import InputError, describe_unknown
from vlreward.types import Group, Message

from .samples import prompt_of

LABEL_KEYS = ("id", "messages", "prompt", "images", "videos", "answer")


@dataclass(frozen=True, kw_only=True)
class Label:
    """What goes with an answer."""

    prompt: tuple[Message, ...]
    """The conversation before it, pictures in place."""
    answer: Any = None
    """The answer key, where there is one."""


def read_label(value: Any, prompts: Mapping[str, Label], where: str) -> Label:
    """What a label says.

    Args:
        value: a JSON object, or one as text. ``messages`` or ``prompt`` hold messages or text, in which ``<image>`` and
            ``<video>`` stand for what ``images`` and ``videos`` list; ``id`` names one of ``prompts`` instead.
        prompts: see `read_prompts`.
        where: starts every error message.

    Raises:
        InputError: it is not of this form, or there is no such prompt.
    """
    values = _object(value, where)
    for key in values:
        if key not in LABEL_KEYS:
            raise InputError(f"{where}: {describe_unknown(key, LABEL_KEYS)}")
    if "messages" in values or "prompt" in values:
        return _inline(values, where)
    if "id" not in values:
        raise InputError(f"{where}: neither 'prompt', 'messages' nor 'id', so nothing says what was asked")
    name = str(values["id"])
    if name not in prompts:
        known = f"none of the {len(prompts)} prompts" if prompts else "no file of prompts is given, so none"
        raise InputError(f"{where}: {known} has the id {name!r}")
    return Label(prompt=prompts[name].prompt, answer=values.get("answer", prompts[name].answer))


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise InputError(f"{where}: expected a JSON object with the prompt or its id, got {value!r:.60}") from None
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: expected a JSON object with the prompt or its id, got {value!r:.60}")
    return {key: item for key, item in value.items() if item is not None}


def _inline(values: Mapping[str, Any], where: str) -> Label:
    if "messages" in values and "prompt" in values:
        raise InputError(f"{where}: both 'messages' and 'prompt'; give one of them")
    messages = values.get("messages", values.get("prompt"))
    prompt = prompt_of(messages, images=values.get("images"), videos=values.get("videos"), marks=True, where=where)
    return Label(prompt=prompt, answer=values.get("answer"))


def read_prompts(path: str | os.PathLike[str]) -> dict[str, Label]:
    """Read a file of prompts by their ids.

    Args:
        path: a file that `vlreward.data.rows.read_rows` knows. Its rows have an ``id`` and what `read_label` knows of;
            other keys are passed over. Relative paths start from the file's folder.

    Raises:
        InputError: a row is not of this form, or two have the same id; the message starts with the file and line.
    """
    prompts: dict[str, Label] = {}
    for row in read_rows(Path(path)):
        values = {key: row.data[key] for key in LABEL_KEYS if row.data.get(key) is not None}
        if "id" not in values or not ("messages" in values or "prompt" in values):
            raise InputError(f"{row.where}: a prompt needs 'id', and 'messages' or 'prompt'")
        name = str(values["id"])
        if name in prompts:
            raise InputError(f"{row.where}: a second row with the id {name!r}")
        label = _inline(values, row.where)
        # Paths are resolved in groups, which have a response.
        group = resolve_paths(Group(label.prompt, [""]), Path(path).parent, row.where)
        prompts[name] = Label(prompt=group.messages, answer=label.answer)
    return prompts
