"""The RLAIF-V data set (openbmb/RLAIF-V-Dataset): one picture, a question, a chosen and a rejected answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from vlreward.errors import InputError, UnsupportedError
from vlreward.types import Image, Message, Part, Ranking, Source, Text

from .parts import list_sources, resolve_paths
from .ranking_format import (
    COMMON_KEYS,
    Pair,
    RankingFormat,
    Reading,
    common_columns,
    common_fields,
    image_type,
    make_pair,
    pair_of,
    plain_text,
    refuse_limits,
)
from .rows import Row, known_values
from .targets import Target

_NAME = "rlaif-v"
_TEXTS = ("question", "chosen", "rejected")
_KEYS = (*_TEXTS, "image", "idx", *COMMON_KEYS)
# Where a row comes from; the picture itself is in "image".
_PASSED_OVER = ("ds_name", "origin_dataset", "origin_split", "image_path")


def _matches(keys: Collection[str]) -> bool:
    return "question" in keys and bool({"chosen", "rejected"} & set(keys)) and "conversations" not in keys


def _read(row: Row, reading: Reading) -> Ranking:
    values, where = known_values(row, _KEYS, (*reading.ignore, *_PASSED_OVER)), row.where
    for key in _TEXTS:
        if not isinstance(values.get(key), str):
            raise InputError(f"{where}: {key!r} must be a string, got {type(values.get(key)).__name__}")
    images = [Image(source=source) for source in list_sources(values.get("image"), "image", "image", where)]
    content: tuple[Part, ...] = (*images, Text(text=values["question"]))
    id = reading.ids.distinct(row, "id" if "id" in values else "idx")
    prompt = [Message("user", content if images else values["question"])]
    ranking = make_pair(prompt, values["chosen"], values["rejected"], values=values, id=id, where=where)
    return replace(ranking, group=resolve_paths(ranking.group, reading.folder, where))


def _write(ranking: Ranking, target: Target, where: str) -> dict[str, Any]:
    pair = pair_of(ranking, _NAME, where)
    refuse_limits(ranking.group, _NAME, where)
    source, question = asked(pair, _NAME, where)
    columns = common_columns(ranking, margin=pair.margin)
    row = {"idx": columns.pop("id")} if "id" in columns else {}
    row |= {"image": picture_column(source, target, where), "question": question}
    row |= {"chosen": plain_text(pair.chosen, _NAME, where), "rejected": plain_text(pair.rejected, _NAME, where)}
    return row | columns


def picture_column(source: Source, target: Target, where: str) -> dict[str, Any] | None:
    """One picture as data sets store it, ``{"bytes", "path"}``, or None for None."""
    image = None if source is None else target.image(source, where)
    return {"bytes": None, "path": image} if isinstance(image, str) else image


def asked(pair: Pair, name: str, where: str) -> tuple[Any, str]:
    """The picture and the question of a prompt that is no more than that.

    Returns:
        The picture's source, or None without one, and the question.

    Raises:
        UnsupportedError: the prompt is not one user message of at most one picture, and text behind it.
    """
    if len(pair.prompt) != 1 or pair.prompt[0].role != "user":
        raise UnsupportedError(f"{where}: {name} holds one question, this prompt has other messages too")
    first, *rest = pair.prompt[0].parts or (Text(text=""),)
    image = first if isinstance(first, Image) else None
    texts = [part.text for part in (rest if image else (first, *rest)) if isinstance(part, Text)]
    if len(texts) != len(rest) + (image is None):
        raise UnsupportedError(f"{where}: {name} holds one picture before the question; this prompt is not so")
    return image.source if image else None, "".join(texts)


def _schema() -> Any:
    import pyarrow as pa

    texts = dict.fromkeys(_TEXTS, pa.string())
    return pa.schema({"idx": pa.string(), "image": image_type()} | texts | common_fields())


RLAIF_V = RankingFormat(
    name=_NAME,
    about="image, question, chosen, rejected",
    matches=_matches,
    read=_read,
    write=_write,
    schema=_schema,
)
