"""What a run is made of, told apart cheaply: the checkpoint, the groups, and the versions of the code."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vlreward
from vlreward.types import Group, Image, Message, Text, Video

if TYPE_CHECKING:
    from vlreward.model.reward_model import RewardModel

    from .options import ModelOptions

_SMALL = 1 << 20
CALIBRATION = "calibration.json"
_SAMPLES = 64
_SAMPLE_BYTES = 1 << 12
# Files that change no score.
_IGNORED = (".md", ".gitattributes", ".gitignore", ".log", CALIBRATION)


def checkpoint_fingerprint(folder: Path) -> str:
    """A digest of a model folder: small files whole; of large ones the size, both ends and samples between.

    A fine-tuned checkpoint saved over an old one has the same names, shapes and sizes; its weights differ everywhere,
    so samples tell it apart without reading all of it. A copy of a folder has the fingerprint of the original.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(_IGNORED):
            size = path.stat().st_size
            digest.update(f"{path.name}\0{size}\0".encode())
            for piece in _pieces(path, size):
                digest.update(piece)
    return digest.hexdigest()


def _pieces(path: Path, size: int) -> Iterable[bytes]:
    with path.open("rb") as file:
        if size <= _SMALL:
            yield file.read()
            return
        for i in range(_SAMPLES):
            file.seek((size - _SAMPLE_BYTES) * i // (_SAMPLES - 1))
            yield file.read(_SAMPLE_BYTES)


_NOT_OF_THE_ROWS = ("model", "engine", "revision", "offline", "device")
"""A model may move, and another accelerator of the same kind is none of the rows' business."""


def asked_of_model(options: ModelOptions) -> dict[str, Any]:
    """The part of a run's configuration that its model options say.

    Raises:
        CheckpointError: there is no such model.
        EngineError: the server does not answer.
    """
    if options.engine is not None:
        from .served import ServedModel

        return {"served": asdict(ServedModel(options.engine).settings)}
    from vlreward.model.checkpoints.folder import locate

    folder = locate(options.model, options.revision, options.offline)
    asked = {name: value for name, value in asdict(options).items() if name not in _NOT_OF_THE_ROWS}
    return {"checkpoint": checkpoint_fingerprint(folder), **asked}


def calibration_digest(options: ModelOptions) -> str | None:
    """A digest of the calibration beside a model, which decides probabilities; None: there is none here."""
    if options.engine is not None:
        return None
    from vlreward.model.checkpoints.folder import locate

    path = locate(options.model, options.revision, options.offline) / CALIBRATION
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() if path.is_file() else None


def resolved_settings(model: RewardModel) -> dict[str, Any]:
    """A model's settings as they came out, as far as rows depend on them."""
    settings = asdict(model.settings)
    kept = {name: value for name, value in settings.items() if name not in _NOT_OF_THE_ROWS}
    return kept | {"device": settings["device"].split(":")[0]}


def chain(previous: str, item: Group | Exception) -> str:
    """The digest of a sequence of groups, one further. Rows that could not be read count by their error."""
    digest = hashlib.blake2b(previous.encode(), digest_size=16)
    if isinstance(item, Exception):
        digest.update(f"error {item}".encode())
        return digest.hexdigest()
    digest.update(repr((item.id, len(item.messages), len(item))).encode())
    for messages in (item.messages, *item.responses):
        digest.update(b"\0")
        for message in messages:
            _add_message(digest, message)
    return digest.hexdigest()


def _add_message(digest: Any, message: Message) -> None:
    digest.update(repr((message.role, isinstance(message.content, str), len(message.parts))).encode())
    for part in message.parts:
        if isinstance(part, Text):
            digest.update(b"text" + part.text.encode("utf-8", "surrogatepass"))
        else:
            sampling = (part.fps, part.max_frames) if isinstance(part, Video) else ()
            digest.update(repr((type(part).__name__, part.min_pixels, part.max_pixels, *sampling)).encode())
            _add_source(digest, part.source)


def _add_source(digest: Any, source: Any) -> None:
    if isinstance(source, (bytes, bytearray, memoryview)):
        digest.update(source)
    elif isinstance(source, (list, tuple)):
        for item in source:
            _add_source(digest, item.source if isinstance(item, Image) else item)
    elif isinstance(source, (str, os.PathLike)):
        digest.update(os.fsencode(source))
    else:
        digest.update(repr(source).encode())


def versions() -> dict[str, str]:
    """Versions of the packages that a score may depend on."""
    return {"vlreward": vlreward.__version__} | {name: metadata.version(name) for name in ("torch", "transformers")}
