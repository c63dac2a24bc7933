"""Files of groups: one prompt and its responses in each row."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from vlreward.errors import InputError, describe_unknown
from vlreward.types import Group, Ranking

from .dataset_info import find_entry
from .group_rows import GROUP_KEYS, row_to_group
from .llamafactory import LLAMAFACTORY
from .ranking_format import RankingFormat, Reading
from .rankings import FORMATS, keys_of
from .rows import BadRow, Row, scan_rows
from .trl import RANKING_KEYS

__all__ = ["GROUP_KEYS", "GroupRow", "group_of", "read_groups", "row_to_group", "scan_groups"]


def read_groups(path: str | Path, *, ignore: Collection[str] = ()) -> Iterator[Group]:
    """Read groups, row by row.

    Args:
        path: a file that `read_rows` knows. Its rows hold ``messages`` (or text, one user message) and ``responses``,
            and may hold ``images`` and ``videos``, which fill the parts without a source in order over the messages
            and then the responses, ``task`` and ``id`` (else the row's number). A file of preferences in any format
            that `read_rankings` knows gives the groups that were compared, of pairs the chosen response first. The
            first row says which of them the file is. Relative paths start from the file's folder.
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
    path = Path(path)
    rows, entry = scan_rows(path), find_entry(path)
    return _scan(rows, Reading(folder=entry.folder if entry else path.parent, ignore=ignore, entry=entry))


def _scan(rows: Iterator[Row | BadRow], reading: Reading) -> Iterator[GroupRow]:
    format: RankingFormat | None = LLAMAFACTORY
    is_known = reading.entry is not None
    for row in rows:
        content: Group | InputError
        try:
            if isinstance(row, BadRow):
                raise row.error
            if not is_known:
                format, is_known = _format(row, reading.ignore), True
            content = _group(row, format, reading)
        except InputError as error:
            content = error
        yield GroupRow(where=row.where, content=content)


def group_of(row: Row, reading: Reading) -> Group:
    """One row, of a file of groups or of preferences, as a group.

    Raises:
        InputError: it is neither; the message starts with its place.
    """
    return _group(row, LLAMAFACTORY if reading.entry else _format(row, reading.ignore), reading)


def _group(row: Row, format: RankingFormat | None, reading: Reading) -> Group:
    if format is None:
        return row_to_group(row, reading.ids.claim(row), reading.folder, reading.ignore)
    found = format.read(row, reading)
    if isinstance(found, Ranking):
        return found.group
    if found.group is None:
        raise InputError(f"{row.where}: no group can be made of it: {found.reason}")
    return found.group


def _format(row: Row, ignore: Collection[str]) -> RankingFormat | None:
    """The format of a file of preferences; None for a file of groups."""
    keys = keys_of(row, ignore)
    if "responses" in keys and keys & {"chosen", "rejected"}:
        raise InputError(f"{row.where}: both 'responses' and 'chosen' or 'rejected'; ignore or drop one of them")
    formats = [format for format in FORMATS if format.matches(keys)]
    if len(formats) == 1:
        return formats[0]
    if "responses" in keys:
        return None
    known = {*GROUP_KEYS, *RANKING_KEYS}
    for key in sorted(keys - known):
        raise InputError(f"{row.where}: {describe_unknown(key, known)}")
    raise InputError(
        f"{row.where}: neither a group (messages, responses) nor a comparison (prompt, chosen, rejected); "
        f"its keys are: {', '.join(sorted(keys)) or 'none'}"
    )
