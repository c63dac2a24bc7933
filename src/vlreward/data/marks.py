"""Text in which ``<image>`` and ``<video>`` stand for pictures and videos that a row lists beside it.

LLaMA-Factory, ms-swift and LLaVA write conversations so. A mark is the picture and nothing else: a line break beside it
stays in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from vlreward.errors import InputError, UnsupportedError
from vlreward.types import Image, Message, Part, Text, Video

from .parts import list_sources

_MARK = re.compile(r"<(image|video|audio)>")


def split_marks(text: str, where: str) -> str | tuple[Part, ...]:
    """Text with marks as parts, the pictures and videos still without a source; text without marks as it is.

    Raises:
        InputError: it has an ``<audio>`` mark.
    """
    pieces = _MARK.split(text)
    if len(pieces) == 1:
        return text
    parts: list[Part] = []
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            parts += [Text(text=piece)] if piece else []
        elif piece == "audio":
            raise InputError(f"{where}: an <audio> mark; sound is not read")
        else:
            parts.append(Image() if piece == "image" else Video())
    return tuple(parts)


def join_marks(message: Message, name: str, where: str) -> str:
    """The content of a message as text with marks.

    Args:
        message: its pictures and videos become marks.
        name: the format, for the error.
        where: starts the error.

    Raises:
        UnsupportedError: the text itself holds a mark, which would be read as a picture.
    """
    pieces = []
    for part in message.parts:
        if isinstance(part, Text):
            found = _MARK.search(part.text)
            if found:
                raise UnsupportedError(
                    f"{where}: the text holds {found[0]}, which {name} reads as {found[1]}; reword it"
                )
            pieces.append(part.text)
        else:
            pieces.append("<image>" if isinstance(part, Image) else "<video>")
    joined = "".join(pieces)
    if len(_MARK.findall(joined)) != len(media_of([message])):
        raise UnsupportedError(f"{where}: pieces of text meet in a mark, which {name} would read as media; reword it")
    return joined


def media_of(messages: Sequence[Message]) -> list[Image | Video]:
    """The pictures and videos of messages, in order."""
    return [part for message in messages for part in message.parts if not isinstance(part, Text)]


def fill_marks(
    messages: Sequence[Message], images: Any, videos: Any, where: str, *, names: tuple[str, str] = ("images", "videos")
) -> tuple[Message, ...]:
    """Give the marks of a conversation what its row lists, in order.

    Args:
        messages: a whole conversation, as `split_marks` reads it.
        images: a list with one entry per ``<image>``, one entry alone, or None.
        videos: the same for ``<video>``; an entry is a file, or a list of frames.
        where: starts every error message.
        names: what the row calls the two lists, for errors.

    Raises:
        InputError: the numbers differ, or an entry is not a source.
    """
    open_parts = [part for part in media_of(messages) if part.source is None]
    sources: dict[type, Iterator[Any]] = {}
    for kind, cls, values, name in (("image", Image, images, names[0]), ("video", Video, videos, names[1])):
        listed = list_sources(values, kind, name, where)
        count = sum(isinstance(part, cls) for part in open_parts)
        if len(listed) != count:
            advice = "add a mark or drop one" if len(listed) > count else "add one or drop a mark"
            raise InputError(f"{where}: {len(listed)} in {name!r} but {count} <{kind}> in the conversation; {advice}")
        sources[cls] = iter(listed)

    def fill(part: Part) -> Part:
        if isinstance(part, Text) or part.source is not None:
            return part
        return replace(part, source=next(sources[type(part)]))

    return tuple(
        message if isinstance(message.content, str) else Message(message.role, tuple(map(fill, message.content)))
        for message in messages
    )
