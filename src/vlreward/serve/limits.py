"""How much of a stranger's request is accepted, and the middleware that sees to it before anything is parsed."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from vlreward.data.limits import MediaLimits
from vlreward.errors import ConfigError

from .refusals import Refusal, Shape, answer, native_shape

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_PATH = "/v1/media"
"""Where bodies are pictures and videos rather than JSON."""
FORM_PATHS = ("/v1/score", "/v1/rank", "/v1/compare", "/v1/trace")
"""Where a body may be of several parts; the route itself looks at the one that is JSON."""


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """What one request may cost before it is refused.

    Raises:
        ConfigError: a limit is not positive.
    """

    max_body_bytes: int = 128 * 2**20
    """Bytes of a request's body: 64 pictures of 1.5 MB in base64, as a training step may send them."""
    max_held_bytes: int = 2 * 2**30
    """Bytes of all bodies that are being read or answered at one time; what comes on top is told to come later."""
    body_seconds: float = 60.0
    """Time for a body to arrive, however many bytes a second it comes by."""
    max_json_depth: int = 32
    """Lists and objects within each other; a request needs eight."""
    max_json_values: int = 500_000
    """Values of a JSON body; each costs far more memory parsed than written."""
    max_groups: int = 1024
    """Groups of a request."""
    max_responses: int = 8192
    """Responses of a request, all groups together."""
    max_text: int = 1_000_000
    """Characters of one conversation, the prompt's included; a context of 128k tokens holds about half of them."""
    max_total_text: int = 50_000_000
    """Characters of all conversations of a request, each with its prompt, as they are tokenised."""
    max_images: int = 512
    """Pictures of a request, frames of videos included that are sent as pictures; each mention counts."""
    max_videos: int = 32
    """Video files of a request; each mention counts."""
    max_media_bytes: int = 64 * 2**20
    """Encoded bytes of one picture or video."""
    max_image_pixels: int = 50_000_000
    """Pixels of one picture or video frame, by its header: 48-megapixel photos pass."""
    max_total_pixels: int = 1_000_000_000
    """Pixels of all distinct pictures of a request, 3 GB once decoded."""
    max_resized_pixels: int = 12_845_056
    """What a part may ask for as ``min_pixels`` or ``max_pixels``: Qwen2.5-VL's own upper limit, 16,384 tokens."""
    max_video_seconds: float = 600.0
    """Length of a video file; to sample a few of its frames, most of it is decoded."""
    max_coded_pixels: int = 40_000_000_000
    """Pixels of all frames of a video file together: ten minutes of full HD at 30 frames a second."""
    max_video_frames: int = 768
    """Frames that are taken of a video, or sent as one."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{field.name} must be positive, got {value!r}")

    def media_limits(self) -> MediaLimits:
        """The same for whoever decodes what was let in."""
        return MediaLimits(
            max_image_pixels=self.max_image_pixels,
            max_bytes=self.max_media_bytes,
            max_video_frames=self.max_video_frames,
            max_video_pixels=self.max_total_pixels,
            allow_urls=False,
        )


_SURROGATE = re.compile(
    rb"\\u[dD](?:[89aAbB][0-9a-fA-F]{2}(?P<pair>\\u[dD][c-fC-F][0-9a-fA-F]{2})?|[c-fC-F][0-9a-fA-F]{2})"
)
_LONG_NUMBER = re.compile(rb"[0-9]{400}")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def check_json(body: bytes, limits: RequestLimits) -> None:
    """See that parsing a JSON text costs little and gives sound strings; whether it is JSON is for the parser to say.

    Only lists of its pieces are made, and each step is one pass in C, so that a body of any kind takes less time than
    parsing it would.

    Raises:
        Refusal: it is nested too deeply, has too many values, or is not sound UTF-8.
    """
    try:
        if json.detect_encoding(body) != "utf-8":
            raise Refusal("bad_request", "the body must be JSON in UTF-8, without a byte order mark", where="body")
        body.decode()
    except UnicodeDecodeError:
        raise Refusal("bad_request", "the body is not UTF-8", where="body") from None
    # Without escaped backslashes and quotes, every quote that is left begins or ends a string.
    plain = body.replace(rb"\\", b"")
    if any(found["pair"] is None for found in _SURROGATE.finditer(plain)):
        raise Refusal("bad_request", "half of a surrogate pair is no character", where="body")
    plain = plain.replace(rb"\"", b"")
    if plain.count(b'"') > 4 * limits.max_json_values:  # a key and a value each
        raise _too_many_values(limits)
    structure = b"".join(plain.split(b'"')[::2])
    brackets = structure.translate(None, _NOT_BRACKETS)
    if structure.count(b",") + len(brackets) // 2 > limits.max_json_values:
        raise _too_many_values(limits)
    depths = itertools.accumulate(1 if bracket in b"[{" else -1 for bracket in brackets)
    if max(depths, default=0) > limits.max_json_depth:
        raise Refusal("bad_request", f"nested deeper than {limits.max_json_depth}", where="body")
    if _LONG_NUMBER.search(structure):
        raise Refusal("bad_request", "a number of more than 400 digits", where="body")


def _too_many_values(limits: RequestLimits) -> Refusal:
    return Refusal("too_large", f"more than {limits.max_json_values:,} JSON values; send fewer groups", where="body")


ShapeOf = Callable[[str], Shape]
"""The form of errors on a path."""


def native(path: str) -> Shape:  # noqa: ARG001 - the same everywhere
    """The native form, on every path."""
    return native_shape


async def refuse(refusal: Refusal, shape_of: ShapeOf, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that no route has seen, and hang up: the rest of its body is not wanted."""
    response = answer(refusal, shape_of(scope["path"]))
    response.headers["Connection"] = "close"
    await response(scope, receive, send)


