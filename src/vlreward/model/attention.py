"""Attention over a trie pack: one function, registered with transformers for the text model only.

The tree travels as a keyword (``tree=``), never as an attention mask: a dense boolean mask is silently wrong under
eager attention, and none would fit a long pack. How the same softmax is computed is chosen by device and length:

- CPU: blocks. A segment's descendants attend to all of it without a mask, it attends to itself causally, and the parts
  of a query's softmax are merged by their log-sum-exp. Where that is cheaper, a small subtree is one masked block.
- CUDA: flex attention with a block mask made from ``exit``; short packs take a dense mask.
- elsewhere: a dense mask, a slice of queries at a time.

Shape suffixes: ``B`` batch (1 for a pack), ``H`` heads, ``T`` packed tokens, ``D`` head size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from .packing import IntArray

if TYPE_CHECKING:
    from .prefix_cache import Past

NAME = "vlreward_tree"
"""The name under which the attention function is registered."""

Method: TypeAlias = Literal["blocks", "flex", "dense", "rows"]

# Costs in allowed-pair units, measured on two AVX-512 cores with 16 heads of 64: they move the choice between equally
# right ways, nothing else.
_CALL = 10_000
_MERGE_PER_QUERY = 100
_MASKED_PAIR = 1.15

_DENSE_ROWS = 1024
_FLEX_FROM = 2048
_TILE = 128
FLEX_BUCKET = 512


@dataclass(frozen=True)
class Block:
    """Queries ``[q0, q1)`` against keys ``[k0, k1)``: all pairs, causal pairs, or the pairs of a mask."""

    q0: int
    q1: int
    k0: int
    k1: int
    kind: Literal["full", "causal", "masked"]


@dataclass(eq=False)
class Tree:
    """What a pack's attention needs, prepared once and shared by all layers."""

    exit_T: torch.Tensor
    """End of each token's subtree, int64, on the CPU."""
    method: Method
    blocks: tuple[Block, ...] = ()
    scored_S: torch.Tensor | None = None
    """Where the last layer's output is read; None: everywhere."""
    past: Past | None = None
    """Tokens that are given by their keys and values. Keys are numbered from the first of these, queries without."""
    _made: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        exit_T: IntArray,
        device: torch.device,
        method: Method | None = None,
        scored_S: IntArray | None = None,
        past: Past | None = None,
    ) -> Tree:
        """Choose the method for the device and length, unless one is named, and plan it."""
        chosen = method or choose_method(device, len(exit_T), past=bool(past))
        blocks = plan_blocks(exit_T) if chosen == "blocks" else []
        if past and chosen == "blocks":
            blocks = _behind(past, blocks)
        scored = None if scored_S is None else torch.from_numpy(scored_S)
        return cls(torch.from_numpy(exit_T), chosen, tuple(blocks), scored, past)

    @property
    def given(self) -> int:
        """How many keys stand before the first query's own."""
        return 0 if self.past is None else len(self.past)

    def at_scored(self) -> Tree:
        """The same tree for queries at the scored tokens alone."""
        tree: Tree = self.once("scored", lambda: replace(self, method="rows", _made={}))
        return tree

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """``make()``, kept for the other layers."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def mask(self, q0: int, q1: int, k0: int, k1: int, device: torch.device) -> torch.Tensor:
        """Which of the queries attend to which of the keys, bool ``(q1 - q0, k1 - k0)``."""

        def make() -> torch.Tensor:
            return self.allowed(torch.arange(q0, q1), slice(k0, k1)).to(device)

        result: torch.Tensor = self.once((q0, q1, k0, k1, device), make)
        return result

    def allowed(self, queries: torch.Tensor, keys: slice) -> torch.Tensor:
        """Which queries, by number, attend to which of the keys, bool, on the CPU."""
        begin_K, end_K = self.once("spans", self._spans)
        q = queries[:, None]
        found: torch.Tensor = (begin_K[None, keys] <= q) & (q < end_K[None, keys])
        return found

    def _spans(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Each key's queries: the first, and the end."""
        begin_T = torch.arange(len(self.exit_T))
        if self.past is None:
            return begin_T, self.exit_T
        begin_P, exit_P = torch.from_numpy(self.past.begin_P), torch.from_numpy(self.past.exit_P)
        return torch.cat((begin_P, begin_T)), torch.cat((exit_P, self.exit_T))


