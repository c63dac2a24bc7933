"""From what a part calls its source to encoded bytes, or to the file that holds them."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from vlreward.errors import MediaError

from .limits import MediaLimits

_URI = re.compile(r"data:|[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_LONGEST_NAME = 120


def is_uri(source: str) -> bool:
    """Whether ``source`` is a URI (``data:``, ``file://``, ``https://``, …) rather than a path."""
    return _URI.match(source) is not None


def name_of(source: Any) -> str:
    """What an error message calls a source: never its contents, nor the query of a URL, which may hold a key."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"{len(source):,} bytes"
    if not isinstance(source, (str, os.PathLike)):
        return f"a {type(source).__name__}"
    text = os.fsdecode(source)
    if text[:5].lower() == "data:":
        return f"a data URI of {len(text):,} characters"
    if text[:4].lower() == "http" and is_uri(text):
        text = re.sub(r"://[^/?#]*@", "://", re.split(r"[?#]", text, maxsplit=1)[0])
    text = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}… ({len(text):,} characters)"


def locate(source: Any, limits: MediaLimits, where: str) -> Path | bytes:
    """The file that a source names, or the bytes that it carries or that are fetched for it.

    Args:
        source: a path, a ``file://``, ``data:``, ``http://`` or ``https://`` URI, encoded bytes, or the
            ``{"bytes", "path"}`` that data sets store.
        limits: ``allow_urls``, ``max_bytes`` and ``timeout_seconds`` are heeded; files are not measured.
        where: starts every error message.

    Raises:
        MediaError: there is nothing, it is empty, or it is not allowed.
    """
    if isinstance(source, Mapping):
        source = _from_struct(source, where)
    what = f"{where}: {name_of(source)}"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _checked_bytes(bytes(source), limits, what)
    if isinstance(source, os.PathLike):
        return _checked_file(Path(source), what)
    if not isinstance(source, str) or not source:
        raise MediaError(f"{where}: {_expected(source)}")
    return _locate_uri(source, limits, what) if is_uri(source) else _checked_file(Path(source), what)


def _locate_uri(uri: str, limits: MediaLimits, what: str) -> Path | bytes:
    scheme = uri.partition(":")[0].lower()
    if scheme == "data":
        return _checked_bytes(_from_data_uri(uri, limits, what), limits, what)
    if scheme == "file":
        return _checked_file(_from_file_uri(uri), what)
    if scheme not in ("http", "https"):
        raise MediaError(f"{what}: scheme {scheme!r} is not read; known: file, data, http, https")
    if not limits.allow_urls:
        raise MediaError(f"{what} is a URL, and URLs are not fetched unless allowed; download it first")
    from .fetch import fetch

    return _checked_bytes(fetch(uri, limits, what), limits, what)


def _expected(source: Any) -> str:
    if source is None or (isinstance(source, str) and not source):
        return "there is no source; give a path, a data URI, bytes, a PIL image or an array"
    return f"expected a path, a URI, bytes, a PIL image or an array of uint8, got {type(source).__name__}"


def _from_struct(source: Mapping[Any, Any], where: str) -> Any:
    for key in ("bytes", "path", "url"):
        if source.get(key) is not None:
            return source[key]
    raise MediaError(f"{where}: an object as a source needs 'bytes', 'path' or 'url', got {sorted(map(str, source))}")


def _checked_bytes(data: bytes, limits: MediaLimits, what: str) -> bytes:
    if not data:
        raise MediaError(f"{what}: empty (zero bytes)")
    if len(data) > limits.max_bytes:
        raise MediaError(f"{what}: {len(data):,} bytes are more than max_bytes ({limits.max_bytes:,})")
    return data


def _checked_file(path: Path, what: str) -> Path:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MediaError(f"{what}: no such file") from None
    except (OSError, ValueError) as error:  # too long, a NUL in it, not permitted
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{what}: not a path ({reason}); base64 needs 'data:image/png;base64,' in front") from None
    # A pipe or a device would be read without end.
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise MediaError(f"{what}: {kind}; give a file")
    if status.st_size == 0:
        raise MediaError(f"{what}: empty (zero bytes)")
    return path


def _from_file_uri(uri: str) -> Path:
    # Clients differ: some escape the path, some put it behind file:// as it is, even a relative one.
    plain = uri[len("file://") :]
    if plain.startswith("localhost/"):
        plain = plain.removeprefix("localhost")
    unescaped = unquote(plain)
    return Path(plain if os.path.exists(plain) and not os.path.exists(unescaped) else unescaped)


def _from_data_uri(uri: str, limits: MediaLimits, what: str) -> bytes:
    header, comma, payload = uri.partition(",")
    if not comma:
        raise MediaError(f"{what}: no comma between the header and the data")
    if len(payload) > 4 * limits.max_bytes:  # a first bound before anything is copied: %XX is three for one
        raise MediaError(f"{what}: more than max_bytes ({limits.max_bytes:,})")
    data = unquote_to_bytes(payload)
    if not header.lower().endswith(";base64"):
        return data
    data = b"".join(data.split())
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise MediaError(f"{what}: not valid base64 ({error})") from None


def read_bytes(source: Any, limits: MediaLimits, where: str) -> bytes:
    """The encoded bytes of a source, at most ``limits.max_bytes`` of them.

    Raises:
        MediaError: as for `locate`, or the file is larger than allowed or cannot be read.
    """
    found = locate(source, limits, where)
    if isinstance(found, bytes):
        return found
    what = f"{where}: {name_of(source)}"
    size = found.stat().st_size
    if size > limits.max_bytes:
        raise MediaError(f"{what}: {size:,} bytes are more than max_bytes ({limits.max_bytes:,})")
    try:
        return found.read_bytes()
    except OSError as error:
        raise MediaError(f"{what}: cannot be read ({error.strerror})") from None
