"""Rows of a file, one at a time, each with the place that an error names."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vlreward.errors import InputError, describe_unknown

from .json_list import check_pairs, iter_list, refuse_constant

SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".json", ".parquet")
# Rows hold pictures, so few of them at a time.
_PARQUET_BATCH = 32
_PARQUET_BUFFER = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row as it stands in the file."""

    where: str
    """The file and the line (``pairs.jsonl:41``), or the row of a table (``pairs.parquet:row 41``)."""
    number: int
    """Line or row, from 1."""
    data: dict[str, Any]
    """The row's keys and values."""


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """A row that is not one."""

    where: str
    """As in `Row`."""
    number: int
    """Line or row, from 1."""
    error: InputError
    """What is wrong with it; the message starts with ``where``."""


def read_rows(path: str | Path, *, allow_empty: bool = False) -> Iterator[Row]:
    """Read a file of objects, row by row.

    Args:
        path: JSON lines (``.jsonl``, ``.ndjson``, also with ``.gz``), Parquet, or ``.json``, which holds JSON lines or
            one list. Memory holds a line or a few rows at a time. Empty lines are skipped.
        allow_empty: whether a file without rows is one; otherwise that is an error.

    Raises:
        InputError: at once when the file is missing or of an unknown kind; while reading when it is empty, a line is
            not UTF-8 or not JSON, or a row is not an object. The message starts with the file and line.
    """
    return _good_rows(scan_rows(path, allow_empty=allow_empty))


def _good_rows(rows: Iterator[Row | BadRow]) -> Iterator[Row]:
    for row in rows:
        if isinstance(row, BadRow):
            raise row.error
        yield row


def scan_rows(path: str | Path, *, allow_empty: bool = False) -> Iterator[Row | BadRow]:
    """Like `read_rows`, for those who want to go on behind a row that is wrong.

    Raises:
        InputError: the file itself is missing, empty, of an unknown kind or unreadable.
    """
    path = Path(path)
    reader = _reader_for(path)
    if not path.is_file():
        raise InputError(f"{path}: {'a folder; give a file' if path.is_dir() else 'no such file'}")
    return _with_reasons(path, reader, allow_empty)


def _reader_for(path: Path) -> Callable[[Path], Iterator[Row | BadRow]]:
    name = path.name.lower()
    if name.endswith(".parquet"):
        return _parquet_rows
    if name.endswith(".json"):
        return _json_rows
    if name.endswith((".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")):
        return _line_rows
    raise InputError(f"{path}: unknown kind of file; known: {', '.join(SUFFIXES)}")


def _with_reasons(
    path: Path, reader: Callable[[Path], Iterator[Row | BadRow]], allow_empty: bool
) -> Iterator[Row | BadRow]:
    empty = not allow_empty
    try:
        for row in reader(path):
            empty = False
            yield row
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({_one_line(error)})") from None
    if empty:
        raise InputError(f"{path}: no rows; the file is empty")


def _open_binary(path: Path) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _line_rows(path: Path) -> Iterator[Row | BadRow]:
    with _open_binary(path) as file:
        for number, line in enumerate(file, 1):
            where = f"{path}:{number}"
            try:
                text = _decode(line, path, number).rstrip("\r\n")
                if text.strip():
                    yield _object(_parse(text, path, number), where, number)
            except InputError as error:
                yield BadRow(where=where, number=number, error=error)


def _json_rows(path: Path) -> Iterator[Row | BadRow]:
    with path.open("rb") as file:
        start = file.read(1 << 12).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"["):
        yield from _line_rows(path)
        return
    for number, value in enumerate(iter_list(path), 1):
        yield _object(value, f"{path}:row {number}", number)


def _decode(data: bytes, path: Path, line: int) -> str:
    """``data`` starts at ``line``."""
    try:
        # Editors on Windows start a file with a byte order mark.
        return data.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        # The mark is not counted in the position, but it is in the object that the position refers to.
        before = error.object[: error.start]
        line += before.count(b"\n")
        column = len(before) - before.rfind(b"\n")
        found = error.object[error.start]
        raise InputError(f"{path}:{line}: not UTF-8 at byte {column} (0x{found:02x}); save the file as UTF-8") from None


def _parse(text: str, path: Path, line: int) -> Any:
    """``text`` starts at ``line``."""
    try:
        value = json.loads(text, parse_constant=refuse_constant)
        check_pairs(value, text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{line + error.lineno - 1}: invalid JSON at column {error.colno}: {error.msg}"
        ) from None
    except UnicodeEncodeError:
        raise InputError(f"{path}:{line}: half of a \\ud… pair in a string; such text has no UTF-8 form") from None
    except (ValueError, RecursionError) as error:  # NaN, a number of thousands of digits, nesting without end
        raise InputError(f"{path}:{line}: invalid JSON: {error}") from None
    return value


def _object(value: Any, where: str, number: int) -> Row | BadRow:
    if not isinstance(value, dict):
        error = InputError(f"{where}: expected an object with keys, got {type(value).__name__}")
        return BadRow(where=where, number=number, error=error)
    return Row(where=where, number=number, data=value)


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        # Without pre-buffering and with a read buffer, memory holds a page of each column, not a row group.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_PARQUET_BUFFER) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
                for data in batch.to_pylist():
                    number += 1
                    yield Row(where=f"{path}:row {number}", number=number, data=data)
    except pa.ArrowException as error:
        raise InputError(
            f"{path}: not a Parquet file that can be read, after row {number}: {_one_line(error)}"
        ) from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


class RowIds:
    """The ids of one file's groups: what a row says, or its number, each of them once.

    This is the one thing that grows with a file, by about 150 bytes for each row.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def claim(self, row: Row) -> str:
        """The row's ``id`` as text, or its number where it has none.

        Raises:
            InputError: the id is neither text nor an integer, or another row has it.
        """
        given = row.data.get("id")
        if given is None:
            given = row.number
        if isinstance(given, bool) or not isinstance(given, (str, int)):
            raise InputError(f"{row.where}: 'id' must be a string or an integer, got {given!r:.60}")
        name = str(given)
        if name in self._numbers:
            place = row.where.removesuffix(str(row.number))
            first = f"{place}{self._numbers[name]}"
            raise InputError(f"{row.where}: id {name!r} is already that of {first}; ids must differ")
        self._numbers[name] = row.number
        return name

    def distinct(self, row: Row, key: str = "id") -> str:
        """Like `claim`, for files in which an id may come twice: then the row's number is added to it.

        Args:
            row: the row.
            key: the key that holds the id; what is neither text nor an integer counts as none.
        """
        given = row.data.get(key)
        has_id = isinstance(given, (str, int)) and not isinstance(given, bool) and given != ""
        name = str(given) if has_id else str(row.number)
        while name in self._numbers:
            name = f"{name}#{row.number}"
        self._numbers[name] = row.number
        return name


def known_values(row: Row, known: Collection[str], ignore: Collection[str]) -> dict[str, Any]:
    """The row's values, without those that are null or to be ignored.

    Raises:
        InputError: a key is not among ``known``, and the message names the nearest one that is; or the ``task`` is not
            text.
    """
    values = {key: value for key, value in row.data.items() if value is not None and key not in ignore}
    for key in values:
        if key not in known:
            raise InputError(f"{row.where}: {describe_unknown(key, known)}")
    if not isinstance(values.get("task", ""), str):
        raise InputError(f"{row.where}: 'task' must be a string, got {values['task']!r:.60}")
    return values
