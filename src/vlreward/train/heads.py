"""New reward heads: which, and how they start."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .config import positive

if TYPE_CHECKING:
    from vlreward.model.head import RewardHead


@dataclass(frozen=True, kw_only=True)
class Head:
    """The reward head that training starts from."""

    start: Literal["auto", "new", "checkpoint"] = "auto"
    """``auto``: the checkpoint's head if it has one, else a new one."""
    kind: Literal["linear", "mlp"] = "linear"
    """A new head: ``linear`` with bias, the published one (arXiv 2505.07263), or ``mlp``, two layers with SiLU between
    (BaseReward, arXiv 2509.16127)."""
    width: int | None = None
    """Inner size of an ``mlp``; None: the hidden size."""

    def __post_init__(self) -> None:
        positive("width", self.width)


def new_head(settings: Head, hidden_size: int, seed: int) -> RewardHead:
    """A new head, drawn on the CPU from ``seed`` alone.

    Inner weights are normal with variance ``1 / inputs`` (LeCun), so that their outputs are as large as their inputs;
    the last layer's have the deviation ``1 / (inputs + 1)`` (as in arXiv 2009.01325), so that rewards start near 0 and
    the first loss near log 2. Biases are 0.
    """
    import torch

    from vlreward.model.head import RewardHead

    generator = torch.Generator().manual_seed(seed)
    width = settings.width or hidden_size
    sizes = [hidden_size, 1] if settings.kind == "linear" else [hidden_size, width, 1]
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        deviation = 1 / (inputs + 1) if outputs == 1 else inputs**-0.5
        layers.append((torch.randn((outputs, inputs), generator=generator) * deviation, torch.zeros(outputs)))
    return RewardHead(layers)
