"""The reward head: hidden states to rewards.

Shape suffixes: ``N`` scored positions, ``D`` hidden size, ``O`` output size of a layer, ``I`` its input size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from vlreward.errors import ConfigError

from .checkpoints.question import Question

__all__ = ["ACTIVATIONS", "Question", "RewardHead"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": nn.functional.silu}
"""What may stand between layers; SiLU is the choice of arXiv 2509.16127."""


class RewardHead(nn.Module):
    """One or more linear layers that end in one number; parameters and arithmetic are float32.

    The parameters stay float32 when the module, or one that holds it, is moved to a narrower dtype.

    Args:
        layers: ``(weight_OI, bias_O or None)`` of each layer, first to last; the last has one output. Copied.
        activation: what stands between the layers, a key of `ACTIVATIONS`.
        question: how the head asks, for a token-logit head; None: it reads at the last token of the conversation.

    Raises:
        ConfigError: the shapes do not chain to one output, or the activation is unknown.
    """

    def __init__(
        self,
        layers: Sequence[tuple[Tensor, Tensor | None]],
        *,
        activation: str = "silu",
        question: Question | None = None,
    ) -> None:
        super().__init__()
        _check_shapes(layers)
        if activation not in ACTIVATIONS:
            raise ConfigError(f"reward head: unknown activation {activation!r}; known: {', '.join(ACTIVATIONS)}")
        self.activation = activation
        self.question = question
        self.layers = nn.ModuleList(_layer(weight_OI, bias_O) for weight_OI, bias_O in layers)

    @classmethod
    def linear(cls, weight: Tensor, bias: Tensor | None = None, *, question: Question | None = None) -> Self:
        """A head of one layer: ``weight`` (1, D), ``bias`` (1,) or None."""
        return cls([(weight, bias)], question=question)

    @property
    def hidden_size(self) -> int:
        """D, the size of the hidden states that the head reads."""
        return int(self._linears[0].in_features)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Input size of the first layer, then the output size of each: ``(3584, 1)``."""
        return (self.hidden_size, *(layer.out_features for layer in self._linears))

    @property
    def has_bias(self) -> bool:
        """Whether any layer has a bias."""
        return any(layer.bias is not None for layer in self._linears)

    @property
    def _linears(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def tensors(self) -> dict[str, Tensor]:
        """The parameters, ``layers.{i}.weight`` (O, I) and ``layers.{i}.bias`` (O,), float32 on the CPU, contiguous."""
        state = self.state_dict()
        return {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in state.items()}

    def forward(self, hidden_ND: Tensor) -> Tensor:
        """Rewards (N,), float32 also under autocast, of hidden states (N, D) of any float dtype."""
        # Autocast would run the layers in bf16: three digits of a score.
        with torch.autocast(hidden_ND.device.type, enabled=False):
            first, *rest = self._linears
            values = first(hidden_ND.to(first.weight.dtype))
            for layer in rest:
                values = layer(ACTIVATIONS[self.activation](values))
            return values.squeeze(-1)  # type: ignore[no-any-return]

    def describe(self) -> str:
        """The head in one phrase: ``linear 3584 -> 1, with bias``."""
        chain = " -> ".join(map(str, self.sizes))
        kind = "linear" if len(self.layers) == 1 else f"{len(self.layers)} layers"
        between = "" if len(self.layers) == 1 else f", {self.activation}"
        words = f"{kind} {chain}{between}, {'with' if self.has_bias else 'no'} bias"
        return words if self.question is None else f"token logit {self.question.describe()}, {words}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Let devices change, and the dtype to a wider one, never to a narrower one."""

        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            narrower = moved.is_floating_point() and moved.element_size() < tensor.element_size()
            return tensor.to(moved.device) if narrower else moved

        super()._apply(keep_dtype, recurse)  # type: ignore[no-untyped-call]
        return self


def _layer(weight_OI: Tensor, bias_O: Tensor | None) -> nn.Linear:
    outputs, inputs = weight_OI.shape
    layer = nn.Linear(inputs, outputs, bias=bias_O is not None, device="meta")
    layer.weight = nn.Parameter(_own(weight_OI))
    if bias_O is not None:
        layer.bias = nn.Parameter(_own(bias_O))
    return layer


def _own(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32, copy=True).contiguous()


def _check_shapes(layers: Sequence[tuple[Tensor, Tensor | None]]) -> None:
    if not layers:
        raise ConfigError("reward head: no layers; at least one is needed")
    inputs: int | None = None
    for i, (weight_OI, bias_O) in enumerate(layers):
        shape: Any = tuple(weight_OI.shape)
        if len(shape) != 2 or (inputs is not None and shape[1] != inputs):
            expected = "(outputs, inputs)" if inputs is None else f"(outputs, {inputs})"
            raise ConfigError(f"reward head: layer {i}: weight has shape {shape}, expected {expected}")
        if bias_O is not None and tuple(bias_O.shape) != (shape[0],):
            raise ConfigError(f"reward head: layer {i}: bias has shape {tuple(bias_O.shape)}, expected ({shape[0]},)")
        inputs = shape[0]
    if inputs != 1:
        raise ConfigError(f"reward head: the last layer has {inputs} outputs, expected 1")
