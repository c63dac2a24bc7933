"""TRL's and LLaMA-Factory's form: ``v_head.summary`` in a file beside the model, or among the model's tensors.

LLaMA-Factory's ``stage: rm`` splits it into ``value_head.safetensors`` (or ``.bin``); TRL's own ``save_pretrained``
leaves it among the model's tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vlreward.errors import CheckpointError, UnsupportedError
from vlreward.model.backbone import BackboneSpec

from .folder import CheckpointFolder
from .form import HeadFiles, language_model_config, read_linear
from .headers import TensorInfo, read_header

if TYPE_CHECKING:
    from vlreward.model.head import RewardHead

NAME = "value-head"
SIGN = "value_head.safetensors"
FILES = ("value_head.safetensors", "value_head.bin")
WEIGHT, BIAS = "v_head.summary.weight", "v_head.summary.bias"


def find(folder: CheckpointFolder) -> dict[str, TensorInfo]:
    """``v_head.summary.weight`` and ``.bias``, wherever they are; see `Form.find`."""
    places = {file: read_header(folder.path / file) for file in FILES if (folder.path / file).is_file()}
    inside = {name: info for name, info in folder.tensors.items() if name in (WEIGHT, BIAS)}
    if inside:
        places["the model's weights"] = inside
    if len(places) > 1:
        raise CheckpointError(f"{folder.path}: {NAME} twice, in {' and in '.join(places)}; remove the stale one")
    for file, tensors in places.items():
        other = sorted(set(tensors) - {WEIGHT, BIAS})
        if other or not tensors:
            raise CheckpointError(
                f"{folder.path / file}: expected {WEIGHT} and {BIAS}, found {', '.join(other) or 'none'}"
            )
    return next(iter(places.values()), {})


def matches(folder: CheckpointFolder) -> bool:
    """Whether the folder holds a value head."""
    return bool(find(folder))


def read(folder: CheckpointFolder) -> RewardHead:
    """The value head; see `Form.read`."""
    return read_linear(folder, find(folder), WEIGHT, BIAS)


def write(head: RewardHead) -> HeadFiles:
    """value_head.safetensors; TRL's class always has a bias, so a head without one gets a bias of zero."""
    tensors = head.tensors()
    if len(head.layers) != 1:
        raise UnsupportedError(
            f"a value head is one linear layer, this head has {len(head.layers)}; write the form reward-head instead"
        )
    weight = tensors["layers.0.weight"]
    bias = tensors.get("layers.0.bias", weight.new_zeros(1))
    return HeadFiles(filename=FILES[0], in_file={WEIGHT: weight, BIAS: bias})


def configure(config: Mapping[str, Any], spec: BackboneSpec) -> dict[str, Any]:
    """config.json of the class with an LM head, which the value head's loaders open."""
    return language_model_config(config, spec)
