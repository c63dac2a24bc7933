"""The two conversations of a pair, each said whole, and the prompt that they have in common."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from typing import Any

from vlreward.types import Image, Message, Response, Text

from .sources import is_uri


def split_pair(
    chosen: Sequence[Message], rejected: Sequence[Message]
) -> tuple[tuple[Message, ...], Response, Response]:
    """What two conversations begin with, and what each of them goes on with.

    The last message is always left to the response, even where one conversation begins with the other. Messages are
    the same when their text is and their pictures come from the same place.
    """
    most = max(min(len(chosen), len(rejected)) - 1, 0)
    keys = ([message_key(message) for message in side[:most]] for side in (chosen, rejected))
    shared = next((i for i, (one, other) in enumerate(zip(*keys, strict=True)) if one != other), most)
    return tuple(chosen[:shared]), tuple(chosen[shared:]), tuple(rejected[shared:])


def message_key(message: Message) -> Hashable:
    """Equal for messages of the same role, text and media: parts with pictures themselves compare by identity."""
    pieces: list[Hashable] = []
    for part in message.parts:
        if not isinstance(part, Text):
            limits = tuple(sorted((key, value) for key, value in vars(part).items() if key != "source"))
            pieces.append((type(part).__name__, _source_key(part.source), limits))
        elif pieces and isinstance(pieces[-1], str):
            pieces[-1] += part.text
        elif part.text:
            pieces.append(part.text)
    return message.role, tuple(pieces)


def same_media(chosen: Sequence[Message], rejected: Sequence[Message]) -> bool:
    """Whether two conversations show the same pictures and videos, from the same places, in the same order."""
    return _media_keys(chosen) == _media_keys(rejected)


def _media_keys(messages: Sequence[Message]) -> list[Hashable]:
    parts = (part for message in messages for part in message.parts)
    return [(isinstance(part, Image), _source_key(part.source)) for part in parts if not isinstance(part, Text)]


def _source_key(source: Any) -> Hashable:
    if isinstance(source, (list, tuple)):
        return tuple(_source_key(item) for item in source)
    if isinstance(source, bytes) or (isinstance(source, str) and is_uri(source)):
        return source
    if isinstance(source, (str, os.PathLike)):
        return os.path.abspath(os.fspath(source))
    return None if source is None else id(source)
