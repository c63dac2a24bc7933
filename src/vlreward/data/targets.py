"""How pictures and videos are written into a file of rows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from vlreward.errors import UnsupportedError
from vlreward.types import Group, Image, Part, Source, Video

from .limits import DEFAULT_LIMITS
from .parts import map_parts
from .sources import is_uri, read_bytes
from .writing import encode_png, media_type, replacing, source_text


@dataclass(frozen=True, kw_only=True)
class Target:
    """The file that rows are written to."""

    folder: Path
    """Its folder: paths under it become relative to it, others absolute."""
    is_table: bool
    """Whether it is a table (Parquet), which holds bytes as they are, rather than JSON lines."""
    absolute_paths: bool = False
    """Whether paths under the folder become absolute too."""

    def image(self, source: Source, where: str) -> Any:
        """A picture's place in a row: ``{"bytes", "path"}`` in a table, as data sets store it; else a path or URI.

        Raises:
            MediaError: a picture in memory cannot be encoded.
        """
        if not self.is_table:
            return self._text(source, "image", where)
        if in_memory(source):
            return {"bytes": encoded(source, where), "path": None}
        return {"bytes": None, "path": self._text(source, "image", where)}

    def video(self, video: Video, where: str) -> Any:
        """A video's place in a row: a path or URI, or a list of them for frames.

        Raises:
            UnsupportedError: frames in a table, whose column of videos holds one text each.
        """
        if not video.is_frames:
            return self._text(video.source, "video", where)
        if self.is_table:
            raise UnsupportedError(f"{where}: a video of frames has no place in such a table; write .jsonl")
        return [self._text(frame, "image", where) for frame in video.source]

    def _text(self, source: Source, kind: str, where: str) -> str:
        text = source_text(source, kind, None if self.absolute_paths else self.folder, where)
        return os.path.abspath(text) if self.absolute_paths and not is_uri(text) else text


def in_memory(source: Source) -> bool:
    """Whether a source carries its content rather than naming a file or an address."""
    if isinstance(source, Mapping):
        return source.get("bytes") is not None
    if isinstance(source, str):
        return source[:5].lower() == "data:"
    return not isinstance(source, os.PathLike)


def encoded(source: Source, where: str) -> bytes:
    """The encoded bytes of a source that is `in_memory`; PIL images and arrays become PNG."""
    if isinstance(source, (PILImage.Image, np.ndarray)):
        return encode_png(source, where)
    return read_bytes(source, DEFAULT_LIMITS, where)


def extract_media(group: Group, folder: Path, where: str) -> Group:
    """Write pictures and videos that are in memory to files of a folder, named by their content.

    Args:
        group: may hold sources of any kind; those that name a file or an address stay.
        folder: made when something is written to it.
        where: starts every error message.

    Returns:
        The group with paths in place of contents.
    """

    def extract(part: Part) -> Part:
        if isinstance(part, Video) and part.is_frames:
            return replace(part, source=tuple(_extracted(frame, "image", folder, where) for frame in part.source))
        if isinstance(part, (Image, Video)):
            kind = "image" if isinstance(part, Image) else "video"
            return replace(part, source=_extracted(part.source, kind, folder, where))
        return part

    return map_parts(group, extract)


def _extracted(source: Source, kind: str, folder: Path, where: str) -> Source:
    if not in_memory(source):
        return source
    data = encoded(source, where)
    subtype = media_type(data[:12], kind).partition("/")[2]
    suffix = {"jpeg": ".jpg", "": ".bin"}.get(subtype, f".{subtype}")
    path = folder / f"{hashlib.sha256(data).hexdigest()[:24]}{suffix}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_bytes(data)
    return str(path)