def choose_method(device: torch.device, length: int, *, past: bool = False) -> Method:
    """The method for a pack of ``length`` tokens on ``device``.

    Behind a ``past`` there are too many shapes for a kernel that is compiled for each.
    """
    if device.type == "cpu":
        return "blocks"
    if device.type == "cuda" and length >= _FLEX_FROM and not past:
        return "flex"
    return "dense"


@dataclass
class _Node:
    """A segment, a run of tokens without a branch, and what its subtree is to cost."""

    start: int
    end: int
    exit: int
    children: list[_Node] = field(default_factory=list)
    cost: float = 0.0
    whole: bool = False


def plan_blocks(exit_T: IntArray) -> list[Block]:
    """The cheapest blocks that together hold every allowed pair once.

    Bottom-up, each subtree is either one masked block, or split: its segment against itself, its descendants against
    its segment, and its children's own plans. Small neighbouring children are put into one masked block.
    """
    blocks: list[Block] = []
    pending = _grouped(_segments(exit_T))
    while pending:
        node = pending.pop()
        if node.whole:
            blocks.append(Block(node.start, node.exit, node.start, node.exit, "masked"))
            continue
        if node.end > node.start:
            blocks.append(Block(node.start, node.end, node.start, node.end, "causal"))
            if node.exit > node.end:
                blocks.append(Block(node.end, node.exit, node.start, node.end, "full"))
        pending.extend(node.children)
    return sorted(blocks, key=lambda block: (block.q0, block.k0))


def _behind(past: Past, blocks: list[Block]) -> list[Block]:
    """A plan of a pack's own tokens, with those that are given in front of the keys.

    The blocks of given keys come last: each of their queries has a part of its softmax then, its own token's.
    """
    given = len(past)
    moved = [replace(block, k0=block.k0 + given, k1=block.k1 + given) for block in blocks]
    changes = (np.diff(past.begin_P) != 0) | (np.diff(past.exit_P) != 0)
    bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), given]
    for k0, k1 in itertools.pairwise(bounds):
        moved.append(Block(int(past.begin_P[k0]), int(past.exit_P[k0]), k0, k1, "full"))
    return moved


def _segments(exit_T: IntArray) -> list[_Node]:
    """The forest of segments, with costs. Segments are the runs of equal ``exit``."""
    n = len(exit_T)
    starts = np.flatnonzero(np.diff(exit_T, prepend=-1))
    roots: list[_Node] = []
    nodes: list[_Node] = []
    open_nodes: list[_Node] = []
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), n], strict=True):
        node = _Node(start, end, int(exit_T[start]))
        while open_nodes and open_nodes[-1].exit <= start:
            open_nodes.pop()
        (open_nodes[-1].children if open_nodes else roots).append(node)
        open_nodes.append(node)
        nodes.append(node)
    for node in reversed(nodes):  # children stand behind their parents
        node.children = _grouped(node.children)
        own, below = node.end - node.start, node.exit - node.end
        node.cost = _CALL + own * own / 2
        if below:
            node.cost += _CALL + below * (own + _MERGE_PER_QUERY) + sum(child.cost for child in node.children)
            masked = _masked_cost(own + below)
            if masked < node.cost:
                node.cost, node.whole = masked, True
    return roots


def _masked_cost(tokens: int) -> float:
    return _CALL + _MASKED_PAIR * tokens * tokens


