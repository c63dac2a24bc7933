"""Writing safetensors files tensor by tensor, from other files or from memory, with one tensor in memory at a time.

The bytes of a tensor that comes from a safetensors file are copied as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vlreward.errors import CheckpointError

from .headers import TensorInfo, item_size, load_torch_file, safetensors_code

if TYPE_CHECKING:
    from torch import Tensor

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_PIECE = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One tensor to write, and where its bytes are."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    """Bytes."""
    source: TensorInfo | Tensor

    @classmethod
    def of_tensor(cls, name: str, tensor: Tensor) -> Entry:
        """A tensor in memory, on any device."""
        dtype = str(tensor.dtype).removeprefix("torch.")
        size = tensor.numel() * tensor.element_size()
        return cls(name=name, dtype=dtype, shape=tuple(tensor.shape), size=size, source=tensor)

    @classmethod
    def of_file(cls, name: str, info: TensorInfo) -> Entry:
        """A tensor in a file, to be called ``name``."""
        return cls(name=name, dtype=info.dtype, shape=info.shape, size=info.size, source=info)


def write_safetensors(path: Path, entries: Iterable[Entry], metadata: Mapping[str, str]) -> None:
    """Write one safetensors file; ``format: pt`` is added to the metadata, since readers ask for it.

    Raises:
        CheckpointError: a source file ends early.
    """
    # Widest dtype first keeps every tensor aligned, as the format's own library does it.
    ordered = sorted(entries, key=lambda entry: -item_size(entry.dtype))
    header: dict[str, object] = {"__metadata__": {**metadata, "format": "pt"}}
    position = 0
    for entry in ordered:
        offsets = [position, position + entry.size]
        header[entry.name] = {
            "dtype": safetensors_code(entry.dtype),
            "shape": list(entry.shape),
            "data_offsets": offsets,
        }
        position += entry.size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for entry in ordered:
            _write_bytes(file, entry)


def _write_bytes(file: BinaryIO, entry: Entry) -> None:
    import torch

    info = entry.source
    if isinstance(info, TensorInfo) and info.start is not None:
        _copy_range(file, info, info.start)
        return
    tensor = load_torch_file(info.file)[info.name] if isinstance(info, TensorInfo) else info
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    file.write(flat.view(torch.uint8).numpy().data)


def _copy_range(file: BinaryIO, info: TensorInfo, start: int) -> None:
    left = info.size
    with info.file.open("rb") as source:
        source.seek(start)
        while left:
            piece = source.read(min(left, _PIECE))
            if not piece:
                raise CheckpointError(f"{info.file}: ends within {info.name}; copy or download the file again")
            file.write(piece)
            left -= len(piece)


def split_shards(entries: Sequence[Entry], max_bytes: int) -> dict[str, list[Entry]]:
    """Entries by file name, in order, at most ``max_bytes`` to a file unless one tensor alone is larger."""
    shards: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if shards[-1] and size + entry.size > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(entry)
        size += entry.size
    if len(shards) == 1:
        return {SINGLE: shards[0]}
    return {f"model-{i:05d}-of-{len(shards):05d}.safetensors": shard for i, shard in enumerate(shards, 1)}


def write_index(folder: Path, shards: Mapping[str, Sequence[Entry]]) -> None:
    """Write model.safetensors.index.json for shards of several files; nothing for a single ``model.safetensors``."""
    if set(shards) == {SINGLE}:
        return
    places = dict(sorted(_places(shards)))
    size = sum(entry.size for shard in shards.values() for entry in shard)
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _places(shards: Mapping[str, Sequence[Entry]]) -> Iterator[tuple[str, str]]:
    for file, shard in shards.items():
        for entry in shard:
            yield entry.name, file
