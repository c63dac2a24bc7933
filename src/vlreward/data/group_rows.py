"""Rows of a groups file: one prompt and its responses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from vlreward.errors import InputError
from vlreward.types import Group

from .parts import fill_sources, resolve_paths
from .rows import Row, known_values

GROUP_KEYS = ("id", "messages", "responses", "images", "videos", "task")


def row_to_group(row: Row, id: str, folder: Path, ignore: Collection[str] = ()) -> Group:
    """One row as a group; see `read_groups`."""
    values = known_values(row, GROUP_KEYS, ignore)
    for key in ("messages", "responses"):
        if key not in values:
            raise InputError(f"{row.where}: no {key!r}; a group needs 'messages' and 'responses'")
    messages, responses = _unwrap(values["messages"]), _unwrap(values["responses"])
    group = Group(messages, responses, id=id, task=values.get("task"), where=row.where)
    group = fill_sources(group, values.get("images"), values.get("videos"), row.where)
    return resolve_paths(group, folder, row.where)


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
