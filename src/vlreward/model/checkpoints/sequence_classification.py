"""The form of transformers' sequence classifiers: a top-level ``score.weight`` among the model's tensors.

ms-swift, TRL and OpenRLHF write it, vLLM serves it. Most loaders' class has no bias; vLLM takes ``score.bias``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vlreward.errors import CheckpointError, UnsupportedError
from vlreward.model.backbone import BackboneSpec

from .folder import CheckpointFolder
from .form import HeadFiles, classification_config, read_linear
from .headers import TensorInfo

if TYPE_CHECKING:
    from vlreward.model.head import RewardHead

NAME = "sequence-classification"
SIGN = "score.weight in model.safetensors"
WEIGHT, BIAS = "score.weight", "score.bias"


def find(folder: CheckpointFolder) -> dict[str, TensorInfo]:
    """``score.weight`` and ``score.bias`` of the model's weights; see `Form.find`."""
    return {name: info for name, info in folder.tensors.items() if name in (WEIGHT, BIAS)}


def matches(folder: CheckpointFolder) -> bool:
    """Whether the model's weights hold ``score``."""
    return bool(find(folder))


def read(folder: CheckpointFolder) -> RewardHead:
    """The classifier of one label; see `Form.read`."""
    found = find(folder)
    labels = found[WEIGHT].shape[0] if WEIGHT in found and found[WEIGHT].shape else 1
    if labels != 1:
        raise CheckpointError(f"{found[WEIGHT].file}: {WEIGHT} is a classifier of {labels} labels; a reward has one")
    _check_labels(folder)
    return read_linear(folder, found, WEIGHT, BIAS)


def _check_labels(folder: CheckpointFolder) -> None:
    names = folder.config.get("id2label")
    labels = folder.config.get("num_labels", len(names) if isinstance(names, Mapping) else 1)
    if labels != 1:
        raise CheckpointError(f"{folder.path / 'config.json'}: num_labels is {labels}; a reward head has 1")


def write(head: RewardHead) -> HeadFiles:
    """``score.weight`` (1, D) and, if the head has one that is not zero, ``score.bias`` (1,)."""
    tensors = head.tensors()
    if len(head.layers) != 1:
        raise UnsupportedError(
            f"a sequence classifier's score is one linear layer, this head has {len(head.layers)};"
            " write the form reward-head instead"
        )
    bias = tensors.get("layers.0.bias")
    if bias is None or not bool(bias.any()):
        return HeadFiles(in_model={WEIGHT: tensors["layers.0.weight"]})
    note = (
        f"score.bias ({bias.item():.6g}) is written; loaders whose class has no bias (transformers' generic one,"
        " ms-swift) drop it: their scores are all shifted by it, the order is unchanged"
    )
    return HeadFiles(in_model={WEIGHT: tensors["layers.0.weight"], BIAS: bias}, notes=(note,))


def configure(config: Mapping[str, Any], spec: BackboneSpec) -> dict[str, Any]:
    """config.json of a classifier of one label with ``problem_type: "regression"``."""
    return classification_config(config, spec)
