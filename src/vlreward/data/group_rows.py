"""Rows of a groups file: one prompt and its responses."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlreward.errors import InputError
from vlreward.types import Group

from .parts import fill_sources, resolve_paths
from .rows import Row, known_values

GROUP_KEYS = ("id", "messages", "responses", "images", "videos", "task", "answer", "unfinished")


def row_to_group(row: Row, id: str, folder: Path, ignore: Collection[str] = ()) -> Group:
    """One row as a group; see `read_groups`."""
    values = known_values(row, GROUP_KEYS, ignore)
    for key in ("messages", "responses"):
        if key not in values:
            raise InputError(f"{row.where}: no {key!r}; a group needs 'messages' and 'responses'")
    messages, responses = _unwrap(values["messages"]), _unwrap(values["responses"])
    answer_key(row)
    unfinished_responses(row)
    group = Group(messages, responses, id=id, task=values.get("task"), where=row.where)
    group = fill_sources(group, values.get("images"), values.get("videos"), row.where)
    return resolve_paths(group, folder, row.where)


def answer_key(row: Row) -> str | None:
    """The right answer that a row names, None where it names none.

    Raises:
        InputError: it is not text.
    """
    key = row.data.get("answer")
    if key is not None and not isinstance(key, str):
        raise InputError(f"{row.where}: 'answer' must be a string, the right answer, got {key!r:.60}")
    return key


def unfinished_responses(row: Row) -> frozenset[int]:
    """Which of a row's responses were cut off at a limit of tokens, counted from 0.

    Raises:
        InputError: it is not a list of numbers of responses.
    """
    value, responses = row.data.get("unfinished"), row.data.get("responses")
    count = len(responses) if isinstance(responses, Sequence) else 0
    if value is None:
        return frozenset()
    if not isinstance(value, list) or any(type(i) is not int or not 0 <= i < count for i in value):
        raise InputError(
            f"{row.where}: 'unfinished' must be a list of numbers of responses, 0 to {count - 1}, got {value!r:.60}"
        )
    return frozenset(value)


def _unwrap(value: Any) -> Any:
    """Undo what `writing` does to messages in a table: there, plain text is one text part marked ``plain``."""
    if isinstance(value, list):
        return [_unwrap(item) for item in value]
    if not isinstance(value, Mapping) or "plain" not in value:
        return value
    content = value.get("content")
    if value["plain"] and isinstance(content, list) and len(content) == 1 and isinstance(content[0], Mapping):
        content = content[0].get("text")
    return {"role": value.get("role"), "content": content}
