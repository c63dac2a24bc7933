"""What every on-disk form of a reward head offers; each form is a module of functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from vlreward.errors import CheckpointError
from vlreward.model.backbone import BackboneSpec

from .folder import CheckpointFolder
from .headers import TensorInfo, read_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from vlreward.model.head import RewardHead

_LABELS = ("num_labels", "id2label", "label2id", "problem_type")
_OF_WHOLE_MODEL = ("architectures", "model_type", "transformers_version", "vision_config", "auto_map")
_OF_BOTH = ("hidden_size", "tie_word_embeddings", "dtype", "torch_dtype")
"""Entries of a flat config that readers look for at the top and in ``text_config``."""


@dataclass(frozen=True, kw_only=True)
class HeadFiles:
    """A head as a form writes it. Tensors are float32, contiguous, on the CPU."""

    in_model: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that stand among the model's own."""
    filename: str | None = None
    """The safetensors file beside the model, if the form has one."""
    in_file: Mapping[str, Tensor] = field(default_factory=dict)
    """The tensors of that file."""
    file_metadata: Mapping[str, str] = field(default_factory=dict)
    """The metadata of that file, beside ``format``."""
    notes: tuple[str, ...] = ()
    """What a user of other tools has to know."""


class Form(Protocol):
    """A module that reads and writes one form."""

    NAME: str
    """As it is called in errors, in vlreward.json and on the command line."""
    SIGN: str
    """What one looks for in a folder to tell the form."""

    def find(self, folder: CheckpointFolder) -> dict[str, TensorInfo]:
        """The head's own tensors in this form; empty when there are none.

        Raises:
            CheckpointError: the form is there twice, or its file holds other tensors.
        """
        ...

    def matches(self, folder: CheckpointFolder) -> bool:
        """Whether the folder holds a head in this form."""
        ...

    def read(self, folder: CheckpointFolder) -> RewardHead:
        """The head.

        Raises:
            CheckpointError: a tensor is missing, of another shape, or not finite; the message names it and its file.
        """
        ...

    def write(self, head: RewardHead) -> HeadFiles:
        """The head's tensors as this form lays them out.

        Raises:
            UnsupportedError: the form cannot hold this head.
        """
        ...

    def configure(self, config: Mapping[str, Any], spec: BackboneSpec) -> dict[str, Any]:
        """config.json for this form."""
        ...


def read_linear(folder: CheckpointFolder, found: Mapping[str, TensorInfo], weight: str, bias: str) -> RewardHead:
    """A head of one linear layer from the tensors named ``weight`` (1, D) and, if it is there, ``bias`` (1,).

    Raises:
        CheckpointError: the weight is missing, or a tensor has another shape or is not finite.
    """
    from vlreward.model.head import RewardHead

    if weight not in found:
        file = next(iter(found.values())).file
        raise CheckpointError(f"{file}: {bias} without {weight}; the head is incomplete")
    weight_1D = read_checked(found[weight], (1, folder.hidden_size))
    bias_1 = read_checked(found[bias], (1,)) if bias in found else None
    return RewardHead.linear(weight_1D, bias_1)


def read_checked(info: TensorInfo, shape: tuple[int, ...]) -> Tensor:
    """A float tensor of this shape with finite values.

    Raises:
        CheckpointError: it is not so; the message names tensor and file.
    """
    import torch

    if info.shape != shape:
        raise CheckpointError(
            f"{info.file}: {info.name} has shape {info.shape}, expected {shape}; the head is of another model, or"
            " config.json has another hidden_size"
        )
    tensor = read_tensor(info)
    if not tensor.is_floating_point():
        raise CheckpointError(f"{info.file}: {info.name} is {info.dtype}, expected floating point numbers")
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise CheckpointError(f"{info.file}: {info.name} has {bad:,} values that are not finite; the head is broken")
    return tensor


def language_model_config(config: Mapping[str, Any], spec: BackboneSpec) -> dict[str, Any]:
    """config.json for a folder whose class is the one with an LM head: no labels, and old files flat again."""
    edited = {key: value for key, value in config.items() if key not in _LABELS}
    edited["architectures"] = [spec.lm_architecture]
    text = edited.pop("text_config", None)
    if not isinstance(text, Mapping):
        return edited
    text = {key: value for key, value in text.items() if key not in _LABELS}
    # Whoever saves a nested config says the block's model_type; a block without is what classification_config made of
    # an old, flat file, and readers of that time (transformers 4.51) know only flat ones.
    return {**edited, "text_config": text} if "model_type" in text else {**text, **edited}


def classification_config(config: Mapping[str, Any], spec: BackboneSpec) -> dict[str, Any]:
    """config.json for a classifier of one label, complete for serving.

    The labels stand in ``text_config`` too: vLLM takes the number of labels from there, and takes two where it says
    none. Old, flat files get such a block.
    """
    labels = {
        "num_labels": 1,
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "problem_type": "regression",
    }
    top = {key: value for key, value in config.items() if key not in _LABELS}
    text = top.get("text_config")
    if not isinstance(text, Mapping):
        text = {key: value for key, value in top.items() if not _is_of_whole_model(key) or key in _OF_BOTH}
        top = {key: value for key, value in top.items() if _is_of_whole_model(key) or key in _OF_BOTH}
    top["architectures"] = [spec.classification_architecture]
    return {**top, **labels, "text_config": {**text, **labels}}


def _is_of_whole_model(key: str) -> bool:
    """Whether an entry of a flat config is not the language model's: ids of tokens that stand for pictures, say."""
    return key in _OF_WHOLE_MODEL or (key.startswith(("image_", "video_", "vision_")) and key.endswith("_id"))
