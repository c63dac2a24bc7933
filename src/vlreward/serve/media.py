"""Pictures and videos that clients have sent: what their headers say, and a bounded store of their bytes."""

from __future__ import annotations

import asyncio
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, Field

from vlreward.engines.wire import media_id
from vlreward.errors import ConfigError, MissingDependency, require

from .limits import MEDIA_PATH, RequestLimits
from .refusals import Refusal, native_shape, routes

# Those that people send; Pillow knows more, and each is one more decoder that strangers can reach.
PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_PICTURE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM")
_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")
_ENTRY_BYTES = 1024


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says of itself before anything of it is decoded."""

    kind: Literal["image", "video"]
    pixels: int
    """Width × height, of one frame where it is a video."""
    frames: int = 1
    """Frames of a video that are stored."""
    seconds: float = 0.0
    """Length of a video."""


def read_header(data: bytes, limits: RequestLimits, where: str) -> Header:
    """What a file is. No pixel is decoded.

    Args:
        data: its bytes.
        limits: on size and length.
        where: what a refusal is about.

    Raises:
        Refusal: it is neither a picture nor a video that is taken here, or too large by its header.
    """
    if len(data) > limits.max_media_bytes:
        raise Refusal("too_large", f"{len(data):,} bytes; at most {limits.max_media_bytes:,}", where=where)
    container = _container(data)
    if container is not None:
        header = _video_header(data, container, limits, where)
    elif data.startswith(_PICTURE_STARTS) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        header = _picture_header(data, limits, where)
    else:
        known = f"{', '.join(PICTURES)}, MP4, WebM, MKV and AVI"
        raise Refusal("bad_request", f"neither a picture nor a video; {known} are taken", where=where)
    if header.pixels > limits.max_image_pixels:
        raise Refusal("too_large", f"{header.pixels:,} pixels; at most {limits.max_image_pixels:,}", where=where)
    if header.pixels == 0:
        raise Refusal("bad_request", "no pixels", where=where)
    return header


def _container(data: bytes) -> str | None:
    """The name by which FFmpeg knows a video container."""
    if data[4:8] == b"ftyp" and data[8:12] not in _STILL_BRANDS:
        return "mov"
    if data.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    return "avi" if data[:4] == b"RIFF" and data[8:12] == b"AVI " else None


def _picture_header(data: bytes, limits: RequestLimits, where: str) -> Header:
    try:
        with Image.open(io.BytesIO(data), formats=PICTURES) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refusal("too_large", f"more than {limits.max_image_pixels:,} pixels", where=where) from None
    except UnidentifiedImageError:
        raise Refusal("bad_request", "not a picture: its header is broken", where=where) from None
    except Exception:  # decoders raise whatever a broken header leads them into
        raise Refusal("bad_request", "the header of this picture cannot be read", where=where) from None
    return Header(kind="image", pixels=width * height)


def _video_header(data: bytes, container: str, limits: RequestLimits, where: str) -> Header:
    try:
        av = require("av", extra="video", purpose="reading a video file")
    except MissingDependency:
        raise Refusal("unscorable", "this server does not read video files; send frames", where=where) from None
    try:
        # A given format keeps FFmpeg from taking the file for a playlist, which names other files.
        with av.open(io.BytesIO(data), format=container, options={"protocol_whitelist": "file"}) as opened:
            header = _demuxed(opened, where)
    except av.error.FFmpegError:
        raise Refusal("bad_request", "not a video, or truncated", where=where) from None
    if header.seconds > limits.max_video_seconds:
        most = f"at most {limits.max_video_seconds:g}"
        raise Refusal("too_large", f"a video of {header.seconds:.0f} seconds; {most}", where=where)
    if header.frames * header.pixels > limits.max_coded_pixels:
        raise Refusal("too_large", f"a video of {header.frames:,} frames of {header.pixels:,} pixels", where=where)
    return header


def _demuxed(opened: Any, where: str) -> Header:
    """Size, number of frames and length by the packets that are there: what a header says of length may be wrong."""
    stream = next((item for item in opened.streams.video if "attached_pic" not in str(item.disposition).lower()), None)
    if stream is None:
        raise Refusal("bad_request", "a video file without a video", where=where)
    times = [packet.pts for packet in opened.demux(stream) if packet.pts is not None]
    if not times:
        raise Refusal("bad_request", "a video with no frames", where=where)
    interval = 1 / (stream.average_rate or 25)
    seconds = float((max(times) - min(times)) * stream.time_base + interval)
    pixels = stream.codec_context.width * stream.codec_context.height
    return Header(kind="video", pixels=pixels, frames=len(times), seconds=seconds)


class MediaStore:
    """Bytes by the id that says their content, the least recently used dropped first. Threads may share it.

    Args:
        max_bytes: of what is kept, each entry counted with a kilobyte of its own.

    Raises:
        ConfigError: ``max_bytes`` is not positive.
    """

    def __init__(self, max_bytes: int = 2 * 2**30) -> None:
        if max_bytes <= 0:
            raise ConfigError(f"max_bytes of the media store must be positive, got {max_bytes}")
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def put(self, data: bytes) -> str:
        """Keep ``data``; its id.

        Raises:
            Refusal: it alone is more than the store holds.
        """
        if len(data) + _ENTRY_BYTES > self._max_bytes:
            raise Refusal("too_large", f"{len(data):,} bytes are more than the server keeps", where="body")
        name = media_id(data)
        with self._lock:
            if name not in self._kept:
                self._kept[name] = data
                self._size += len(data) + _ENTRY_BYTES
            self._kept.move_to_end(name)
            while self._size > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._size -= len(dropped) + _ENTRY_BYTES
        return name

    def get(self, name: str) -> bytes | None:
        """The bytes of an id, None if they are not here (any more)."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return self._size


class MediaSent(BaseModel):
    """The answer to a picture or video."""

    id: str = Field(description="its name in requests, where a URL could be", examples=["media:" + "0f" * 32])


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {"requestBody": {"required": True, "content": {"image/*": _BINARY, "video/*": _BINARY}}}


def router(store: MediaStore, limits: RequestLimits) -> APIRouter:
    """``PUT /v1/media`` keeps the bytes that are its body, ``HEAD /v1/media/{id}`` says whether they are there.

    Args:
        store: where they are kept.
        limits: what a medium may be; the size of the body is for `LimitBodies` to limit.
    """
    api = APIRouter(route_class=routes(native_shape), tags=["media"])

    @api.put(MEDIA_PATH, openapi_extra=_BODY, summary="Send a picture or a video once, to name it in requests")
    async def put_media(request: Request) -> MediaSent:
        data = await request.body()

        def keep() -> str:
            read_header(data, limits, "body")
            return store.put(data)

        return MediaSent(id=await asyncio.to_thread(keep))

    absent: dict[int | str, dict[str, Any]] = {404: {"description": "it is not there (any more)"}}

    @api.head(MEDIA_PATH + "/{name}", summary="Whether a picture or a video is there", responses=absent)
    async def head_media(name: str) -> Response:
        return Response(status_code=200 if store.get(name) is not None else 404)

    return api
