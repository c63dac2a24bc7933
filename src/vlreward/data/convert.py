"""One file of preferences as another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vlreward.errors import ConfigError, InputError, UnsupportedError
from vlreward.types import Ranking

from .dataset_info import add_entry, check_entry
from .llamafactory import LLAMAFACTORY
from .ranking_format import Dropped, RankingFormat
from .rankings import RankingRow, format_of
from .targets import Target, extract_media
from .writing import check_writable, is_table, replacing, write_lines, write_table

_FIRST_SKIPPED = 10


@dataclass
class Conversion:
    """What became of a file's rows."""

    output: str
    """The file that was written."""
    format: str
    """Its format."""
    format_before: str | None = None
    """The format of the file that was read."""
    written: int = 0
    """Rows written."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows that say no preference, by reason."""
    skipped: int = 0
    """Rows that are wrong, or have no place in the format."""
    problems: list[str] = field(default_factory=list)
    """What was wrong with the first of those."""
    dataset_info: str | None = None
    """The ``dataset_info.json`` that describes the file to LLaMA-Factory."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self) | {"dropped": dict(self.dropped)}


def convert_rankings(
    rows: Iterable[RankingRow],
    output: str | Path,
    to: str,
    *,
    extract_to: str | Path | None = None,
    skip_errors: bool = False,
    overwrite: bool = False,
) -> Conversion:
    """Write preferences in another format; the output appears when it is complete.

    Args:
        rows: as `scan_rankings` reads them.
        output: a ``.jsonl``, ``.ndjson`` or ``.parquet`` file. Paths of pictures under its folder become relative to
            it and others absolute. With LLaMA-Factory's format, the ``dataset_info.json`` beside it gets an entry.
        to: the name of the format to write.
        extract_to: a folder that pictures in memory (bytes in a table, data URIs) are written to as files.
        skip_errors: pass over rows that are wrong or have no place in the format, rather than stop there.
        overwrite: whether the output may be there already.

    Raises:
        InputError: a row is wrong; the message starts with the file and line.
        UnsupportedError: a row has no place in the format; likewise.
        ConfigError: there is no such format, or the output is there already.
    """
    output, chosen = check_writable(Path(output)), format_of(to)
    if output.exists() and not overwrite:
        raise ConfigError(f"{output}: is there already; name another file, or say that it is to be overwritten")
    if chosen is LLAMAFACTORY:
        check_entry(output)
    done = Conversion(output=str(output), format=chosen.name)
    converter = _Converter(
        format=chosen,
        target=Target(folder=output.parent, is_table=is_table(output)),
        extract_to=None if extract_to is None else Path(extract_to),
        skip_errors=skip_errors,
        done=done,
    )
    with replacing(output) as part:
        written = converter.rows(rows)
        if converter.target.is_table:
            done.written = write_table(part, written, chosen.schema())
        else:
            done.written = write_lines(part, written)
        if done.written == 0:
            raise InputError(f"{output}: no rankings left to write{_reasons(done)}")
    if chosen is LLAMAFACTORY:
        media = [name for name in ("images", "videos") if name in converter.columns]
        columns = {"messages": "conversations"} | {name: name for name in ("chosen", "rejected", *media)}
        done.dataset_info = str(add_entry(output, columns))
    return done


def _reasons(done: Conversion) -> str:
    reasons = [f"{number:,} {reason}" for reason, number in done.dropped.items()]
    if done.skipped:
        reasons.append(f"{done.skipped:,} with errors, the first: {done.problems[0]}")
    return ": " + ", ".join(reasons) if reasons else ""


@dataclass(frozen=True, kw_only=True)
class _Converter:
    format: RankingFormat
    target: Target
    extract_to: Path | None
    skip_errors: bool
    done: Conversion
    columns: set[str] = field(default_factory=set)
    """Columns that rows had."""

    def rows(self, rows: Iterable[RankingRow]) -> Iterator[dict[str, Any]]:
        """The rows to write; what becomes of the others is counted."""
        for row in rows:
            self.done.format_before = row.format
            if isinstance(row.content, Dropped):
                self.done.dropped[row.content.reason] += 1
                continue
            try:
                if isinstance(row.content, InputError):
                    raise row.content
                written = self._row(row.content, row.where)
            except (InputError, UnsupportedError) as error:
                if not self.skip_errors:
                    raise
                self.done.skipped += 1
                if len(self.done.problems) < _FIRST_SKIPPED:
                    self.done.problems.append(str(error))
                continue
            self.columns.update(written)
            yield written

    def _row(self, ranking: Ranking, where: str) -> dict[str, Any]:
        try:
            if self.extract_to is not None:
                ranking = replace(ranking, group=extract_media(ranking.group, self.extract_to, where))
            return self.format.write(ranking, self.target, where)
        except (InputError, UnsupportedError) as error:
            if str(error).startswith(where):
                raise
            raise type(error)(f"{where}: {error}") from error  # it names the group, which has a line here
