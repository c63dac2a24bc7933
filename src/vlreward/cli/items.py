"""The rows of a groups file for a run over it: each with its place, and if wanted without stopping at a bad one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlreward.data.groups import row_to_group
from vlreward.data.rows import Row, RowIds, read_rows
from vlreward.data.trl import row_to_ranking
from vlreward.errors import InputError
from vlreward.types import Group

_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


@dataclass(frozen=True)
class Item:
    """A row of the input: a group, or what is wrong with it."""

    where: str
    """File and line, as errors name it."""
    id: str | None
    content: Group | InputError


def read_items(source: Path, *, skip_errors: bool) -> Iterator[Item]:
    """The rows of a groups file, those of TRL's preference form among them.

    Raises:
        InputError: the file cannot be read, or a row is wrong and errors are not skipped.
    """
    ids = RowIds()
    for row in _tolerant_rows(source) if skip_errors else read_rows(source):
        if isinstance(row, Item):
            yield row
            continue
        try:
            yield Item(row.where, None, _group(row, ids.claim(row), source.parent))
        except InputError as error:
            if not skip_errors:
                raise
            given = row.data.get("id")
            yield Item(row.where, str(row.number if given is None else given), error)


def _group(row: Row, id: str, folder: Path) -> Group:
    is_ranking = "responses" not in row.data and ("chosen" in row.data or "rejected" in row.data)
    return row_to_ranking(row, id, folder).group if is_ranking else row_to_group(row, id, folder)


def _tolerant_rows(source: Path) -> Iterator[Row | Item]:
    """Lines that are no JSON become items of their own; other kinds of file are whole or not at all."""
    if not source.name.lower().endswith(_LINES) or not source.is_file():
        yield from read_rows(source)
        return
    with gzip.open(source) if source.suffix.lower() == ".gz" else source.open("rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{source}:{number}"
            if not line.strip():
                continue
            try:
                data = json.loads(line.decode("utf-8-sig"))
                if not isinstance(data, dict):
                    raise ValueError(f"expected an object with keys, got {type(data).__name__}")
            except ValueError as error:  # not UTF-8, or not JSON
                yield Item(where, str(number), InputError(f"{where}: cannot be read ({error})"))
            else:
                yield Row(where=where, number=number, data=data)
