"""Where the pictures and videos of a row's parts come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlreward.errors import InputError
from vlreward.types import Group, Image, Message, Part, Response, Video, parse_part

from .sources import is_uri


def iter_parts(group: Group) -> Iterator[Part]:
    """The parts of the prompt, then those of each response, in order."""
    for message in group.messages:
        yield from message.parts
    for response in group.responses:
        for message in response:
            yield from message.parts


def map_parts(group: Group, change: Callable[[Part], Part]) -> Group:
    """The group with every part changed; parts are visited in the order of `iter_parts`."""

    def message(old: Message) -> Message:
        return old if isinstance(old.content, str) else Message(old.role, tuple(change(part) for part in old.content))

    def response(old: Response) -> Response:
        return tuple(message(item) for item in old)

    messages = tuple(message(item) for item in group.messages)
    return replace(group, messages=messages, responses=tuple(response(item) for item in group.responses))


def fill_sources(group: Group, images: Any, videos: Any, where: str) -> Group:
    """Give the parts without a source what a row's ``images`` and ``videos`` hold, in order.

    Args:
        group: the row's prompt and responses; parts without a source are counted over the prompt, then the responses.
        images: a list with one entry per image part without a source, or None.
        videos: the same for video parts; an entry is a file, or a list of frames.
        where: starts every error message.

    Raises:
        InputError: the numbers differ, or an entry is not a source.
    """
    open_images = sum(isinstance(part, Image) and part.source is None for part in iter_parts(group))
    open_videos = sum(isinstance(part, Video) and part.source is None for part in iter_parts(group))
    image_sources = iter(_sources(images, "image", open_images, where))
    video_sources = iter(_sources(videos, "video", open_videos, where))
    if not open_images and not open_videos:
        return group

    def fill(part: Part) -> Part:
        if isinstance(part, Image) and part.source is None:
            return replace(part, source=next(image_sources))
        if isinstance(part, Video) and part.source is None:
            return replace(part, source=next(video_sources))
        return part

    return map_parts(group, fill)


def list_sources(values: Any, kind: str, name: str, where: str) -> list[Any]:
    """A row's list of sources, one of them alone, or None, as sources of parts.

    Args:
        values: paths, URIs, bytes, ``{"bytes", "path"}`` objects, or for videos also lists of frames.
        kind: "image" or "video".
        name: what the row calls the list.
        where: starts every error message.

    Raises:
        InputError: an entry is not a source.
    """
    if values is None:
        return []
    if isinstance(values, (str, bytes, Mapping)):
        values = [values]
    if not isinstance(values, Sequence):
        raise InputError(f"{where}: {name!r} must be a list, got {type(values).__name__}")
    return [_source(value, kind, f"{where}: {name}[{i}]") for i, value in enumerate(values)]


def _sources(values: Any, kind: str, parts: int, where: str) -> list[Any]:
    values = [] if values is None else values
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Sequence):
        raise InputError(f"{where}: '{kind}s' must be a list, got {type(values).__name__}")
    if len(values) != parts:
        advice = f"drop {kind}s or add {kind} parts" if len(values) > parts else f"add to '{kind}s' or drop parts"
        raise InputError(
            f"{where}: {_count(len(values), kind)} but {_count(parts, f'{kind} part')} without a source; {advice}"
        )
    return [_source(value, kind, f"{where}: {kind}s[{i}]") for i, value in enumerate(values)]


def _source(value: Any, kind: str, where: str) -> Any:
    part = parse_part({"type": kind, kind: value}, where)
    source = part.source if isinstance(part, (Image, Video)) else None
    if source is None:
        raise InputError(f"{where}: expected a path, a URI or bytes, got {value!r:.60}")
    return source


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def resolve_paths(group: Group, folder: Path, where: str) -> Group:
    """Take relative paths from ``folder``; URIs, bytes and absolute paths stay.

    Raises:
        InputError: a source is not something that a file can say.
    """

    def resolve(part: Part) -> Part:
        if isinstance(part, Video) and part.is_frames:
            return replace(part, source=tuple(_resolve(frame, folder, where) for frame in part.source))
        if isinstance(part, (Image, Video)):
            return replace(part, source=_resolve(part.source, folder, where))
        return part

    has_media = any(isinstance(part, (Image, Video)) for part in iter_parts(group))
    return map_parts(group, resolve) if has_media else group


def _resolve(source: Any, folder: Path, where: str) -> Any:
    if isinstance(source, Mapping):  # a frame as data sets store it
        source = next((source[key] for key in ("bytes", "path", "url") if source.get(key) is not None), None)
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if isinstance(source, bytes):
        return source
    if not isinstance(source, str) or not source:
        raise InputError(f"{where}: expected a path, a URI or bytes as a source, got {source!r:.60}")
    return source if is_uri(source) or os.path.isabs(source) else str(folder / source)
