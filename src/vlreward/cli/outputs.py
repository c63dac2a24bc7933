"""Where a run's rows end up: JSON lines as they are, or Parquet made of them at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlreward.data.rows import read_rows
from vlreward.data.writing import check_writable, is_table, replacing, write_lines, write_table
from vlreward.errors import InputError

from .file_run import Display, FileRun
from .run_record import RunRecord


@contextmanager
def lines_at(output: Path | None, what: str) -> Iterator[Path]:
    """Where a verb's JSON lines go: the file that is named, or one that is gone afterwards.

    Args:
        output: the file; None: nobody wants to keep them.
        what: they are, in the plural.

    Raises:
        InputError: the file's name does not say that it holds JSON lines.
    """
    if output is not None:
        if output.suffix not in (".jsonl", ".ndjson"):
            raise InputError(f"{output}: {what} are written as JSON lines; name it .jsonl")
        yield output
        return
    with tempfile.TemporaryDirectory(prefix="vlreward-") as folder:
        try:
            yield Path(folder) / f"{what}.jsonl"
        except KeyboardInterrupt:
            raise KeyboardInterrupt("nothing is kept; with --output the same command could go on") from None


def run_to(run: FileRun, display: Display) -> RunRecord:
    """Run to the output, whichever kind of file it is.

    A Parquet file cannot be added to. Its rows are kept beside it as JSON lines until all are there; an output that is
    complete is unfolded into them again, so that more rows of the input can follow.

    Raises:
        InputError: the output is of no kind that can be written, or its folder is not there.
    """
    check_writable(run.output)
    if not is_table(run.output):
        return run.run(display)
    lines = run.output.with_name(run.output.name + ".rows.jsonl")
    record_path = run.record_path
    if run.overwrite:
        lines.unlink(missing_ok=True)
    elif not lines.exists() and run.output.exists() and RunRecord.load(record_path) is not None:
        _unfold(run.output, lines)
    record = replace(run, output=lines, record=record_path).run(display)
    _fold(lines, run.output)
    lines.unlink()
    return record


def _fold(lines: Path, table: Path) -> None:
    import pyarrow as pa

    names = {name for row in read_rows(lines) for name in row.data}
    schema = pa.schema({name: kind for name, kind in _columns().items() if name in names})
    with replacing(table) as part:
        write_table(part, (row.data for row in read_rows(lines)), schema)


def _unfold(table: Path, lines: Path) -> None:
    with replacing(lines) as part:
        write_lines(part, (_without_gaps(row.data) for row in read_rows(table)))


def _without_gaps(row: dict[str, Any]) -> dict[str, Any]:
    """A table's row without the columns that it does not have."""
    return {name: value for name, value in row.items() if value is not None or name == "id"}


def _columns() -> dict[str, Any]:
    """Every column that a verb writes, in the order in which rows have them."""
    import pyarrow as pa

    stop = pa.struct([("end", pa.int64()), ("text", pa.string()), ("reward", pa.float64())])
    return {
        "id": pa.string(),
        "order": pa.list_(pa.int64()),
        "probability": pa.float64(),
        "rewards": pa.list_(pa.float64()),
        "calibrated": pa.bool_(),
        "traces": pa.list_(pa.list_(stop)),
        "error": pa.string(),
    }
