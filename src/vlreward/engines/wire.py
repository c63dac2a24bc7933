"""Groups as a server takes them: JSON in which media are named by the hash of their bytes, which are sent beside."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vlreward.data.limits import DEFAULT_LIMITS
from vlreward.data.parts import map_parts
from vlreward.data.sources import read_bytes
from vlreward.data.writing import encode_png, group_to_row, media_type
from vlreward.types import Group, Image, Part, Source, Video

MEDIA_ID = re.compile(r"media:[0-9a-f]{64}")
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
# What every server takes; other pictures are sent as PNG of what they show, which is what a model sees of them.
_SENT_AS_IS = ("image/png", "image/jpeg", "image/webp", "image/gif")


def media_id(data: bytes) -> str:
    """The name of a picture or video that says its bytes."""
    return f"media:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True)
class Sent:
    """A picture or video to be sent before the request."""

    data: bytes
    where: str
    """The name of the first group that holds it."""


@dataclass(frozen=True)
class Packed:
    """A request."""

    body: bytes
    """``{"groups": […]}``"""
    media: Mapping[str, Sent]
    """What the body names, by id."""
    names: Sequence[str]
    """What errors call its groups."""


@dataclass
class _Packer:
    media: dict[str, Sent] = field(default_factory=dict)
    # Sources that were seen: groups of one prompt hold the same file or object.
    names: dict[str | int, str] = field(default_factory=dict)

    def row(self, group: Group, name: str) -> dict[str, Any]:
        """A group as the server reads it, its ``id`` what errors are to call it."""

        def sent(part: Part) -> Part:
            if isinstance(part, Video) and part.is_frames:
                return replace(part, source=tuple(self._name(frame, "image", name) for frame in part.source))
            if isinstance(part, (Image, Video)):
                return replace(
                    part, source=self._name(part.source, "image" if isinstance(part, Image) else "video", name)
                )
            return part

        row = group_to_row(map_parts(group, sent))
        return {"id": name, "messages": row["messages"], "responses": row["responses"]}

    def _name(self, source: Source, kind: str, group: str) -> str:
        """What the body says of a source: an address or an id as it is, else the id of its bytes."""
        if isinstance(source, str) and (_ADDRESS.match(source) or MEDIA_ID.fullmatch(source)):
            return source
        key = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else id(source)
        if key not in self.names:
            data = _bytes(source, kind, f"group {group!r}")
            self.names[key] = media_id(data)
            self.media.setdefault(self.names[key], Sent(data, group))
        return self.names[key]


def pack(groups: Sequence[Group], names: Sequence[str]) -> Packed:
    """A request for the rewards of groups; files are read here.

    Args:
        groups: may hold media from anywhere; addresses are left for the server to fetch.
        names: one per group, for errors, here and there.

    Raises:
        MediaError: a picture or video is missing, broken or too large.
    """
    packer = _Packer()
    rows = [packer.row(group, name) for group, name in zip(groups, names, strict=True)]
    return Packed(json.dumps({"groups": rows}, separators=(",", ":")).encode(), packer.media, names)


def _bytes(source: Source, kind: str, where: str) -> bytes:
    if isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview, Mapping)) or source is None:
        data = read_bytes(source, DEFAULT_LIMITS, where)
        if kind == "video":
            return data
        return data if media_type(data[:12], kind) in _SENT_AS_IS else encode_png(data, where)
    return encode_png(source, where)
