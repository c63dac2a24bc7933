"""Where rankings come from, by number: a source can be asked for any of them at any time, from any process.

A file is gone through once and its rankings are kept as lines beside the output, so that memory holds eight bytes for
each of them, whatever the file's format. Another kind of source is another class with the methods of `RankingSource`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vlreward.data.dataset_info import find_entry
from vlreward.data.llamafactory import LLAMAFACTORY
from vlreward.data.ranked import RANKINGS
from vlreward.data.ranking_format import Dropped, Reading
from vlreward.data.rankings import read_rankings
from vlreward.data.rows import Row
from vlreward.data.targets import Target
from vlreward.data.writing import json_line, replacing
from vlreward.errors import ConfigError, InputError
from vlreward.types import Ranking

from .config import positive
from .worlds import WorldData, WorldRankings

_SMALL = 1 << 20
_SAMPLES = 64
_SAMPLE_BYTES = 1 << 12

Progress = Callable[[str, int], None]
"""Called with what is being done and how many more rankings it is done for."""


class RankingSource(Protocol):
    """Rankings by number. It is copied into the processes that load data."""

    label: str
    """What results call it."""
    fingerprint: str
    """Another text for other rankings."""
    dropped: Counter[str]
    """Rows that gave no ranking, by reason."""

    @property
    def sample(self) -> int | None:
        """How many rankings tell the size of all, where all are much alike and none is to be dropped; None: not so."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Ranking: ...


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """A file of preferences or a rendered world, and how much of it is seen."""

    path: str | None = None
    """JSON lines or Parquet in a format that ``vlreward data check`` knows. With ``*``, all files of such names:
    published data sets come in pieces."""
    world: WorldData | None = None
    """In place of a file: scenes that are rendered when they are asked for."""
    name: str | None = None
    """What results call it; None: the file's name without its suffix, or the folder's where ``path`` has a ``*``."""
    format: str | None = None
    """The name of its format; None: its first row says it."""
    media_dir: str | None = None
    """Where relative paths of pictures start; None: the file's folder."""
    ignore: tuple[str, ...] = ()
    """Keys of its rows that are passed over."""
    weight: float = 1.0
    """How often each ranking is seen in an epoch, on average: 0.5 takes half of them, drawn anew."""

    def __post_init__(self) -> None:
        positive("weight", self.weight)
        if (self.path is None) == (self.world is None):
            raise ConfigError("a source has either a path or a world")

    @property
    def label(self) -> str:
        """What results call it."""
        if self.name or self.path is None:
            return self.name or "world"
        path = Path(self.path)
        return path.absolute().parent.name if "*" in path.name else path.name.partition(".")[0]

    def files(self) -> list[Path]:
        """The files of ``path``, in the order of their names."""
        path = Path(str(self.path)).expanduser()
        return sorted(path.parent.glob(path.name)) if "*" in path.name else [path]

    def check(self, where: str) -> None:
        """See that the file is there, and the folder of its pictures.

        Raises:
            ConfigError: one is not.
        """
        if self.path is not None and not any(file.is_file() for file in self.files()):
            raise ConfigError(f"{where}: data: {self.path}: no such file")
        sampled = None if self.world is None else self.world.sampled
        if sampled is not None and not Path(sampled).expanduser().is_file():
            raise ConfigError(f"{where}: data: world: sampled {sampled}: no such file")
        if self.media_dir is not None and not Path(self.media_dir).is_dir():
            raise ConfigError(f"{where}: data: media_dir {self.media_dir}: no such folder")

    def open(self, cache: Path, progress: Progress) -> RankingSource:
        """The rankings of the file.

        Args:
            cache: a folder for what is kept beside the output.
            progress: told of each ranking that is read.

        Raises:
            InputError: a row is not of the file's format; the message starts with the file and line.
        """
        if self.world is not None:
            return WorldRankings(self.world, self.label)
        return StoredRankings.of_file(self, cache, progress)


class StoredRankings:
    """Rankings kept as lines of a file."""

    sample = None

    def __init__(self, lines: Path, offsets: np.ndarray, label: str, fingerprint: str, dropped: Counter[str]) -> None:
        self.label, self.fingerprint, self.dropped = label, fingerprint, dropped
        self._lines, self._offsets = lines, offsets

    @classmethod
    def of_file(cls, source: DataSource, cache: Path, progress: Progress) -> StoredRankings:
        """Those of files of preferences, gone through now unless that was done before."""
        files = source.files()
        said = " ".join(_said(source, file) for file in files)
        fingerprint = hashlib.blake2b(said.encode(), digest_size=12).hexdigest()
        lines, index = cache / f"{fingerprint}.jsonl", cache / f"{fingerprint}.json"
        if not index.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            dropped: Counter[str] = Counter()
            options: dict[str, Any] = {
                "format": source.format,
                "ignore": source.ignore,
                "media_dir": source.media_dir,
                "dropped": dropped,
            }
            rankings = chain.from_iterable(read_rankings(file, **options) for file in files)
            count = _write_lines(lines, rankings, source.label, progress)
            # Written last, it says that the lines are complete.
            with replacing(index) as part:
                part.write_text(json.dumps({"rankings": count, "dropped": dropped}), encoding="utf-8")
        dropped = Counter(json.loads(index.read_text(encoding="utf-8"))["dropped"])
        return cls(lines, _line_starts(lines), source.label, fingerprint, dropped)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> Ranking:
        where = f"{self.label}: ranking {number}"
        # Opened each time: a file that processes share would share its place in it too.
        with self._lines.open("rb") as file:
            file.seek(int(self._offsets[number]))
            line = file.read(int(self._offsets[number + 1] - self._offsets[number]))
        row = Row(where=where, number=number + 1, data=json.loads(line))
        ranking = RANKINGS.read(row, Reading(folder=self._lines.parent))
        if isinstance(ranking, Dropped):
            raise InputError(f"{where}: {ranking.reason}")
        return ranking


def _said(source: DataSource, file: Path) -> str:
    """Another text for a file that holds something else, or is read in another way."""
    said: tuple[object, ...] = (source.format, source.media_dir, source.ignore)
    entry = find_entry(file) if source.format in (None, LLAMAFACTORY.name) else None
    return f"{file.resolve()} {said if entry is None else (*said, entry)!r} {file_digest(file)}"


def _write_lines(lines: Path, rankings: Iterator[Ranking], label: str, progress: Progress) -> int:
    target = Target(folder=lines.parent, is_table=False, absolute_paths=True)
    count = 0
    with replacing(lines) as part, part.open("wb") as file:
        for ranking in rankings:
            where = f"{label}: group {ranking.group.id!r}"
            file.write(json_line(RANKINGS.write(ranking, target, where), where))
            count += 1
            progress(f"reading {label}", 1)
    return count


def _line_starts(lines: Path) -> np.ndarray:
    """Where each line begins, and the end of the file, int64."""
    starts = [0]
    with lines.open("rb") as file:
        for line in file:
            starts.append(starts[-1] + len(line))
    return np.asarray(starts, dtype=np.int64)


def file_digest(path: Path) -> str:
    """A digest of a file: a small one whole; of a large one its size, samples, and when it changed."""
    status = path.stat()
    digest = hashlib.blake2b(f"{status.st_size}".encode(), digest_size=12)
    with path.open("rb") as file:
        if status.st_size <= _SMALL:
            digest.update(file.read())
        else:
            digest.update(f"{status.st_mtime_ns}".encode())
            for i in range(_SAMPLES):
                file.seek((status.st_size - _SAMPLE_BYTES) * i // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()
