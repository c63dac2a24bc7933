"""The last layer at scored positions only.

Of the last layer's output only the scored tokens are read. Its keys and values are needed at every token, its queries,
attention output and MLP are not: the layer is given the scored rows, and the keys and values of all rows as if they
came from a cache. A model of few layers gains much by this, the 28 layers of a 7B about 3 %; it is reported apart.

Shape suffixes: ``T`` packed tokens, ``S`` scored ones, ``D`` hidden size.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, eq=False)
class _Given:
    """Keys and values as a cache hands them out, whatever is put in; each ``(1, heads, T, head size)``."""

    key: torch.Tensor
    value: torch.Tensor

    def update(self, _key: torch.Tensor, _value: torch.Tensor, _layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.key, self.value


def install(text_model: Any) -> None:
    """Let the last layer of a text model go by ``tree.scored_S``, where a pack's tree has one."""
    layer = text_model.layers[-1]
    # accelerate moves the weights of such a layer around its own forward, which comes after this.
    if not hasattr(layer, "_hf_hook"):
        layer.register_forward_pre_hook(_narrow, with_kwargs=True)


def _narrow(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """A hook before the layer: scored rows in place of all."""
    tree = kwargs.get("tree")
    if tree is None or tree.scored_S is None:
        return None
    hidden_1TD, *rest = args
    rotary = kwargs["position_embeddings"]
    scored_S = tree.scored_S.to(hidden_1TD.device)
    narrowed = {
        "past_key_values": _keys_and_values(layer, hidden_1TD, rotary),
        "position_embeddings": tuple(table[:, scored_S] for table in rotary),
        "tree": tree.at_scored(),
    }
    return (hidden_1TD[:, scored_S], *rest), kwargs | narrowed


def _keys_and_values(layer: Any, hidden_1TD: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor]) -> _Given:
    """The layer's keys and values at all tokens, by its own modules."""
    attention = layer.self_attn
    states = layer.input_layernorm(hidden_1TD)
    shape = (*states.shape[:-1], -1, attention.head_dim)
    key, value = attention.k_proj(states).view(shape), attention.v_proj(states).view(shape)
    if hasattr(attention, "k_norm"):
        key = attention.k_norm(key)
    key, value = key.transpose(1, 2), value.transpose(1, 2)
    rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb
    return _Given(rotate(key, key, *rotary)[1], value)