def _grouped(siblings: list[_Node]) -> list[_Node]:
    """Put neighbours into one masked block where that costs less than their own plans."""
    groups: list[_Node] = []
    for node in siblings:
        if groups:
            last = groups[-1]
            cost = _masked_cost(node.exit - last.start)
            if cost < last.cost + node.cost:
                groups[-1] = _Node(last.start, last.start, node.exit, cost=cost, whole=True)
                continue
        groups.append(node)
    return groups


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree: Tree | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a pack; without ``tree``, plain causal attention, so that the model still runs as it was made.

    Args:
        query: ``(1, H, T, D)``.
        key, value: ``(1, H or fewer, T, D)``; query heads share them in equal groups.

    Returns:
        ``(1, T, H, D)``, and no weights.
    """
    if tree is None:
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output
    if tree.past is not None:
        key, value = tree.past.extend(cast(int, module.layer_idx), key, value)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if torch.is_autocast_enabled(query.device.type):
        # Rotated queries and keys come as float32, values do not. The CPU's kernel is as fast in float32 as in bfloat16
        # forwards, and 2.7 times as fast backwards; elsewhere it is as autocast does to torch's own attention.
        cpu = tree.method == "blocks"
        dtype = torch.float32 if cpu else torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if tree.method == "blocks":
        out_BHTD: torch.Tensor = _BlockAttention.apply(query, key, value, tree, scale)
    elif tree.method == "flex":
        out_BHTD = _flex(query, key, value, scale, tree)
    elif tree.method == "rows":
        out_BHTD = _rows(query, key, value, scale, tree)
    else:
        out_BHTD = _dense(query, key, value, scale, tree)
    return out_BHTD.transpose(1, 2).contiguous(), None


class _BlockAttention(torch.autograd.Function):
    """Blocks merged by log-sum-exp. The CPU kernel returns it and takes grouped key heads as they are.

    Backwards, each block is asked for its gradients with the merged output and log-sum-exp: a block's weights are then
    those of the whole softmax, so that the parts add up.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, tree: Tree, scale: float
    ) -> torch.Tensor:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        exact = torch.promote_types(query.dtype, torch.float32)
        out, lse_BHT = torch.empty_like(query, dtype=exact), query.new_empty(query.shape[:3], dtype=exact)
        seen = 0  # queries before this have a part of their softmax already, since blocks come in order of queries
        for block in tree.blocks:
            q, k = slice(block.q0, block.q1), slice(block.k0, block.k1)
            mask = _additive(tree, block, query.dtype)
            causal = block.kind == "causal"
            part, part_lse = kernel(
                query[:, :, q], key[:, :, k], value[:, :, k], 0.0, causal, attn_mask=mask, scale=scale
            )
            if block.q0 >= seen:
                out[:, :, q], lse_BHT[:, :, q] = part, part_lse
            else:
                _merge(out[:, :, q], lse_BHT[:, :, q], part, part_lse)
            seen = max(seen, block.q1)
        out = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, lse_BHT)
        ctx.tree, ctx.scale = tree, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        query, key, value, out, lse_BHT = ctx.saved_tensors
        exact = lse_BHT.dtype
        grads = [torch.zeros_like(tensor, dtype=exact) for tensor in (query, key, value)]
        for block in ctx.tree.blocks:
            q, k = slice(block.q0, block.q1), slice(block.k0, block.k1)
            parts = kernel(
                grad_out[:, :, q],
                query[:, :, q],
                key[:, :, k],
                value[:, :, k],
                out[:, :, q],
                lse_BHT[:, :, q],
                0.0,
                block.kind == "causal",
                attn_mask=_additive(ctx.tree, block, query.dtype),
                scale=ctx.scale,
            )
            for grad, part, at in zip(grads, parts, (q, k, k), strict=True):
                grad[:, :, at] += part
        return (*(grad.to(query.dtype) for grad in grads), None, None)


def _additive(tree: Tree, block: Block, dtype: torch.dtype) -> torch.Tensor | None:
    """A masked block's mask as the CPU kernel wants it: 0 where allowed, -inf elsewhere."""
    if block.kind != "masked":
        return None

    def make() -> torch.Tensor:
        allowed = tree.mask(block.q0, block.q1, block.k0, block.k1, torch.device("cpu"))
        return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, -torch.inf)[None, None]

    result: torch.Tensor = tree.once((block, dtype), make)
    return result


