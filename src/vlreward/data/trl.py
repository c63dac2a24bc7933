"""Comparisons in the form of TRL: rows of ``prompt``, ``chosen`` and ``rejected``.

Read as TRL 1.16 defines them: messages or plain text; without a ``prompt``, the messages that chosen and rejected have
in common at the start; pictures of an ``images`` (or ``image``) column go before the first user message's text when
there are no image parts for them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlreward.errors import InputError
from vlreward.types import Group, Image, Message, Ranking

from .parts import fill_sources, iter_parts, resolve_paths
from .rows import Row, RowIds, known_values, read_rows

RANKING_KEYS = ("id", "prompt", "chosen", "rejected", "images", "image", "margin", "task")


def read_rankings(path: str | Path, *, ignore: Collection[str] = ()) -> Iterator[Ranking]:
    """Read comparisons, one `Ranking` of two responses per row, the chosen one first.

    Args:
        path: a file that `read_rows` knows. Its rows hold ``chosen`` and ``rejected`` (text or messages), and may hold
            ``prompt`` (text or messages), ``images`` or ``image``, ``margin`` (a number), ``task`` and ``id`` (else the
            row's number). Relative paths start from the file's folder.
        ignore: other keys that the rows have and that are passed over.

    Raises:
        InputError: a row is not of this form; the message starts with the file and line.
    """
    return _iter_rankings(read_rows(path), Path(path).parent, ignore)


def _iter_rankings(rows: Iterator[Row], folder: Path, ignore: Collection[str]) -> Iterator[Ranking]:
    ids = RowIds()
    for row in rows:
        yield row_to_ranking(row, ids.claim(row), folder, ignore)


def row_to_ranking(row: Row, id: str, folder: Path, ignore: Collection[str] = ()) -> Ranking:
    """One row as a comparison; see `read_rankings`."""
    if "responses" in row.data and "chosen" not in row.data:
        raise InputError(f"{row.where}: a group says no ranking; a comparison needs 'chosen' and 'rejected'")
    values = known_values(row, RANKING_KEYS, ignore)
    for key in ("chosen", "rejected"):
        if key not in values:
            raise InputError(f"{row.where}: no {key!r}; a comparison needs 'chosen' and 'rejected'")
    prompt, chosen, rejected = _split(values, row.where)
    group = Group(prompt, [chosen, rejected], id=id, task=values.get("task"), where=row.where)
    images = _images(values, row.where)
    if images and not any(isinstance(part, Image) for part in iter_parts(group)):
        group = _insert_images(group, len(images), row.where)
    group = resolve_paths(fill_sources(group, images, None, row.where), folder, row.where)
    return Ranking(group=group, ranks=(0, 1), margin=_margin(values, row.where))


def _split(values: Mapping[str, Any], where: str) -> tuple[Any, Any, Any]:
    prompt, chosen, rejected = values.get("prompt"), values["chosen"], values["rejected"]
    if isinstance(chosen, list) and isinstance(rejected, list):
        # Some data sets repeat the question as text in "prompt" beside whole conversations.
        whole = not (_starts_with_answer(chosen) and _starts_with_answer(rejected))
        if prompt is None or (isinstance(prompt, str) and whole):
            return _common_prompt(chosen, rejected)
        if isinstance(prompt, list) and prompt and _present(chosen[: len(prompt)]) == _present(prompt):
            raise InputError(f"{where}: 'chosen' begins with the whole prompt; drop 'prompt', or the repetition")
    if prompt is None:
        raise InputError(f"{where}: no 'prompt'; only lists of messages show where the prompt ends, text does not")
    return prompt, chosen, rejected


def _starts_with_answer(messages: list[Any]) -> bool:
    return bool(messages) and isinstance(messages[0], Mapping) and messages[0].get("role") == "assistant"


def _common_prompt(chosen: list[Any], rejected: list[Any]) -> tuple[Any, Any, Any]:
    # The last message is always left to the response, even where one conversation begins with the other.
    most = max(min(len(chosen), len(rejected)) - 1, 0)
    shared = next((i for i in range(most) if _present(chosen[i]) != _present(rejected[i])), most)
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _present(value: Any) -> Any:
    """``value`` without the nulls that a table fills absent keys with."""
    if isinstance(value, Mapping):
        return {key: _present(item) for key, item in value.items() if item is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value


def _images(values: Mapping[str, Any], where: str) -> Any:
    if "image" not in values:
        return values.get("images")
    if "images" in values:
        raise InputError(f"{where}: both 'image' and 'images'; give one of them")
    return [values["image"]]


def _insert_images(group: Group, count: int, where: str) -> Group:
    for i, message in enumerate(group.messages):
        if message.role == "user":
            filled = Message("user", (*(Image() for _ in range(count)), *message.parts))
            return replace(group, messages=(*group.messages[:i], filled, *group.messages[i + 1 :]))
    raise InputError(f"{where}: {count} images, but the prompt has no user message to hold them")


def _margin(values: Mapping[str, Any], where: str) -> float | None:
    margin = values.get("margin")
    if margin is None:
        return None
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not math.isfinite(margin):
        raise InputError(f"{where}: 'margin' must be a number, got {margin!r:.60}")
    return float(margin)
