"""Files of preferences in any format that we know: into rankings, and rankings into them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vlreward.errors import ConfigError, InputError, describe_unknown
from vlreward.types import Ranking

from .dataset_info import find_entry
from .llamafactory import LLAMAFACTORY
from .llava_critic import LLAVA_CRITIC
from .ms_swift import MS_SWIFT
from .ranked import RANKINGS
from .ranking_format import Dropped, RankingFormat, Reading
from .rlaif_v import RLAIF_V
from .rows import BadRow, Row, scan_rows
from .skywork_preference import SKYWORK_PREFERENCE
from .targets import Target
from .trl import TRL
from .writing import check_writable, is_table, replacing, write_lines, write_table

FORMATS = (TRL, LLAMAFACTORY, MS_SWIFT, RLAIF_V, LLAVA_CRITIC, SKYWORK_PREFERENCE, RANKINGS)


def format_of(name: str) -> RankingFormat:
    """The format of that name.

    Raises:
        ConfigError: there is none; the message names the nearest one.
    """
    by_name = {format.name: format for format in FORMATS}
    if name not in by_name:
        raise ConfigError(f"format: {describe_unknown(name, by_name)}")
    return by_name[name]


def recognise(keys: Collection[str], where: str) -> RankingFormat:
    """The one format that a row is of.

    Args:
        keys: the row's keys, without those whose value is null or that are ignored.
        where: starts the error.

    Raises:
        InputError: it is of none, or of several.
    """
    found = [format for format in FORMATS if format.matches(keys)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(keys)) or "none"
    if found:
        several = ", ".join(format.name for format in found)
        raise InputError(f"{where}: may be any of {several}; say which. Its keys are: {names}")
    known = "; ".join(f"{format.name} ({format.about})" for format in FORMATS)
    raise InputError(f"{where}: no preference data that is known; its keys are: {names}; known: {known}")


@dataclass(frozen=True, kw_only=True)
class RankingRow:
    """A row of a file of preferences."""

    where: str
    """The file and line, as errors name it."""
    number: int
    """The line, or the row of a table, from 1."""
    format: str | None
    """The file's format; None before a row that says it."""
    content: Ranking | Dropped | InputError
    """Its ranking, why it says none, or what is wrong with it; an error's message starts with ``where``."""


def read_rankings(
    path: str | Path,
    *,
    format: str | None = None,
    ignore: Collection[str] = (),
    media_dir: str | Path | None = None,
    dropped: Counter[str] | None = None,
) -> Iterator[Ranking]:
    """Read preferences, one `Ranking` per row; of pairs, the chosen response comes first.

    Args:
        path: a file that `read_rows` knows, in one of `FORMATS`. A ``dataset_info.json`` of LLaMA-Factory that
            describes it, in its folder or the one above, is heeded.
        format: the name of the format; otherwise the file's first row says it.
        ignore: other keys that the rows have and that are passed over.
        media_dir: where relative paths of pictures start; otherwise the folder of the file (of the
            ``dataset_info.json``, where there is one).
        dropped: counts rows that say no preference (ties, malformed verdicts), by reason.

    Raises:
        InputError: at once when there is no such file; while reading when a row is not of the format, or when rows
            were dropped and none is left. The message starts with the file and line.
        ConfigError: there is no such format.
    """
    rows = scan_rankings(path, format=format, ignore=ignore, media_dir=media_dir)
    return _good_rankings(rows, str(path), Counter() if dropped is None else dropped)


def _good_rankings(rows: Iterator[RankingRow], name: str, dropped: Counter[str]) -> Iterator[Ranking]:
    count = 0
    for row in rows:
        if isinstance(row.content, InputError):
            raise row.content
        if isinstance(row.content, Dropped):
            dropped[row.content.reason] += 1
            continue
        count += 1
        yield row.content
    if count == 0:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in dropped.items())
        raise InputError(f"{name}: no rankings left; dropped: {reasons}")


def scan_rankings(
    path: str | Path,
    *,
    format: str | None = None,
    ignore: Collection[str] = (),
    media_dir: str | Path | None = None,
) -> Iterator[RankingRow]:
    """Like `read_rankings`, for those who want to know each row's place, or go on behind a row that is wrong.

    Raises:
        InputError: the file itself is missing, empty, of an unknown kind or unreadable.
        ConfigError: there is no such format.
    """
    path = Path(path)
    chosen = None if format is None else format_of(format)
    rows = scan_rows(path)
    entry = find_entry(path) if chosen in (None, LLAMAFACTORY) else None
    folder = Path(media_dir) if media_dir is not None else entry.folder if entry else path.parent
    return _scan(rows, Reading(folder=folder, ignore=ignore, entry=entry), chosen)


def _scan(rows: Iterator[Row | BadRow], reading: Reading, chosen: RankingFormat | None) -> Iterator[RankingRow]:
    known = chosen or (LLAMAFACTORY if reading.entry else None)
    for row in rows:
        content: Ranking | Dropped | InputError
        try:
            if isinstance(row, BadRow):
                raise row.error
            known = known or recognise(keys_of(row, reading.ignore), row.where)
            content = known.read(row, reading)
        except InputError as error:
            content = error
        yield RankingRow(where=row.where, number=row.number, format=known.name if known else None, content=content)


def keys_of(row: Row, ignore: Collection[str]) -> set[str]:
    """The keys of a row that say something."""
    return {key for key, value in row.data.items() if value is not None and key not in ignore}


def write_rankings(path: str | Path, rankings: Iterable[Ranking], format: str) -> int:
    """Write rankings as JSON lines or Parquet; the file appears when it is complete.

    Args:
        path: a ``.jsonl``, ``.ndjson`` or ``.parquet`` file.
        rankings: what to write. Paths under the file's folder become relative to it and others absolute.
        format: the name of one of `FORMATS`.

    Returns:
        How many there were.

    Raises:
        ConfigError: there is no such format.
        UnsupportedError: a ranking has no place in it; the message names the group.
        InputError: the file cannot be of that kind, or a picture cannot be written.
    """
    path, chosen = check_writable(Path(path)), format_of(format)
    target = Target(folder=path.parent, is_table=is_table(path))
    rows = (chosen.write(ranking, target, f"group {ranking.group.id!r}") for ranking in rankings)
    with replacing(path) as part:
        return write_table(part, rows, chosen.schema()) if target.is_table else write_lines(part, rows)
