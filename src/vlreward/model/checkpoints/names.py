"""Which tensors a model folder should hold, and which it does.

The same tensor has had three names on disk: ``model.layers…``/``visual…`` (released Qwen2-VL and Qwen2.5-VL),
``model.language_model.layers…``/``model.visual…`` (Qwen3-VL and newer saves) and the base class's own
``language_model.layers…``/``visual…``, which is also the name in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlreward.errors import CheckpointError
from vlreward.model.backbone import BackboneSpec, quiet_transformers

from . import reward_head, sequence_classification, value_head
from .folder import CONFIG, CheckpointFolder
from .headers import TensorInfo

_TEXT, _VISION = "language_model.", "visual."
_FIXED = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq")
"""Ends of names of tables that old files hold and every class computes for itself."""


def memory_name(name: str) -> str | None:
    """The name in memory of a tensor of the backbone on disk; None for any other tensor."""
    for prefix, target in (
        ("model.language_model.", _TEXT),
        ("model.visual.", _VISION),
        (_TEXT, _TEXT),
        (_VISION, _VISION),
        ("model.", _TEXT),
    ):
        if name.startswith(prefix):
            return target + name.removeprefix(prefix)
    return None


def published_name(name: str, spec: BackboneSpec) -> str:
    """The name on disk, as the released checkpoints have it, of a tensor of the backbone in memory."""
    if name.startswith(_TEXT):
        return spec.text_prefix + name.removeprefix(_TEXT)
    if name.startswith(_VISION):
        return spec.vision_prefix + name.removeprefix(_VISION)
    return name


@dataclass(frozen=True, kw_only=True)
class TensorReport:
    """What a folder's tensors are, against what its config asks for."""

    missing: tuple[str, ...]
    """Tensors of the backbone that are not there, by their names in memory."""
    left_over: tuple[TensorInfo, ...]
    """Tensors that belong to no part of the model."""
    misshapen: tuple[tuple[TensorInfo, tuple[int, ...]], ...]
    """Tensors of another shape than the config asks for, with that shape."""


def compare_tensors(folder: CheckpointFolder) -> TensorReport:
    """Compare the folder's tensors with those of a model built from its config without memory. Nothing is loaded.

    An LM head may be there or not, and so may a reward head: neither is missing nor left over.

    Raises:
        CheckpointError: transformers cannot build a model from the config.
    """
    expected = expected_shapes(folder)
    heads = {"lm_head.weight"}
    for form in (sequence_classification, value_head, reward_head):
        heads.update(form.find(folder))
    found: dict[str, TensorInfo] = {}
    left_over = []
    for name, info in folder.tensors.items():
        inner = memory_name(name)
        if inner in expected and inner not in found:
            found[inner] = info
        elif name not in heads and not name.endswith(_FIXED):
            left_over.append(info)
    return TensorReport(
        missing=tuple(name for name in expected if name not in found),
        left_over=tuple(left_over),
        misshapen=tuple((info, expected[name]) for name, info in found.items() if info.shape != expected[name]),
    )


def check_tensors(folder: CheckpointFolder) -> None:
    """Refuse a folder whose tensors are not those that its config asks for.

    Raises:
        CheckpointError: a tensor is missing, left over, or of another shape; the message names it.
    """
    report = compare_tensors(folder)
    if report.misshapen:
        info, shape = report.misshapen[0]
        raise CheckpointError(
            f"{info.file}: {info.name} has shape {info.shape}, config.json asks for {shape}"
            f"{_more(report.misshapen)}; weights and config are of different models"
        )
    if report.missing:
        raise CheckpointError(
            f"{folder.path}: tensor {report.missing[0]} is missing{_more(report.missing)}; the checkpoint is incomplete"
        )
    if report.left_over:
        info = report.left_over[0]
        model = folder.config.get("model_type")
        raise CheckpointError(
            f"{info.file}: tensor {info.name} is left over{_more(report.left_over)}: no part of a {model} model or of a"
            " known reward head has that name"
        )


def expected_shapes(folder: CheckpointFolder) -> dict[str, tuple[int, ...]]:
    """The shapes of the backbone's tensors by their names in memory, from the config alone.

    Raises:
        CheckpointError: transformers cannot build a model from the config.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    try:
        with quiet_transformers(), torch.device("meta"):
            config = AutoConfig.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
            model = AutoModel.from_config(config)
    except Exception as error:  # strict configs raise classes of their own for a value of a wrong type
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{folder.path / CONFIG}: no model can be built from it: {reason}") from error
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _more(items: Sequence[object]) -> str:
    return f" (and {len(items) - 1:,} more)" if len(items) > 1 else ""
