"""Rows for groups: computed in chunks, with a fault in one group told as that group's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import IO, Any, Protocol, TypeAlias

from vlreward.data.groups import GroupRow
from vlreward.data.writing import json_line
from vlreward.errors import EngineError, InputError, ScoreError, UnsupportedError
from vlreward.types import Group

Row: TypeAlias = dict[str, Any]

# What can be the fault of one group. A broken engine or checkpoint is not, and stops a run that skips errors too.
_ROW_ERRORS = (InputError, ScoreError, UnsupportedError)


class Model(Protocol):
    """Something that computes rows, loaded only when there are rows to compute."""

    resolved: Mapping[str, Any]
    """Its settings as they came out."""

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        """One row per group."""
        ...


def write_rows(
    items: Iterable[GroupRow], model: Model, file: IO[bytes], *, chunk: int = 32, skip_errors: bool = False
) -> None:
    """Compute the rows of items and write them as they come; what an interruption leaves cannot be gone on with.

    Raises:
        InputError: a row is wrong, and errors are not skipped; the rows before its chunk are written.
    """
    items = iter(items)
    while step := list(islice(items, chunk)):
        rows = compute(step, model, skip_errors=skip_errors)
        file.writelines(json_line(row, item.where) for item, row in zip(step, rows, strict=True))
        file.flush()


def compute(chunk: Sequence[GroupRow], model: Model, *, skip_errors: bool) -> list[Row]:
    """The rows of a chunk; where one group spoils it, each group alone, so that the fault has a line."""
    groups = [item.content for item in chunk if isinstance(item.content, Group)]
    try:
        computed = iter(_rows(model, groups))
    except _ROW_ERRORS:
        return [_compute_alone(item, model, skip_errors=skip_errors) for item in chunk]
    return [
        next(computed) if isinstance(item.content, Group) else _unread(item.content, skip_errors=skip_errors)
        for item in chunk
    ]


def _compute_alone(item: GroupRow, model: Model, *, skip_errors: bool) -> Row:
    if not isinstance(item.content, Group):
        return _unread(item.content, skip_errors=skip_errors)
    try:
        return _rows(model, [item.content])[0]
    except _ROW_ERRORS as error:
        message = f"{item.where}: {error}"
        if skip_errors:
            return {"id": item.content.id, "error": message}
        raise type(error)(message) from error


def _unread(error: InputError, *, skip_errors: bool) -> Row:
    """The row of a row that could not be read; its id is in it, or is what is wrong with it."""
    if not skip_errors:
        raise error
    return {"id": None, "error": str(error)}


def _rows(model: Model, groups: Sequence[Group]) -> list[Row]:
    rows = model.rows(groups) if groups else []
    if len(rows) != len(groups):
        raise EngineError(f"{len(rows)} rows came back for {len(groups)} groups")
    return rows


def count_responses(row: Row) -> int:
    """How many responses a row is of."""
    return len(row.get("rewards") or row.get("traces") or row.get("responses") or ())
