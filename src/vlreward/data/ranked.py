"""Rankings of any number of responses: rows of a groups file that also hold ``ranks`` or ``scores``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vlreward.errors import InputError
from vlreward.types import Ranking

from .group_rows import row_to_group
from .ranking_format import RankingFormat, Reading, is_number, margin_of
from .rows import Row
from .targets import Target
from .writing import group_to_row, table_row, table_schema

_NAME = "rankings"
RANK_KEYS = ("ranks", "scores", "margin")


def _matches(keys: Collection[str]) -> bool:
    return "responses" in keys and bool({"ranks", "scores"} & set(keys)) and not {"chosen", "rejected"} & set(keys)


def _read(row: Row, reading: Reading) -> Ranking:
    """``ranks`` are whole numbers, the smallest the best; ``scores`` are numbers, the largest the best."""
    where = row.where
    values = {key: value for key, value in row.data.items() if value is not None and key not in reading.ignore}
    group = row_to_group(row, reading.ids.claim(row), reading.folder, (*reading.ignore, *RANK_KEYS))
    given = [key for key in ("ranks", "scores") if key in values]
    if len(given) != 1:
        found = "both" if given else "neither"
        raise InputError(f"{where}: {found} of 'ranks' and 'scores'; give one of them")
    numbers = _numbers(values[given[0]], given[0], len(group), where)
    if given == ["scores"]:
        order = {score: rank for rank, score in enumerate(sorted(set(numbers), reverse=True))}
        ranks = tuple(order[score] for score in numbers)
    else:
        ranks = tuple(int(rank - min(numbers)) for rank in numbers)
    return Ranking(group=group, ranks=ranks, margin=margin_of(values, where))


def _numbers(value: Any, name: str, count: int, where: str) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        found = f"{len(value)} of them" if isinstance(value, list) else type(value).__name__
        raise InputError(f"{where}: {name!r} must be a list of {count} numbers, one per response, got {found}")
    for i, number in enumerate(value):
        if not is_number(number) or (name == "ranks" and number != int(number)):
            wanted = "an integer" if name == "ranks" else "a finite number"
            raise InputError(f"{where}: {name}[{i}] must be {wanted}, got {number!r:.60}")
    return value


def _write(ranking: Ranking, target: Target, _where: str) -> dict[str, Any]:
    row = group_to_row(ranking.group, target.folder)
    row["ranks"] = list(ranking.ranks)
    if ranking.margin is not None:
        row["margin"] = ranking.margin
    return table_row(row) if target.is_table else row


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([*table_schema(), ("ranks", pa.list_(pa.int64())), ("margin", pa.float64())])


RANKINGS = RankingFormat(
    name=_NAME,
    about="messages, responses, ranks (0 the best) or scores (the largest the best), images?",
    matches=_matches,
    read=_read,
    write=_write,
    schema=_schema,
)
