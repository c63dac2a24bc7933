"""What is declared of each backbone, and how it is loaded.

A backbone is a vision tower, a projector (the merger) and a causal language model. What it can do is declared in
`BackboneSpec`, never guessed: only plain causal full attention can be packed as a tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vlreward.errors import CheckpointError, UnsupportedError


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """One family of backbones."""

    model_type: str
    """``model_type`` in config.json."""
    packable: bool
    """Whether its text model is plain causal full attention, so that conversations can be packed into one tree."""
    text_prefix: str
    """Start of the language model's tensor names in published checkpoints; ``language_model.`` in memory."""
    vision_prefix: str
    """Start of the vision tower's tensor names in published checkpoints; ``visual.`` in memory."""
    lm_architecture: str
    """The transformers class with an LM head."""
    classification_architecture: str
    """The architecture name that serving engines expect of its sequence-classification form."""
    video_timestamps: bool = False
    """Whether the text spells the time of each video frame (Qwen3-VL) instead of the positions carrying it."""


QWEN2_5_VL = BackboneSpec(
    model_type="qwen2_5_vl",
    packable=True,
    text_prefix="model.",
    vision_prefix="visual.",
    lm_architecture="Qwen2_5_VLForConditionalGeneration",
    classification_architecture="Qwen2_5_VLForSequenceClassification",
)
QWEN2_VL = BackboneSpec(
    model_type="qwen2_vl",
    packable=True,
    text_prefix="model.",
    vision_prefix="visual.",
    lm_architecture="Qwen2VLForConditionalGeneration",
    classification_architecture="Qwen2VLForSequenceClassification",
)
QWEN3_VL = BackboneSpec(
    model_type="qwen3_vl",
    packable=True,
    text_prefix="model.language_model.",
    vision_prefix="model.visual.",
    lm_architecture="Qwen3VLForConditionalGeneration",
    classification_architecture="Qwen3VLForSequenceClassification",
    video_timestamps=True,
)
SPECS = (QWEN2_5_VL, QWEN2_VL, QWEN3_VL)


def spec_for(config: Mapping[str, Any], where: str) -> BackboneSpec:
    """The declaration for a ``config.json``.

    Raises:
        CheckpointError: there is no ``model_type``.
        UnsupportedError: the backbone is not declared, or is set to an attention that a tree cannot stand for.
    """
    model_type = config.get("model_type")
    if not model_type:
        raise CheckpointError(f"{where}: config.json has no model_type")
    for spec in SPECS:
        if spec.model_type == model_type:
            text = config.get("text_config") or config
            if spec.packable and text.get("use_sliding_window"):
                raise UnsupportedError(f"{where}: use_sliding_window is true; only full attention is supported")
            return spec
    known = ", ".join(spec.model_type for spec in SPECS)
    raise UnsupportedError(f"{where}: backbone {model_type!r} is not supported; known: {known}")
