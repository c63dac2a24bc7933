"""What messages say and show, as numbers by which rows are compared.

Pictures are the same when they show the same pixels, wherever and in whatever file format they are kept: data sets
store the pictures of others again as PNG, or under other names.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vlreward.errors import MediaError
from vlreward.types import Group, Image, Message, Source, Text, Video

from .images import load_image
from .limits import DEFAULT_LIMITS, MediaLimits
from .marks import media_of
from .sources import is_uri, locate, name_of
from .targets import encoded, in_memory

_REMEMBERED = 4096
_CHUNK = 1 << 20
_MARKS = re.compile(r"<(?:image|video)>")


@dataclass(frozen=True, kw_only=True)
class Medium:
    """A picture or a video, looked at."""

    digest: int
    """Equal for those that show the same."""
    pixels: int | None = None
    """Width × height of a picture that was decoded."""
    problem: str | None = None
    """Why it cannot be used, without the row; then the digest is of where it is."""


def digest_of(pieces: Iterable[bytes]) -> int:
    """A number of 64 bits for a sequence of byte strings."""
    state = hashlib.blake2b(digest_size=8)
    for piece in pieces:
        state.update(len(piece).to_bytes(8, "big"))
        state.update(piece)
    return int.from_bytes(state.digest(), "big")


class Looker:
    """Looks at pictures and videos, and remembers the last few thousand.

    Args:
        decode: whether to open them; otherwise a picture is known by its path or its bytes as they are.
        limits: what is refused.
    """

    def __init__(self, *, decode: bool = True, limits: MediaLimits = DEFAULT_LIMITS) -> None:
        self._decode = decode
        self._limits = limits
        self._remembered: OrderedDict[tuple[str, Any], Medium] = OrderedDict()

    def look(self, part: Image | Video) -> Medium:
        """What a part shows."""
        if isinstance(part, Image):
            return self._remember("image", part.source)
        if not part.is_frames:
            return self._remember("video", part.source)
        frames = [self._remember("image", frame) for frame in part.source]
        problem = next((frame.problem for frame in frames if frame.problem), None)
        problem = problem if frames else "video: no frames"
        return Medium(digest=digest_of(frame.digest.to_bytes(8, "big") for frame in frames), problem=problem)

    def _remember(self, kind: str, source: Source) -> Medium:
        place = _place(source)
        key = (kind, place)
        if key in self._remembered:
            self._remembered.move_to_end(key)
            return self._remembered[key]
        medium = self._open(kind, source, place)
        self._remembered[key] = medium
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return medium

    def _open(self, kind: str, source: Source, place: str) -> Medium:
        if not self._decode:
            return Medium(digest=digest_of([place.encode("utf-8", "surrogatepass")]))
        try:
            if kind == "video":
                return Medium(digest=self._video(source))
            image = load_image(source, self._limits)
        except MediaError as error:
            return Medium(digest=digest_of([place.encode("utf-8", "surrogatepass")]), problem=str(error))
        size = b"%d %d" % image.size
        return Medium(digest=digest_of([size, image.tobytes()]), pixels=image.width * image.height)

    def _video(self, source: Source) -> int:
        found = locate(source, self._limits, "video")
        if isinstance(found, bytes):
            return digest_of([b"video", found])
        state = hashlib.blake2b(digest_size=8)
        try:
            with found.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    state.update(chunk)
        except OSError as error:
            raise MediaError(f"video: {name_of(source)}: cannot be read ({error.strerror})") from None
        return int.from_bytes(state.digest(), "big")


def _place(source: Source) -> str:
    """Where a source is, or a digest of the bytes that it carries."""
    if not in_memory(source):
        name = os.fsdecode(source) if isinstance(source, os.PathLike) else str(source)
        return name if is_uri(name) else os.path.abspath(name)
    data = source.encode() if isinstance(source, str) else source
    data = data if isinstance(data, bytes) else encoded(data, "a picture")
    return f"bytes {hashlib.blake2b(data, digest_size=16).hexdigest()}"


def text_of(messages: Sequence[Message]) -> str:
    """All text of messages, in order."""
    return "".join(part.text for message in messages for part in message.parts if isinstance(part, Text))


def conversation_digest(messages: Sequence[Message], media: Sequence[Medium]) -> int:
    """Equal for conversations of the same roles, text and media.

    Args:
        messages: the conversation.
        media: what its pictures and videos show, in order.
    """
    shown = iter(media)
    pieces: list[bytes] = []
    for message in messages:
        pieces.append(b"role " + message.role.encode())
        text = ""
        for part in message.parts:
            if isinstance(part, Text):
                text += part.text
                continue
            pieces += [text.encode("utf-8", "surrogatepass"), b"shows", next(shown).digest.to_bytes(8, "big")]
            text = ""
        pieces.append(text.encode("utf-8", "surrogatepass"))
    return digest_of(pieces)


def conversation_digests(group: Group, looker: Looker) -> tuple[int, ...]:
    """A number for each response behind the prompt, equal where text, pictures and videos are."""
    prompt = [looker.look(part) for part in media_of(group.messages)]
    answers = ([looker.look(part) for part in media_of(response)] for response in group.responses)
    return tuple(
        conversation_digest(conversation, [*prompt, *answer])
        for conversation, answer in zip(group.conversations(), answers, strict=True)
    )


def has_equal_answers(ranks: Sequence[int], digests: Sequence[int]) -> bool:
    """Whether a better and a worse response are the same, given what `conversation_digests` says of them."""
    return len(set(zip(digests, ranks, strict=True))) > len(set(digests))


def question_digests(messages: Sequence[Message]) -> tuple[int, ...]:
    """Numbers for what is asked: the text of all user messages, and that of the last where there are several.

    Letter case, white space, marks of pictures and forms of the same letter make no difference. Questions without a
    text have none.
    """
    asked = [text_of([message]) for message in messages if message.role == "user"]
    texts = dict.fromkeys(_normal(text) for text in ("\n".join(asked), *asked[-1:]))
    return tuple(digest_of([text.encode("utf-8", "surrogatepass")]) for text in texts if text)


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", _MARKS.sub(" ", text)).casefold().split())
