"""vlreward.json: what we write beside a checkpoint of any form, and the pixel limits that a checkpoint asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from vlreward.errors import CheckpointError, describe_unknown

from .folder import CheckpointFolder, read_json
from .question import Question

METADATA = "vlreward.json"
RESIZE = ("pil", "torchvision")
DEFAULT_LIMITS = (56 * 56, 28 * 28 * 1280)
"""Pixels; those of transformers' Qwen2-VL image processor, for a checkpoint that says nothing."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The content of vlreward.json; every entry may be absent."""

    vlreward_version: str | None = None
    """The version that wrote the file."""
    form: str | None = None
    """The form of the head, so that a head that was added later is noticed."""
    question: Question | None = None
    """How a token-logit head asks."""
    min_pixels: int | None = None
    """Least pixels of a resized picture."""
    max_pixels: int | None = None
    """Most pixels of a resized picture."""
    resize: str | None = None
    """What resizes pictures, one of `RESIZE`."""

    def write(self, folder: Path) -> None:
        """Write vlreward.json into ``folder``; absent entries are left out."""
        entries = {key: value for key, value in asdict(self).items() if value is not None}
        (folder / METADATA).write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class PixelLimits(NamedTuple):
    """The pixel limits of pictures, and the file that gives them."""

    min_pixels: int
    max_pixels: int
    source: str
    """A file of the checkpoint, or ``default``."""


def read_metadata(folder: CheckpointFolder) -> Metadata:
    """vlreward.json; without the file, a `Metadata` with nothing in it.

    Raises:
        CheckpointError: an unknown key, or a value that cannot be.
    """
    entries = folder.json(METADATA)
    if entries is None:
        return Metadata()
    where = str(folder.path / METADATA)
    known = [field.name for field in fields(Metadata)]
    for key in entries:
        if key not in known:
            raise CheckpointError(f"{where}: {describe_unknown(key, known)}")
    for key in ("vlreward_version", "form", "resize"):
        if entries.get(key) is not None and not isinstance(entries[key], str):
            raise CheckpointError(f"{where}: {key!r} must be text, got {entries[key]!r:.40}")
    if entries.get("resize") not in (None, *RESIZE):
        raise CheckpointError(f"{where}: unknown resize {entries['resize']!r}; known: {', '.join(RESIZE)}")
    for key in ("min_pixels", "max_pixels"):
        if entries.get(key) is not None:
            _check_pixels(entries[key], f"{where}: {key}")
    if entries.get("question") is not None:
        entries["question"] = Question.from_dict(entries["question"], where)
    return Metadata(**entries)


def read_pixel_limits(folder: CheckpointFolder) -> PixelLimits:
    """The pixel limits of pictures that a checkpoint asks for.

    vlreward.json comes first, then the ``image_processor`` block of processor_config.json, then
    preprocessor_config.json; the order of the last two, and ``min_pixels``/``max_pixels`` over ``size`` within one, are
    those of transformers.

    Raises:
        CheckpointError: a limit is not a positive whole number, or the least is over the most.
    """
    limits = processor_limits(folder)
    said = read_metadata(folder)
    if said.min_pixels is not None or said.max_pixels is not None:
        low = limits.min_pixels if said.min_pixels is None else said.min_pixels
        high = limits.max_pixels if said.max_pixels is None else said.max_pixels
        limits = PixelLimits(low, high, METADATA)
    if limits.min_pixels > limits.max_pixels:
        raise CheckpointError(
            f"{folder.path / limits.source}: min_pixels {limits.min_pixels:,} is over max_pixels {limits.max_pixels:,}"
        )
    return limits


def processor_limits(folder: CheckpointFolder) -> PixelLimits:
    """The pixel limits of the picture processor's own file, whatever vlreward.json says.

    Raises:
        CheckpointError: a limit is not a positive whole number.
    """
    source, block = "processor_config.json", (folder.json("processor_config.json") or {}).get("image_processor")
    if not isinstance(block, Mapping):
        source, block = "preprocessor_config.json", folder.json("preprocessor_config.json")
    if block is None:
        return PixelLimits(*DEFAULT_LIMITS, "default")
    size = block.get("size")
    size = size if isinstance(size, Mapping) else {}
    found = []
    for key, edge, default in (
        ("min_pixels", "shortest_edge", DEFAULT_LIMITS[0]),
        ("max_pixels", "longest_edge", DEFAULT_LIMITS[1]),
    ):
        value = next((v for v in (block.get(key), size.get(edge), size.get(key)) if v is not None), default)
        _check_pixels(value, f"{folder.path / source}: {key}")
        found.append(int(value))
    return PixelLimits(found[0], found[1], source)


def set_processor_limits(folder: Path, min_pixels: int, max_pixels: int) -> None:
    """Write pixel limits into the picture processor's own files in ``folder``, in every place that says them."""
    for filename in ("processor_config.json", "preprocessor_config.json"):
        path = folder / filename
        if not path.is_file():
            continue
        content = read_json(path)
        block = content.get("image_processor") if filename == "processor_config.json" else content
        if isinstance(block, dict):
            block["size"] = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
            block.update(
                {key: value for key, value in (("min_pixels", min_pixels), ("max_pixels", max_pixels)) if key in block}
            )
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_pixels(value: Any, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise CheckpointError(f"{what} must be a positive whole number of pixels, got {value!r:.40}")
