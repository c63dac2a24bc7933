"""Files of rewards: ``{"id", "rewards"}`` in each row, one number per response in the group's order."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from vlreward.errors import InputError
from vlreward.types import Reward

from .rows import Row, RowIds, known_values, read_rows
from .writing import check_writable, is_table, json_line, replacing

REWARD_KEYS = ("id", "rewards")
_TABLE_BATCH = 4096
_CHUNK = 1 << 16


def read_rewards(path: str | Path) -> Iterator[Reward]:
    """Read rewards, row by row.

    Args:
        path: a file that `read_rows` knows; its rows hold ``rewards``, a list of finite numbers, and ``id``.

    Raises:
        InputError: a row is not of this form, or an id comes twice. The message starts with the file and line.
    """
    return _iter_rewards(read_rows(path))


def _iter_rewards(rows: Iterator[Row]) -> Iterator[Reward]:
    ids = RowIds()
    for row in rows:
        if row.data.get("error") is not None:
            raise InputError(f"{row.where}: this group was skipped and has no rewards: {row.data['error']}")
        values = known_values(row, REWARD_KEYS, ())
        rewards = values.get("rewards")
        if not isinstance(rewards, list):
            raise InputError(f"{row.where}: 'rewards' must be a list of numbers, got {rewards!r:.60}")
        for i, value in enumerate(rewards):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise InputError(f"{row.where}: rewards[{i}] must be a finite number, got {value!r:.60}")
        id = ids.claim(row) if "id" in values else None
        yield Reward(id=id, rewards=tuple(float(value) for value in rewards))


def write_rewards(path: str | Path, rewards: Iterable[Reward]) -> int:
    """Write rewards as JSON lines or Parquet; the file appears when it is complete.

    Args:
        path: a ``.jsonl``, ``.ndjson`` or ``.parquet`` file.
        rewards: what to write.

    Returns:
        How many there were.
    """
    path = check_writable(Path(path))
    with replacing(path) as part:
        if is_table(path):
            return _write_table(part, rewards)
        count = 0
        with part.open("wb") as file:
            for reward in rewards:
                file.write(_line(reward))
                count += 1
        return count


def _line(reward: Reward) -> bytes:
    return json_line({"id": reward.id, "rewards": list(reward.rewards)}, f"group {reward.id!r}")


def _write_table(path: Path, rewards: Iterable[Reward]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, count = pa.schema({"id": pa.string(), "rewards": pa.list_(pa.float64())}), 0
    rewards = iter(rewards)
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(itertools.islice(rewards, _TABLE_BATCH)):
            rows = [{"id": reward.id, "rewards": list(reward.rewards)} for reward in batch]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            count += len(batch)
    return count


class RewardWriter:
    """Rewards into a file as they come, so that an interrupted run loses none of them::

        with RewardWriter("rewards.jsonl", resume=True) as writer:
            for group in groups:
                if group.id not in writer.done:
                    writer.write(reward_of(group))

    Every row is handed to the system before `write` returns. Parquet can only be written at the end: until then, rows
    are kept beside it in ``NAME.partial.jsonl``, which a later run resumes from.

    Args:
        path: a ``.jsonl``, ``.ndjson`` or ``.parquet`` file.
        resume: whether to keep what the file holds and add to it; otherwise it is replaced. A last line that an
            interruption left incomplete is dropped.

    Raises:
        InputError: it cannot be such a file, or what it holds cannot be resumed from.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = check_writable(Path(path))
        self._rows = self.path.with_name(f"{self.path.name}.partial.jsonl") if is_table(self.path) else self.path
        if not resume:
            self._rows.unlink(missing_ok=True)
        elif self._rows is not self.path and not self._rows.exists() and self.path.exists():
            write_rewards(self._rows, _iter_rewards(read_rows(self.path, allow_empty=True)))
        self.done: frozenset[str] = self._mend() if self._rows.exists() else frozenset()
        """Ids of the groups that were there at the start."""
        self._file: IO[bytes] = self._rows.open("ab")

    def _mend(self) -> frozenset[str]:
        _drop_torn_line(self._rows)
        rewards = _iter_rewards(read_rows(self._rows, allow_empty=True))
        return frozenset(reward.id for reward in rewards if reward.id is not None)

    def write(self, reward: Reward) -> None:
        """Append one group's rewards."""
        self._file.write(_line(reward))
        self._file.flush()

    def close(self) -> None:
        """Finish the file. Calling it twice is harmless."""
        if self._file.closed:
            return
        self._file.close()
        if self._rows is not self.path:
            write_rewards(self.path, _iter_rewards(read_rows(self._rows, allow_empty=True)))
            self._rows.unlink()

    def __enter__(self) -> RewardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()  # rows stay where a later run finds them


def _drop_torn_line(path: Path) -> None:
    """Cut a last line that was being written when its writer died; complete it when only its end is missing."""
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        start = _last_line_start(file, end)
        file.seek(start)
        last = file.read()
        if not last:
            return
        if _is_reward(last):
            file.write(b"\n")
        else:
            file.truncate(start)


def _last_line_start(file: IO[bytes], end: int) -> int:
    """Where what follows the last line break begins."""
    while end > 0:
        begin = max(0, end - _CHUNK)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _is_reward(line: bytes) -> bool:
    try:
        value: Any = json.loads(line)
    except ValueError:
        return False
    return isinstance(value, dict) and "rewards" in value
