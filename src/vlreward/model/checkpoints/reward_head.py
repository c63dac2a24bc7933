"""Our form, for heads that the others cannot hold: ``layers.{i}.weight`` and ``.bias`` in reward_head.safetensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vlreward.errors import CheckpointError, ConfigError
from vlreward.model.backbone import BackboneSpec

from .folder import CheckpointFolder
from .form import HeadFiles, language_model_config, read_checked
from .headers import TensorInfo, read_safetensors_header

if TYPE_CHECKING:
    from torch import Tensor

    from vlreward.model.head import RewardHead

NAME = "reward-head"
FILE = "reward_head.safetensors"
SIGN = FILE
_LAYER = re.compile(r"layers\.(\d+)\.(weight|bias)")


def find(folder: CheckpointFolder) -> dict[str, TensorInfo]:
    """The tensors of reward_head.safetensors; see `Form.find`."""
    path = folder.path / FILE
    if not path.is_file():
        return {}
    found, _ = read_safetensors_header(path)
    other = sorted(name for name in found if not _LAYER.fullmatch(name))
    if other or not found:
        raise CheckpointError(f"{path}: expected layers.0.weight and so on, found {', '.join(other) or 'no tensors'}")
    return found


def matches(folder: CheckpointFolder) -> bool:
    """Whether the folder holds reward_head.safetensors."""
    return (folder.path / FILE).is_file()


def read(folder: CheckpointFolder) -> RewardHead:
    """The layers, in order; see `Form.read`."""
    from vlreward.model.head import RewardHead

    found = find(folder)
    path = folder.path / FILE
    _, metadata = read_safetensors_header(path)
    layers: list[tuple[Tensor, Tensor | None]] = []
    inputs = folder.hidden_size
    count = 1 + max(int(name.split(".")[1]) for name in found)
    for i in range(count):
        weight, bias = f"layers.{i}.weight", f"layers.{i}.bias"
        if weight not in found:
            raise CheckpointError(f"{path}: no {weight}; the head is incomplete")
        outputs = 1 if i == count - 1 else next(iter(found[weight].shape), 1)
        weight_OI = read_checked(found[weight], (outputs, inputs))
        layers.append((weight_OI, read_checked(found[bias], (outputs,)) if bias in found else None))
        inputs = outputs
    try:
        return RewardHead(layers, activation=metadata.get("activation", "silu"))
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def write(head: RewardHead) -> HeadFiles:
    """reward_head.safetensors, with the activation in the file's metadata."""
    notes = () if len(head.layers) == 1 else (f"{FILE} is vlreward's own form: other tools do not read it",)
    return HeadFiles(filename=FILE, in_file=head.tensors(), file_metadata={"activation": head.activation}, notes=notes)


def configure(config: Mapping[str, Any], spec: BackboneSpec) -> dict[str, Any]:
    """config.json of the class with an LM head: the model is stored as one."""
    return language_model_config(config, spec)
