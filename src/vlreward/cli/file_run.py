"""A groups file in, a file of rows out, in steps that survive an interruption at any moment.

The groups are taken in chunks by their position in the file. What is computed together never depends on where an
earlier run stopped, so a run that was interrupted, however often, writes the bytes of one that was not. After each
chunk its rows are put on the disk, then the record beside the output (`RunRecord`); a restart cuts the output back to
what the record vouches for and goes on with the next chunk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

from vlreward.data.groups import GroupRow
from vlreward.data.writing import json_line
from vlreward.errors import ConfigError, InputError

from .compute import Model, compute, count_responses
from .fingerprint import chain
from .run_record import START, RunRecord


class Display(Protocol):
    """Shows how far a run is."""

    def start(self, done: int, total: int) -> None:
        """Rows to compute begin."""
        ...

    def advance(self, groups: int) -> None:
        """So many more are on the disk."""
        ...


@dataclass(frozen=True, kw_only=True)
class FileRun:
    """One run over a groups file."""

    source: Path
    """The groups file."""
    output: Path
    """JSON lines; the record stands beside it."""
    config: Mapping[str, Any]
    """Everything that the rows depend on."""
    about: Mapping[str, Any]
    """What else the record says, for people."""
    read: Callable[[], Iterable[GroupRow]]
    """Reads the groups file from the start."""
    load: Callable[[], Model]
    """Loads the model."""
    chunk: int = 32
    """Groups computed together, and between two writes."""
    overwrite: bool = False
    """Start again, whatever is there."""
    skip_errors: bool = False
    """Write ``{"id", "error"}`` for a row that cannot be used, and go on."""

    record: Path | None = None
    """Where the record stands, when that is not beside the output."""

    @property
    def record_path(self) -> Path:
        """Where the record stands."""
        return self.record or self.output.with_name(self.output.name + ".meta.json")

    def run(self, display: Display) -> RunRecord:
        """Compute what is not there yet; the finished record.

        Raises:
            InputError: a row is wrong, and errors are not skipped; what was computed before it is kept.
            ConfigError: the output was begun with other settings, or is not ours.
            KeyboardInterrupt: it was interrupted; the message says how to go on.
        """
        with self._locked_output() as file:
            record = self._recorded(file)
            # The whole input is looked at first: a broken row is said now rather than hours later, and before
            # anything that is there is given up.
            survey = self._survey(record)
            if record.complete and survey.total == record.groups:
                return record
            record = self._align(record, survey, file)
            try:
                return self._go_on(record, survey.total, file, display)
            except KeyboardInterrupt:
                done = (RunRecord.load(self.record_path) or record).groups
                raise KeyboardInterrupt(
                    f"{done:,} of {survey.total:,} groups are in {self.output}; "
                    "the same command goes on with the rest" + (", without --overwrite" if self.overwrite else "")
                ) from None

    def _go_on(self, record: RunRecord, total: int, file: IO[bytes], display: Display) -> RunRecord:
        model = self.load()
        record = self._settle(record, model)
        display.start(record.groups, total)
        items = islice(iter(self.read()), record.groups, None)
        while chunk := list(islice(items, self.chunk)):
            record = self._step(chunk, record, model, file)
            display.advance(len(chunk))
        if record.groups != total:
            raise InputError(f"{self.source}: changed while it was read; run the same command again")
        record = replace(record, complete=True)
        record.save(self.record_path)
        return record

    def _settle(self, record: RunRecord, model: Model) -> RunRecord:
        if record.groups:
            record.check(self.config, model.resolved, self.output)
            return record
        return replace(record, resolved=model.resolved)

    def _step(self, chunk: Sequence[GroupRow], record: RunRecord, model: Model, file: IO[bytes]) -> RunRecord:
        rows = compute(chunk, model, skip_errors=self.skip_errors)
        data = b"".join(json_line(row, item.where) for item, row in zip(chunk, rows, strict=True))
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        digest = record.input_digest
        for item in chunk:
            digest = chain(digest, item.content)
        record = record.after(
            groups=len(chunk),
            responses=sum(map(count_responses, rows)),
            errors=sum("error" in row for row in rows),
            size=len(data),
            input_digest=digest,
        )
        record.save(self.record_path)
        return record

    def _recorded(self, file: IO[bytes]) -> RunRecord:
        """The record of the rows that are there; an empty one where there are none, or none that are wanted."""
        fresh = RunRecord(config=self.config, about=self.about)
        if self.overwrite:
            return fresh
        size = os.fstat(file.fileno()).st_size
        record = RunRecord.load(self.record_path)
        if record is None:
            if size:
                raise ConfigError(
                    f"{self.output}: exists, and there is no {self.record_path.name} that says what it is; "
                    "write to another file, or replace it with --overwrite"
                )
            return fresh
        if size == 0:  # nothing was written, or the output was removed, which is as plain as --overwrite
            return fresh
        record.check(self.config, record.resolved, self.output)
        if size < record.size:
            raise ConfigError(
                f"{self.output}: shorter than the {record.size:,} bytes written; --overwrite starts again"
            )
        return record

    def _survey(self, record: RunRecord) -> _Survey:
        aligned = record.groups - record.groups % self.chunk
        total, digest = 0, START
        marks = {0: START}
        for item in self.read():
            if isinstance(item.content, InputError) and not self.skip_errors:
                raise item.content
            total += 1
            if total <= record.groups:
                digest = chain(digest, item.content)
                if total in (aligned, record.groups):
                    marks[total] = digest
        if total < record.groups or marks[record.groups] != record.input_digest:
            raise ConfigError(
                f"{self.source}: its first {record.groups:,} groups are not those that {self.output} answers; "
                "write to another file, or start again with --overwrite"
            )
        return _Survey(total, aligned, marks[aligned])

    def _align(self, record: RunRecord, survey: _Survey, file: IO[bytes]) -> RunRecord:
        """Cut the output back to what the record vouches for, in whole chunks: the last one that was written is a short
        one when the input has grown since."""
        if survey.aligned != record.groups:
            file.seek(0)
            kept = [file.readline() for _ in range(survey.aligned)]
            rows = [json.loads(line) for line in kept]
            record = replace(
                record,
                groups=survey.aligned,
                responses=sum(count_responses(row) for row in rows),
                errors=sum("error" in row for row in rows),
                size=sum(map(len, kept)),
                input_digest=survey.aligned_digest,
            )
        record = replace(record, complete=False)
        record.save(self.record_path)
        file.truncate(record.size)
        file.seek(record.size)
        return record

    @contextmanager
    def _locked_output(self) -> Iterator[IO[bytes]]:
        is_new = not self.output.exists()
        try:
            file = os.fdopen(os.open(self.output, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        except OSError as error:
            raise ConfigError(f"{self.output}: cannot be written ({error.strerror})") from error
        with file:
            _lock(file, self.output)
            try:
                yield file
            finally:
                if is_new and not self.record_path.exists():
                    self.output.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Survey:
    total: int
    aligned: int
    aligned_digest: str


def _lock(file: IO[bytes], output: Path) -> None:
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"{output}: another run is writing it") from None
    except OSError:  # a file system without locks
        return