class _Gone(Exception):
    """The client hung up."""


class LimitBodies:
    """ASGI middleware: the application sees a request when all of its body is there and within the limits.

    Sizes are counted as bytes arrive, whatever ``Content-Length`` says or if it says nothing.

    Args:
        app: what is behind it.
        limits: how much, how slowly, how deep.
        shape_of: the form of its errors.
    """

    def __init__(self, app: ASGIApp, *, limits: RequestLimits, shape_of: ShapeOf = native) -> None:
        self._app, self._limits, self._shape_of = app, limits, shape_of
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, check it, hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except Refusal as refusal:
            await refuse(refusal, self._shape_of, scope, receive, send)
            return
        except _Gone:
            return
        try:
            await self._app(scope, _replay(body, receive), send)
        finally:
            self._held -= len(body)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body; it counts as held until the application is done with it."""
        limit = self._limits.max_media_bytes if _is_media(scope) else self._limits.max_body_bytes
        announced = _header(scope, b"content-length")
        _check_size(int(announced[:20]) if announced.isdigit() else 0, limit)
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                async for chunk in _chunks(receive):
                    chunks.append(chunk)
                    size += len(chunk)
                    self._held += len(chunk)
                    _check_size(size, limit)
                    self._check_held()
            body = b"".join(chunks)
            if body and _is_json(scope):
                await asyncio.to_thread(check_json, body, self._limits)
        except BaseException as error:
            self._held -= size
            if isinstance(error, TimeoutError):
                seconds = self._limits.body_seconds
                raise Refusal("bad_request", f"the body took longer than {seconds:g} s", where="body") from None
            raise
        return body

    def _check_held(self) -> None:
        if self._held > self._limits.max_held_bytes:
            raise Refusal("busy", "too many large requests at one time; try again", retry_after=2)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise Refusal("too_large", f"the body is larger than {limit:,} bytes", where="body")


def _header(scope: Scope, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope["headers"] if key == name), b"")


def _is_media(scope: Scope) -> bool:
    return bool(scope["path"] == MEDIA_PATH and scope["method"] == "PUT")


def _is_json(scope: Scope) -> bool:
    """Whether a route may parse the body as JSON: all but media, and forms where the route reads forms. Other routes
    take any body for JSON, whatever its header says."""
    kind = _header(scope, b"content-type").partition(b";")[0].strip().lower()
    is_form = kind == b"multipart/form-data" and scope["path"] in FORM_PATHS
    return not is_form and not _is_media(scope)


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body once, then what really comes: that the client hung up."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