def _merge(out: torch.Tensor, lse: torch.Tensor, part: torch.Tensor, part_lse: torch.Tensor) -> None:
    """Add a part of a softmax to ``out`` and ``lse``, in place."""
    total = torch.logaddexp(lse, part_lse)
    out.mul_((lse - total).exp_().unsqueeze(-1))
    out.add_(part.to(out.dtype) * (part_lse - total).exp_().unsqueeze(-1))
    lse.copy_(total)


def _dense(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, tree: Tree) -> torch.Tensor:
    """A dense mask, a slice of queries at a time so that it stays small; differentiable."""
    length = query.shape[2]
    parts = []
    for q0 in range(0, length, _DENSE_ROWS):
        q1 = min(q0 + _DENSE_ROWS, length)
        k1 = tree.given + q1
        mask = tree.mask(q0, q1, 0, k1, query.device)
        parts.append(
            F.scaled_dot_product_attention(
                query[:, :, q0:q1], key[:, :, :k1], value[:, :, :k1], attn_mask=mask, scale=scale, enable_gqa=True
            )
        )
    return torch.cat(parts, dim=2)


def _rows(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, tree: Tree) -> torch.Tensor:
    """Queries at the scored tokens, ``(1, H, S, D)``, against all keys."""
    device, scored_S = query.device, tree.scored_S
    assert scored_S is not None
    mask_ST = tree.once(("rows", device), lambda: tree.allowed(scored_S, slice(None)).to(device))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask_ST, scale=scale, enable_gqa=True)


def _flex(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, tree: Tree) -> torch.Tensor:
    """Flex attention: the block mask skips what no query of a tile attends to. Compiled on CUDA, eager elsewhere."""
    device = query.device
    block_mask = tree.once(("flex", device), lambda: flex_block_mask(tree.exit_T, device))
    result: torch.Tensor = _flex_function(device)(
        query, key, value, block_mask=block_mask, scale=scale, enable_gqa=True
    )
    return result


def flex_block_mask(exit_T: torch.Tensor, device: torch.device) -> Any:
    """Flex attention's tiles, found from ``exit`` by tile: no mask of all pairs is ever made.

    A tile of keys matters to a later tile of queries when some key's subtree reaches its start, and needs no mask when
    every key's subtree reaches its end. A tile matters to itself, with a mask.
    """
    from torch.nn.attention.flex_attention import BlockMask

    length = len(exit_T)
    tiles = -(-length // _TILE)
    padded = torch.nn.functional.pad(exit_T, (0, tiles * _TILE - length)).view(tiles, _TILE)
    least, most = padded.amin(1), padded.amax(1)
    q, k = torch.arange(tiles)[:, None], torch.arange(tiles)[None, :]
    full_QK = (k < q) & (least >= (q + 1) * _TILE)
    some_QK = ((k < q) & (most > q * _TILE) & ~full_QK) | (k == q)
    on_device = exit_T.to(device)

    def allowed(_b: torch.Tensor, _h: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return (k <= q) & (q < on_device[k])

    return BlockMask.from_kv_blocks(
        *_tile_lists(some_QK, device),
        *_tile_lists(full_QK, device),
        BLOCK_SIZE=_TILE,
        mask_mod=allowed,
        seq_lengths=(length, length),
    )


def _tile_lists(tiles_QK: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For each tile of queries, how many tiles of keys are marked, and which, marked ones first; int32."""
    counts = tiles_QK.sum(1, dtype=torch.int32)
    indices = tiles_QK.to(torch.int8).argsort(dim=1, descending=True, stable=True).to(torch.int32)
    return counts[None, None].to(device), indices[None, None].contiguous().to(device)


_COMPILED: dict[str, Callable[..., Any]] = {}


def _flex_function(device: torch.device) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    if device.type != "cuda":
        return flex_attention
    if "cuda" not in _COMPILED:
        _COMPILED["cuda"] = torch.compile(flex_attention, dynamic=False)
    return _COMPILED["cuda"]


def packed_length(device: torch.device, length: int) -> int:
    """The length to pad a pack to: a bucket where kernels are compiled by length, else the length itself."""
    if choose_method(device, length) != "flex":
        return length
    return -(-length // FLEX_BUCKET) * FLEX_BUCKET


AttentionInterface.register(NAME, tree_attention)
