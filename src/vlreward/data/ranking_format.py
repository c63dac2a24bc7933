"""What a format of preference data is: how it is recognised, read and written. One file of this room per format."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import InputError, UnsupportedError
from vlreward.types import Group, Message, Ranking, Response, Text, Video

from .parts import iter_parts
from .rows import Row, RowIds
from .targets import Target

if TYPE_CHECKING:
    from .dataset_info import DatasetEntry

COMMON_KEYS = ("id", "task", "margin")
"""Keys that every format may have beside its own; the tools that the formats are of pass over them."""


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A row that is sound but says no preference, or none that can be understood."""

    reason: str
    """A word or two, by which such rows are counted."""
    group: Group | None = None
    """Its prompt and responses, where they could be told apart."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a format needs to know of the file, beside the row."""

    folder: Path
    """Where relative paths start."""
    ids: RowIds = field(default_factory=RowIds)
    """The ids of the rows so far."""
    ignore: Collection[str] = ()
    """Keys that are passed over."""
    entry: DatasetEntry | None = None
    """What a ``dataset_info.json`` says of the file."""


@dataclass(frozen=True, kw_only=True)
class RankingFormat:
    """A format of preference data."""

    name: str
    """As the command line calls it."""
    about: str
    """Its keys, in a line."""
    matches: Callable[[Collection[str]], bool]
    """Whether a row with these keys (those that are not null or ignored) is of this format, and of no other."""
    read: Callable[[Row, Reading], Ranking | Dropped]
    """One row as a ranking. Raises an `InputError` that starts with the row's place."""
    write: Callable[[Ranking, Target, str], dict[str, Any]]
    """A ranking as a row; the last argument starts every error. Raises an `UnsupportedError` when it has no place."""
    schema: Callable[[], Any]
    """The Arrow schema of a table of such rows."""


def margin_of(values: Mapping[str, Any], where: str) -> float | None:
    """A row's ``margin``.

    Raises:
        InputError: it is not a finite number.
    """
    margin = values.get("margin")
    if margin is None:
        return None
    if not is_number(margin):
        raise InputError(f"{where}: 'margin' must be a number, got {margin!r:.60}")
    return float(margin)


def is_number(value: Any) -> bool:
    """Whether a value of a row is a finite number."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        return False


def optional_text(values: Mapping[str, Any], key: str, where: str) -> str | None:
    """A row's text, or None where it has none.

    Raises:
        InputError: it is something else.
    """
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}: {key!r} must be a string, got {value!r:.60}")
    return value


def make_pair(prompt: Any, chosen: Any, rejected: Any, *, values: Mapping[str, Any], id: str, where: str) -> Ranking:
    """A ranking of two responses, the chosen one first, with the row's ``task`` and ``margin``."""
    group = Group(prompt, [chosen, rejected], id=id, task=optional_text(values, "task", where), where=where)
    return Ranking(group=group, ranks=(0, 1), margin=margin_of(values, where))


def common_columns(ranking: Ranking, *, margin: float | None) -> dict[str, Any]:
    """The `COMMON_KEYS` of a row, without those that say nothing."""
    found = {"id": ranking.group.id, "task": ranking.group.task, "margin": margin}
    return {key: value for key, value in found.items() if value is not None}


def common_fields() -> dict[str, Any]:
    """The columns of `COMMON_KEYS` in a table, but for the id."""
    import pyarrow as pa

    return {"task": pa.string(), "margin": pa.float64()}


def image_type() -> Any:
    """A picture in a table, as data sets store it."""
    import pyarrow as pa

    return pa.struct({"bytes": pa.binary(), "path": pa.string()})


def image_column() -> Any:
    """A list of pictures in a table."""
    import pyarrow as pa

    return pa.list_(image_type())


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A ranking of two responses as pair formats write it."""

    prompt: tuple[Message, ...]
    chosen: Response
    rejected: Response
    margin: float | None
    """How much better the chosen response is."""


def pair_of(ranking: Ranking, name: str, where: str) -> Pair:
    """The two responses of a ranking, the better one as chosen.

    Args:
        ranking: any ranking.
        name: the format that asks, for the error.
        where: starts the error.

    Raises:
        UnsupportedError: it does not have two responses, or they are tied.
    """
    count = len(ranking.group)
    if count != 2:
        raise UnsupportedError(f"{where}: {count} responses, but {name} holds pairs; write it as rankings")
    first, second = ranking.ranks
    if first == second:
        raise UnsupportedError(f"{where}: a tie, but {name} holds a chosen and a rejected response")
    margin = ranking.margin
    if first > second and margin is not None:
        margin = -margin  # it speaks of the first
    chosen, rejected = ranking.group.responses if first < second else ranking.group.responses[::-1]
    return Pair(prompt=ranking.group.messages, chosen=chosen, rejected=rejected, margin=margin)


def plain_text(response: Response, name: str, where: str) -> str:
    """The text of a response that is one assistant message of text.

    Raises:
        UnsupportedError: it is more than that.
    """
    if len(response) != 1 or response[0].role != "assistant":
        raise UnsupportedError(f"{where}: a response of several messages, but {name} holds one answer")
    return plain_content(response[0], name, where)


def plain_content(message: Message, name: str, where: str) -> str:
    """The text of a message of text.

    Raises:
        UnsupportedError: it holds a picture or a video.
    """
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    if len(texts) != len(message.parts):
        raise UnsupportedError(
            f"{where}: a picture or video in the {message.role} message, but {name} holds text there"
        )
    return "".join(texts)


def refuse_limits(group: Group, name: str, where: str) -> None:
    """See that no picture or video says how it is to be read.

    Raises:
        UnsupportedError: one does, and the format has no place for it.
    """
    for part in iter_parts(group):
        keys = ("fps", "max_frames", "min_pixels", "max_pixels")
        said = [key for key in keys if getattr(part, key, None) is not None]
        if said:
            kind = "video" if isinstance(part, Video) else "picture"
            raise UnsupportedError(f"{where}: a {kind} says {' and '.join(said)}, which {name} has no place for")
