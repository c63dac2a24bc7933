"""Skywork-Reward-Preference-80K: two whole conversations of text, ``chosen`` and ``rejected``, and their ``source``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vlreward.errors import InputError, UnsupportedError
from vlreward.types import Message, Ranking

from .ranking_format import (
    RankingFormat,
    Reading,
    common_columns,
    make_pair,
    optional_text,
    pair_of,
    plain_content,
)
from .rows import Row, known_values
from .targets import Target
from .trl import common_prompt

_NAME = "skywork-preference"
_KEYS = ("id", "chosen", "rejected", "source", "margin")


def _matches(keys: Collection[str]) -> bool:
    return {"chosen", "rejected", "source"} <= set(keys) <= set(_KEYS)


def _read(row: Row, reading: Reading) -> Ranking:
    values, where = known_values(row, _KEYS, reading.ignore), row.where
    for key in ("chosen", "rejected"):
        if not isinstance(values.get(key), list):
            raise InputError(f"{where}: {key!r} must be a list of messages, got {type(values.get(key)).__name__}")
    # The source says what kind of task the pair is.
    values["task"] = optional_text(values, "source", where)
    prompt, chosen, rejected = common_prompt(values["chosen"], values["rejected"])
    return make_pair(prompt, chosen, rejected, values=values, id=reading.ids.distinct(row), where=where)


def _write(ranking: Ranking, _target: Target, where: str) -> dict[str, Any]:
    pair = pair_of(ranking, _NAME, where)
    if not pair.prompt:
        raise UnsupportedError(f"{where}: no prompt, which {_NAME} shows by what both conversations begin with")

    def turn(message: Message) -> dict[str, str]:
        return {"role": message.role, "content": plain_content(message, _NAME, where)}

    sides = {"chosen": (*pair.prompt, *pair.chosen), "rejected": (*pair.prompt, *pair.rejected)}
    row: dict[str, Any] = {key: [turn(message) for message in side] for key, side in sides.items()}
    columns = common_columns(ranking, margin=pair.margin)
    row["source"] = columns.pop("task", None)
    return row | columns


def _schema() -> Any:
    import pyarrow as pa

    messages = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
    columns = {"id": pa.string(), "chosen": messages, "rejected": messages, "source": pa.string()}
    return pa.schema(columns | {"margin": pa.float64()})


SKYWORK_PREFERENCE = RankingFormat(
    name=_NAME,
    about="chosen and rejected as whole conversations of text, source",
    matches=_matches,
    read=_read,
    write=_write,
    schema=_schema,
)
