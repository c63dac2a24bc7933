"""Who may ask: API keys from a file, and what the server calls a client."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vlreward.errors import ConfigError

from .limits import ShapeOf, native, refuse
from .refusals import Refusal

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection
    from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("vlreward.serve")

OPEN_PATHS = ("/health/live", "/health/ready")
"""What an orchestrator asks, which has no key."""
SHORTEST_KEY = 16
_LOOK_SECONDS = 1.0
_CLIENT = "vlreward.client"


@dataclass(frozen=True)
class _Key:
    name: str
    """What the server calls who holds it."""
    digest: bytes


class Keys:
    """The keys of a file; `Keys.read` makes one.

    A file that has changed is read again. One that is broken or gone leaves the last keys as they are, and the log says
    so; one without keys lets nobody in.
    """

    def __init__(self, path: Path, keys: tuple[_Key, ...], version: tuple[int, ...]) -> None:
        self._path, self._keys, self._version = path, keys, version
        self._looked = time.monotonic()

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a file of keys: one on each line, a name before it if it has one; lines that begin with # say nothing.

        Raises:
            ConfigError: the file cannot be read, has no keys, or a line is wrong; its number is said, never the line.
        """
        path = Path(path)
        keys, version = _parse(path)
        if not keys:
            raise ConfigError(f"{path}: no keys; write one on each line")
        return cls(path, keys, version)

    def holder(self, key: str) -> str | None:
        """The name of who holds a key, None if nobody does. It takes the same time for all keys of one length."""
        self._refresh()
        digest = _digest(key)
        found = [known.name for known in self._keys if hmac.compare_digest(known.digest, digest)]
        return found[0] if found else None

    def _refresh(self) -> None:
        """Read the file again if it has changed; it is looked at once a second at most."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        try:
            if _version(os.stat(self._path)) != self._version:
                self._keys, self._version = _parse(self._path)
                logger.info("%d API keys read again", len(self._keys))
        except (OSError, ConfigError) as error:
            logger.error("the file of API keys cannot be read again, the last keys stay: %s", error)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _version(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _parse(path: Path) -> tuple[tuple[_Key, ...], tuple[int, ...]]:
    try:
        with path.open(encoding="utf-8") as file:
            version = _version(os.fstat(file.fileno()))
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"{path}: the file of API keys cannot be read ({reason})") from None
    keys = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) > 2 or len(words[-1]) < SHORTEST_KEY or not words[-1].isascii():
            raise ConfigError(
                f"{path}:{number}: expected a key of {SHORTEST_KEY} or more ASCII characters, or a name and a key"
            )
        digest = _digest(words[-1])
        keys.append(_Key(words[0] if len(words) == 2 else digest.hex()[:12], digest))
    return tuple(keys), version


class RequireKey:
    """ASGI middleware: nobody gets past it without a key, except to `OPEN_PATHS`.

    It stands before everything else, so that no body of a stranger is read.

    Args:
        app: what is behind it.
        keys: who may; None: everybody, which is for a server that listens on this machine alone.
        shape_of: the form of its errors.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys | None, shape_of: ShapeOf = native) -> None:
        self._app, self._keys, self._shape_of = app, keys, shape_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say that a key is needed."""
        if scope["type"] == "http" and self._keys is not None and scope["path"] not in OPEN_PATHS:
            holder = self._keys.holder(_presented(scope))
            if holder is None:
                refusal = Refusal("unauthorized", "an API key is needed: Authorization: Bearer KEY")
                await refuse(refusal, self._shape_of, scope, receive, send)
                return
            scope[_CLIENT] = f"key {holder}"
        await self._app(scope, receive, send)


def _presented(scope: Scope) -> str:
    """The key that a request shows, "" if it shows none."""
    for name, value in scope["headers"]:
        text = value.decode("latin-1").strip()
        if name == b"authorization" and text[:7].lower() == "bearer ":
            return str(text[7:].strip())
        if name == b"x-api-key":
            return str(text)
    return ""


def client_of(request: HTTPConnection) -> str:
    """Whose a request is, for taking turns: who holds its key, else where it comes from."""
    known = request.scope.get(_CLIENT)
    if known is not None:
        return str(known)
    return request.client.host if request.client is not None else "unknown"
