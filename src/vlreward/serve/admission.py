"""The guard at the door: what a request may hold, and every picture and video of it as bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vlreward.data.parts import map_parts
from vlreward.data.sources import read_bytes
from vlreward.engines.wire import MEDIA_ID, media_id
from vlreward.errors import MediaError
from vlreward.types import Group, Image, Message, Part, Text, Video

from .addresses import Addresses
from .limits import RequestLimits
from .media import Header, MediaStore, read_header
from .refusals import Refusal

_FPS = (0.01, 1000.0)
_DEFAULT_FPS = 2.0
_FEWEST_FRAMES = 4


class Guard:
    """Lets groups in; an `Admission`.

    Args:
        limits: what a request may hold.
        store: the pictures and videos that clients have sent before.
        addresses: where others may be fetched from; None: nowhere.
    """

    def __init__(self, limits: RequestLimits, store: MediaStore, addresses: Addresses | None = None) -> None:
        self._limits, self._store, self._addresses = limits, store, addresses

    async def admit(self, groups: Sequence[Group]) -> list[Group]:
        """The groups with every picture and video as bytes, looked at but not decoded.

        Raises:
            Refusal: a limit is passed, a medium is unknown (all of them are named), an address or a path is not read.
        """
        check_counts(groups, self._limits)
        uses = [use for i, group in enumerate(groups) for use in _uses(group, f"groups[{i}]")]
        if not uses:
            return list(groups)
        self._check_uses(uses)
        known = self._known(uses)
        fetched = await self._fetched(uses)
        return await asyncio.to_thread(self._filled, groups, uses, known | fetched)

    def _check_uses(self, uses: Sequence[_Use]) -> None:
        limits = self._limits
        videos = sum(use.is_file for use in uses)
        if videos > limits.max_videos:
            raise Refusal("too_large", f"{videos} videos; at most {limits.max_videos} in a request")
        images = sum(len(use.sources) for use in uses) - videos
        if images > limits.max_images:
            raise Refusal("too_large", f"{images} pictures; at most {limits.max_images} in a request")
        for use in uses:
            _check_part(use, limits)
            for source in use.sources:
                _check_source(source, limits, use.where)

    def _known(self, uses: Sequence[_Use]) -> dict[Any, bytes]:
        """The bytes of all ids.

        Raises:
            Refusal: some are not there; all of these are named, so that one answer is enough.
        """
        names = dict.fromkeys(source for use in uses for source in use.sources if _is_id(source))
        found = {name: self._store.get(name) for name in names}
        missing = tuple(name for name, data in found.items() if data is None)
        if missing:
            word = "picture or video is" if len(missing) == 1 else "pictures or videos are"
            message = f"{len(missing)} {word} not here (any more): PUT the bytes to /v1/media and ask again"
            raise Refusal("unknown_media", message, media=missing)
        return {name: data for name, data in found.items() if data is not None}

    async def _fetched(self, uses: Sequence[_Use]) -> dict[Any, bytes]:
        wanted = {source: use.where for use in reversed(uses) for source in use.sources if _is_address(source)}
        if not wanted:
            return {}
        if self._addresses is None:
            where = next(iter(wanted.values()))
            raise Refusal("bad_request", "addresses are not fetched here; send the bytes", where=where)
        return await self._fetch_all(self._addresses, wanted)

    async def _fetch_all(self, addresses: Addresses, wanted: Mapping[str, str]) -> dict[Any, bytes]:
        """The bodies behind addresses, given what a refusal of each is about. With the first refusal, all end."""
        most = self._limits.max_body_bytes
        found: dict[Any, bytes] = {}

        async def fetch(url: str, where: str) -> None:
            found[url] = await addresses.fetch(url, where)
            # A few bytes of a request could ask for more than any request may carry.
            if sum(map(len, found.values())) > most:
                raise Refusal("too_large", f"more than {most:,} bytes are fetched for this request", where=where)

        fetching = [asyncio.ensure_future(fetch(url, where)) for url, where in wanted.items()]
        seconds = self._limits.body_seconds
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*fetching)
        except TimeoutError:
            where = next(iter(wanted.values()))
            raise Refusal("bad_request", f"pictures took longer than {seconds:g} s to fetch", where=where) from None
        finally:
            for task in fetching:
                task.cancel()
            await asyncio.gather(*fetching, return_exceptions=True)
        return found

    def _filled(self, groups: Sequence[Group], uses: Sequence[_Use], found: Mapping[Any, bytes]) -> list[Group]:
        """The groups with bytes for sources; equal bytes are one object, and looked at once."""
        media: dict[Any, _Medium] = {}
        distinct: dict[str, _Medium] = {}
        for use in uses:
            for source in use.sources:
                if source not in media:
                    data = found[source] if source in found else _carried(source, self._limits, use.where)
                    name = media_id(data)
                    if name not in distinct:
                        distinct[name] = _Medium(data, read_header(data, self._limits, use.where))
                    media[source] = distinct[name]
                _check_kind(use, media[source].header)
        _check_pixels(uses, media, self._limits)

        def fill(part: Part) -> Part:
            if isinstance(part, Text):
                return part
            if isinstance(part, Video) and part.is_frames:
                return replace(part, source=tuple(media[frame].data for frame in part.source))
            return replace(part, source=media[part.source].data)

        return [map_parts(group, fill) for group in groups]


@dataclass(frozen=True)
class _Use:
    """A part that shows something, and where it stands."""

    where: str
    part: Image | Video

    @property
    def sources(self) -> tuple[Any, ...]:
        """The frames of a video that is sent as frames, else the one source."""
        return tuple(self.part.source) if self.is_frames else (self.part.source,)

    @property
    def is_frames(self) -> bool:
        return isinstance(self.part, Video) and self.part.is_frames

    @property
    def is_file(self) -> bool:
        """Whether it is a video file."""
        return isinstance(self.part, Video) and not self.part.is_frames


@dataclass(frozen=True)
class _Medium:
    data: bytes
    header: Header


def _uses(group: Group, where: str) -> Iterator[_Use]:
    yield from _uses_in(group.messages, f"{where}.messages")
    for i, response in enumerate(group.responses):
        yield from _uses_in(response, f"{where}.responses[{i}]", numbered=len(response) > 1)


def _uses_in(messages: Sequence[Message], where: str, *, numbered: bool = True) -> Iterator[_Use]:
    for i, message in enumerate(messages):
        for part in message.parts:
            if not isinstance(part, Text):
                yield _Use(f"{where}[{i}]" if numbered else where, part)


def check_counts(groups: Sequence[Group], limits: RequestLimits) -> None:
    """See that a request is not too much to tokenise.

    Raises:
        Refusal: it has too many groups, responses or characters, or what is no character.
    """
    if len(groups) > limits.max_groups:
        raise Refusal("too_large", f"{len(groups)} groups; at most {limits.max_groups} in a request")
    responses = sum(map(len, groups))
    if responses > limits.max_responses:
        raise Refusal("too_large", f"{responses} responses; at most {limits.max_responses} in a request")
    total = 0
    for i, group in enumerate(groups):
        prompt = _characters(group.messages, f"groups[{i}].messages")
        for k, response in enumerate(group.responses):
            where = f"groups[{i}].responses[{k}]"
            length = prompt + _characters(response, where)
            total += length
            if length > limits.max_text:
                message = f"a conversation of {length:,} characters; at most {limits.max_text:,}"
                raise Refusal("too_large", message, where=where)
    if total > limits.max_total_text:
        message = f"conversations of {total:,} characters together; at most {limits.max_total_text:,} in a request"
        raise Refusal("too_large", message)


def _characters(messages: Sequence[Message], where: str) -> int:
    """How many there are; all must be characters, since a tokeniser fails on half of a surrogate pair."""
    texts = [part.text for message in messages for part in message.parts if isinstance(part, Text)]
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError:
        raise Refusal("bad_request", "half of a surrogate pair is no character", where=where) from None
    return sum(map(len, texts))


def _check_part(use: _Use, limits: RequestLimits) -> None:
    """What a part asks for beside its source: enlarging a picture costs as much as sending a large one."""
    part = use.part
    for name in ("min_pixels", "max_pixels"):
        if (getattr(part, name) or 0) > limits.max_resized_pixels:
            raise Refusal("too_large", f"{name} is at most {limits.max_resized_pixels:,} here", where=use.where)
    if not isinstance(part, Video):
        return
    if part.fps is not None and not _FPS[0] <= part.fps <= _FPS[1]:
        raise Refusal("bad_request", f"fps must be from {_FPS[0]:g} to {_FPS[1]:g}", where=use.where)
    if use.is_frames and len(part.source) > limits.max_video_frames:
        raise Refusal("too_large", f"a video has at most {limits.max_video_frames} frames here", where=use.where)


def _check_source(source: Any, limits: RequestLimits, where: str) -> None:
    """See that a source is bytes, or a text that says where bytes are. What it says instead is not told again."""
    if isinstance(source, bytes):
        return
    if not isinstance(source, str):
        raise Refusal("bad_request", "a picture or video needs a source, which is text", where=where)
    if _is_data(source):
        # Base64 is four characters for three bytes; read_bytes counts what it decodes to.
        if len(source) > limits.max_media_bytes * 4 // 3 + 256:
            raise Refusal("too_large", f"more than {limits.max_media_bytes:,} bytes", where=where)
    elif source.startswith("media:"):
        if not _is_id(source):
            raise Refusal("bad_request", "media: is followed by the 64 hexadecimal digits of a SHA-256", where=where)
    elif not _is_address(source):
        message = "no file is read here: give a data: URI, or send the bytes to /v1/media and give the id"
        raise Refusal("bad_request", message, where=where)


def _is_data(source: Any) -> bool:
    return isinstance(source, str) and source[:5].lower() == "data:"


def _is_id(source: Any) -> bool:
    return isinstance(source, str) and MEDIA_ID.fullmatch(source) is not None


def _is_address(source: Any) -> bool:
    return isinstance(source, str) and source[:8].lower().startswith(("http://", "https://"))


def _carried(source: str | bytes, limits: RequestLimits, where: str) -> bytes:
    """The bytes that a source is, or that a data URI holds."""
    if not _is_data(source):
        assert isinstance(source, bytes), "every other text was refused"
        return source
    try:
        return read_bytes(source, limits.media_limits(), "media")
    except MediaError:
        raise Refusal("bad_request", "a data: URI that is empty, too large or not valid base64", where=where) from None


def _check_kind(use: _Use, header: Header) -> None:
    wanted = "video" if use.is_file else "image"
    if header.kind != wanted:
        is_what = {"image": "a picture", "video": "a video"}
        raise Refusal("bad_request", f"{is_what[header.kind]} where {is_what[wanted]} should be", where=use.where)


def _check_pixels(uses: Sequence[_Use], media: Mapping[Any, _Medium], limits: RequestLimits) -> None:
    """See that what a request shows fits the memory once it is decoded, each content once."""
    pixels: dict[int, int] = {}
    for use in uses:
        for source in use.sources:
            medium = media[source]
            frames = _frames_taken(use.part, medium.header, limits)
            pixels[id(medium)] = max(pixels.get(id(medium), 0), frames * medium.header.pixels)
    total = sum(pixels.values())
    if total > limits.max_total_pixels:
        raise Refusal("too_large", f"{total:,} pixels; at most {limits.max_total_pixels:,} in a request")


def _frames_taken(part: Image | Video, header: Header, limits: RequestLimits) -> int:
    """How many frames of a file are decoded and kept, or a few more."""
    if header.kind == "image" or isinstance(part, Image):
        return 1
    wanted = max(_FEWEST_FRAMES, int(header.seconds * (part.fps or _DEFAULT_FPS)))
    return min(wanted, header.frames, part.max_frames or limits.max_video_frames, limits.max_video_frames)
