"""What a weight file holds, read from its header: names, shapes and dtypes, no weights."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

_DTYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U64": ("uint64", 8),
    "U32": ("uint32", 4),
    "U16": ("uint16", 2),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
_CODES = {name: code for code, (name, _) in _DTYPES.items()}
_AGAIN = "the file is truncated or damaged; copy or download it again"
MAX_HEADER = 100_000_000
"""Bytes; the limit that the safetensors library sets too."""


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """Where one tensor is, and what it is."""

    name: str
    file: Path
    shape: tuple[int, ...]
    dtype: str
    """Named as torch names it: ``bfloat16``."""
    size: int
    """Bytes on disk."""
    start: int | None = None
    """First byte in a safetensors file; None in a torch file."""

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def safetensors_code(dtype: str) -> str:
    """The safetensors name of a dtype that torch calls ``dtype``."""
    return _CODES[dtype]


def item_size(dtype: str) -> int:
    """Bytes of one element."""
    return _DTYPES[_CODES[dtype]][1]


def read_safetensors_header(path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """The tensors of a safetensors file in the order of their bytes, and the file's metadata.

    Raises:
        CheckpointError: the file is missing, empty, truncated or not of this format.
    """
    size = _file_size(path)
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise CheckpointError(f"{path}: its header cannot be read: {length:,} header bytes in {size:,}; {_AGAIN}")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise CheckpointError(f"{path}: its header cannot be read: {error}; {_AGAIN}") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its header cannot be read: not an object; {_AGAIN}")
    metadata = header.pop("__metadata__", {})
    found = [_parse_entry(path, name, entry, 8 + length) for name, entry in header.items()]
    expected = max((info.start + info.size for info in found if info.start is not None), default=8 + length)
    if expected > size:
        raise CheckpointError(f"{path}: its header promises {expected:,} bytes, the file has {size:,}; {_AGAIN}")
    return {info.name: info for info in sorted(found, key=lambda info: info.start or 0)}, metadata if isinstance(
        metadata, dict
    ) else {}


def _parse_entry(path: Path, name: str, entry: Any, data_start: int) -> TensorInfo:
    try:
        dtype, width = _DTYPES[entry["dtype"]]
        shape = tuple(int(n) for n in entry["shape"])
        start, stop = (int(n) for n in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the header's entry for {name} cannot be read ({error!r}); {_AGAIN}") from error
    if min((start, *shape)) < 0 or stop - start != math.prod(shape) * width:
        raise CheckpointError(f"{path}: the header gives {name} {stop - start:,} bytes for {shape} {dtype}; {_AGAIN}")
    return TensorInfo(name=name, file=path, shape=shape, dtype=dtype, size=stop - start, start=data_start + start)


def read_torch_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a file that ``torch.save`` wrote; the file is mapped, not read.

    Raises:
        CheckpointError: the file is missing, empty, not of this format, or holds other things than tensors.
    """
    found = {}
    for name, tensor in load_torch_file(path).items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        size = tensor.numel() * tensor.element_size()
        found[name] = TensorInfo(name=name, file=path, shape=tuple(tensor.shape), dtype=dtype, size=size)
    return found


def load_torch_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that ``torch.save`` wrote, mapped from disk; nothing in the file is executed.

    Raises:
        CheckpointError: as `read_torch_header`.
    """
    import torch

    _file_size(path)
    try:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            # Files from before the zip format cannot be mapped.
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything here, from EOFError to UnpicklingError
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{path}: not a file of tensors ({reason}); {_AGAIN}") from error
    if not isinstance(state, Mapping) or not all(isinstance(item, torch.Tensor) for item in state.values()):
        raise CheckpointError(f"{path}: expected a dictionary of tensors, as torch.save(model.state_dict()) writes it")
    return dict(state)


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a weight file, of either format by its suffix.

    Raises:
        CheckpointError: the file cannot be read.
    """
    return read_safetensors_header(path)[0] if path.suffix == ".safetensors" else read_torch_header(path)


def read_tensor(info: TensorInfo) -> Tensor:
    """One tensor, read from its file into memory of its own.

    Raises:
        CheckpointError: the file cannot be read.
    """
    if info.file.suffix != ".safetensors":
        return load_torch_file(info.file)[info.name].clone()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(info.file, framework="pt") as file:
            tensor: Tensor = file.get_tensor(info.name)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{info.file}: {info.name} cannot be read ({error}); {_AGAIN}") from error
    return tensor


def read_rows(info: TensorInfo, rows: Sequence[int]) -> Tensor:
    """Some rows of a matrix (rows, …), in the order given; the others are not read.

    Raises:
        CheckpointError: the file cannot be read.
    """
    import torch

    if info.file.suffix != ".safetensors":
        return load_torch_file(info.file)[info.name][list(rows)].clone()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(info.file, framework="pt") as file:
            matrix = file.get_slice(info.name)
            return torch.stack([matrix[row] for row in rows])
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{info.file}: {info.name} cannot be read ({error}); {_AGAIN}") from error


def _file_size(path: Path) -> int:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if size == 0:
        raise CheckpointError(f"{path}: zero bytes; copy or download the file again")
    return size
