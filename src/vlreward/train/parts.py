"""The parts of a reward model by name, and which of them are trained, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from vlreward.errors import ConfigError

from .config import positive

How: TypeAlias = Literal["train", "frozen", "lora", "qlora"]
"""``lora``: low-rank adapters on the part's linear layers; ``qlora``: the same over weights of 4 bits."""
NAMES = ("vision", "projector", "language", "head")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """How each part is trained. The defaults are the published ones (arXiv 2505.07263): all but the vision tower."""

    vision: How = "frozen"
    """The vision tower, without what merges its patches into visual tokens."""
    projector: How = "train"
    """The merger, for Qwen3-VL those of its deepstack levels too."""
    language: How = "train"
    """The language model: embeddings, layers, norm, and the LM head where the objective writes."""
    head: Literal["train", "frozen"] = "train"
    """The reward head."""

    def __post_init__(self) -> None:
        if all(getattr(self, name) == "frozen" for name in NAMES):
            raise ConfigError("all parts are frozen; train one of them")

    def adapted(self) -> tuple[str, ...]:
        """The parts that take adapters."""
        return tuple(name for name in NAMES if getattr(self, name) in ("lora", "qlora"))

    def quantized(self) -> tuple[str, ...]:
        """The parts whose weights are held in 4 bits."""
        return tuple(name for name in NAMES if getattr(self, name) == "qlora")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """The adapters of parts that are trained by ``lora`` or ``qlora``."""

    rank: int = 16
    """Inner size of an adapter."""
    alpha: float = 32.0
    """Adapters are scaled by ``alpha / rank``; twice the rank is the habit of the field."""
    dropout: float = 0.0
    """Dropout before an adapter. 0, so that a pack and its conversations alone have one loss."""

    def __post_init__(self) -> None:
        positive("rank", self.rank)
        positive("alpha", self.alpha)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout}")


def part_of(name: str) -> str:
    """The part that a tensor belongs to.

    Args:
        name: as in memory: ``visual.…``, ``language_model.…``, ``lm_head.…``, ``head.…``, with or without
            ``backbone.`` in front.
    """
    name = name.removeprefix("backbone.")
    if name.startswith("visual."):
        return "projector" if name.startswith(("visual.merger.", "visual.deepstack_merger_list.")) else "vision"
    if name.startswith(("language_model.", "lm_head.")):
        return "language"
    if name.startswith("head."):
        return "head"
    raise ConfigError(f"{name}: no part of a reward model has such a tensor")
