"""What a group shares with others and about how large it is, found without a tokenizer and without decoding.

The numbers only decide which groups are computed together: a wrong estimate costs time and changes no reward.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vlreward.data.content import Looker, conversation_digest, digest_of, text_of
from vlreward.data.images import image_size
from vlreward.data.marks import media_of
from vlreward.errors import MediaError
from vlreward.types import Group, Image, Message, Video

from .refusals import Refusal

_BYTES_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 6
_CELL = 28 * 28
"""Pixels of a visual token of Qwen2-VL and Qwen2.5-VL."""
_VIDEO_TOKENS = 4096
"""Of a video file, whose length nobody has looked at yet."""


@dataclass(frozen=True, kw_only=True)
class PixelRange:
    """The sizes that the model resizes pictures to."""

    low: int = 4 * _CELL
    high: int = 1280 * _CELL


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """A group, as batching sees it."""

    digest: int
    """Equal for groups of the same prompt and responses."""
    pieces: tuple[tuple[int, int], ...]
    """Digest and tokens of the prompt's text, and then of each of its pictures and videos."""
    answers: int
    """Tokens of the responses."""
    bytes: int
    """Bytes of its texts and media."""

    @property
    def keys(self) -> tuple[int, ...]:
        """What it can share."""
        return tuple(key for key, _ in self.pieces)

    @property
    def tokens(self) -> int:
        """Tokens of the group by itself."""
        return self.cost(())

    def cost(self, held: Collection[int]) -> int:
        """Tokens that it adds to a batch that holds the pieces ``held``."""
        return self.answers + sum(tokens for key, tokens in self.pieces if key not in held)


def footprints(groups: Sequence[Group], pixels: PixelRange) -> list[Footprint]:
    """The footprint of each group, whose media are bytes.

    Raises:
        Refusal: a medium is not bytes, so nobody has admitted it; or a text is not text.
    """
    looker = Looker(decode=False)
    return [_footprint(group, pixels, looker, f"groups[{i}]") for i, group in enumerate(groups)]


def _footprint(group: Group, pixels: PixelRange, looker: Looker, where: str) -> Footprint:
    media = media_of(group.messages)
    shown = [looker.look(_admitted(part, where)) for part in media]
    pieces = [(conversation_digest(group.messages, shown), _text_tokens(group.messages, where))]
    pieces += [(medium.digest, _visual_tokens(part, pixels)) for medium, part in zip(shown, media, strict=True)]
    digests = [pieces[0][0]]
    answers = carried = 0
    for response in group.responses:
        own = media_of(response)
        answers += _text_tokens(response, where) + sum(_visual_tokens(_admitted(p, where), pixels) for p in own)
        carried += sum(map(_bytes_of, own))
        digests.append(conversation_digest(response, [looker.look(part) for part in own]))
    size = carried + sum(map(_bytes_of, media)) + _BYTES_PER_TOKEN * (pieces[0][1] + answers)
    # A picture that the prompt shows twice is there once.
    digest = digest_of(digest.to_bytes(8, "big") for digest in digests)
    return Footprint(digest=digest, pieces=tuple(dict(pieces).items()), answers=answers, bytes=size)


def _text_tokens(messages: Sequence[Message], where: str) -> int:
    try:
        size = len(text_of(messages).encode())
    except UnicodeEncodeError:
        raise Refusal(
            "bad_request", "a text holds half of a surrogate pair, which is no character", where=where
        ) from None
    return size // _BYTES_PER_TOKEN + _TOKENS_PER_MESSAGE * len(messages)


def _sources(part: Image | Video) -> tuple[object, ...]:
    if isinstance(part, Video) and part.is_frames:
        return tuple(frame.source if isinstance(frame, Image) else frame for frame in part.source)
    return (part.source,)


def _admitted(part: Image | Video, where: str) -> Image | Video:
    """The part, held once more against paths: the worker would open one."""
    if not all(isinstance(source, bytes) for source in _sources(part)):
        raise Refusal("bad_request", "a picture or video was not admitted", where=where)
    return part


def _bytes_of(part: Image | Video) -> int:
    return sum(len(source) for source in _sources(part) if isinstance(source, bytes))


def _visual_tokens(part: Image | Video, pixels: PixelRange) -> int:
    if isinstance(part, Image):
        return _picture_tokens(part.source, part, pixels)
    if not part.is_frames:
        return _VIDEO_TOKENS
    # Two frames are merged into one.
    return sum(_picture_tokens(source, part, pixels) for source in _sources(part)) // 2


def _picture_tokens(source: object, part: Image | Video, pixels: PixelRange) -> int:
    try:
        width, height = image_size(source)
    except MediaError:  # told by the worker, which decodes it
        return 0
    low, high = part.min_pixels or pixels.low, part.max_pixels or pixels.high
    return max(low, min(high, width * height)) // _CELL


def together(found: Sequence[Footprint]) -> int:
    """Tokens of groups in one batch."""
    held: set[int] = set()
    size = 0
    for footprint in found:
        size += footprint.cost(held)
        held.update(footprint.keys)
    return size
