"""Files of groups: one prompt and its responses in each row."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from vlreward.errors import InputError, describe_unknown
from vlreward.types import Group

from .group_rows import GROUP_KEYS, row_to_group
from .rows import BadRow, Row, RowIds, scan_rows
from .trl import RANKING_KEYS, row_to_ranking

__all__ = ["GROUP_KEYS", "GroupRow", "read_groups", "row_to_group", "scan_groups"]


def read_groups(path: str | Path, *, ignore: Collection[str] = ()) -> Iterator[Group]:
    """Read groups, row by row.

    Args:
        path: a file that `read_rows` knows. Its rows hold ``messages`` (or text, one user message) and ``responses``,
            and may hold ``images`` and ``videos``, which fill the parts without a source in order over the messages
            and then the responses, ``task`` and ``id`` (else the row's number). A file of comparisons (``chosen``,
            ``rejected``; see `read_rankings`) gives groups of two, the chosen response first. The first row says which
            of the two the file is. Relative paths start from the file's folder.
        ignore: other keys that the rows have and that are passed over.

    Raises:
        InputError: at once when there is no such file; while reading when a row is not of this form. The message starts
            with the file and line.
    """
    return _good_groups(scan_groups(path, ignore=ignore))


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """A row of a groups file."""

    where: str
    """The file and line, as errors name it."""
    content: Group | InputError
    """Its group, or what is wrong with it; the message starts with ``where``."""


def _good_groups(rows: Iterator[GroupRow]) -> Iterator[Group]:
    for row in rows:
        if isinstance(row.content, InputError):
            raise row.content
        yield row.content


def scan_groups(path: str | Path, *, ignore: Collection[str] = ()) -> Iterator[GroupRow]:
    """Like `read_groups`, for those who want to know each group's place, or go on behind a row that is wrong.

    Raises:
        InputError: the file itself is missing, empty, of an unknown kind or unreadable.
    """
    return _scan(scan_rows(path), Path(path).parent, ignore)


def _scan(rows: Iterator[Row | BadRow], folder: Path, ignore: Collection[str]) -> Iterator[GroupRow]:
    ids, is_ranking = RowIds(), None
    for row in rows:
        content: Group | InputError
        try:
            if isinstance(row, BadRow):
                raise row.error
            if is_ranking is None:
                is_ranking = _is_ranking(row, ignore)
            id = ids.claim(row)
            if is_ranking:
                content = row_to_ranking(row, id, folder, ignore).group
            else:
                content = row_to_group(row, id, folder, ignore)
        except InputError as error:
            content = error
        yield GroupRow(where=row.where, content=content)


def _is_ranking(row: Row, ignore: Collection[str]) -> bool:
    keys = {key for key, value in row.data.items() if value is not None and key not in ignore}
    compared, grouped = bool(keys & {"chosen", "rejected"}), "responses" in keys
    if compared and grouped:
        raise InputError(f"{row.where}: both 'responses' and 'chosen' or 'rejected'; ignore or drop one of them")
    if compared or grouped:
        return compared
    known = {*GROUP_KEYS, *RANKING_KEYS}
    for key in sorted(keys - known):
        raise InputError(f"{row.where}: {describe_unknown(key, known)}")
    raise InputError(
        f"{row.where}: neither a group (messages, responses) nor a comparison (prompt, chosen, rejected); "
        f"its keys are: {', '.join(sorted(keys)) or 'none'}"
    )
