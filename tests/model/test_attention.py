"""Every way of computing tree attention against a dense softmax in float64."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from vlreward.model import attention
from vlreward.model.attention import Method, Tree, choose_method, plan_blocks, tree_attention
from vlreward.model.packing import IntArray, build_trie, lexicographic_order

from .test_packing import conversations, rows_of

HEADS, KEY_HEADS, SIZE = 4, 2, 8

# On the CPU flex attention runs unfused, which it says; on CUDA it is compiled.
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def exits(tokens: list[list[int]]) -> IntArray:
    tables = [rows_of(sequence) for sequence in tokens]
    return build_trie([tables[i] for i in lexicographic_order(tables)]).exit_T


def allowed(exit_T: IntArray) -> np.ndarray:
    k = np.arange(len(exit_T))
    return (k[None] <= k[:, None]) & (k[:, None] < exit_T[None])


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, exit_T: IntArray) -> torch.Tensor:
    q, k, v = q.double(), k.double(), v.double()
    k, v = k.repeat_interleave(HEADS // KEY_HEADS, 1), v.repeat_interleave(HEADS // KEY_HEADS, 1)
    scores = (q @ k.transpose(-1, -2)) * SIZE**-0.5
    weights = scores.masked_fill(~torch.from_numpy(allowed(exit_T)), -torch.inf).softmax(-1)
    return (weights @ v).transpose(1, 2)


def tensors(length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(  # type: ignore[return-value]
        torch.randn(1, heads, length, SIZE, generator=generator) for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    )


def split_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make masked blocks dear, so that every branch becomes a full block and a merge."""
    monkeypatch.setattr(attention, "_MASKED_PAIR", 1e9)


@given(tokens=conversations)
@pytest.mark.parametrize("dear", [False, True])
def test_blocks_hold_every_allowed_pair_once(tokens: list[list[int]], dear: bool) -> None:
    exit_T = exits(tokens)
    mask = allowed(exit_T)
    count = np.zeros_like(mask, dtype=int)
    with pytest.MonkeyPatch.context() as monkeypatch:
        if dear:
            split_always(monkeypatch)
        blocks = plan_blocks(exit_T)
    for block in blocks:
        pairs = np.zeros_like(mask)
        pairs[block.q0 : block.q1, block.k0 : block.k1] = True
        if block.kind == "causal":
            pairs &= np.tri(len(mask), dtype=bool)
        elif block.kind == "masked":
            pairs &= mask
        count += pairs
    np.testing.assert_array_equal(count, mask.astype(int))


@pytest.mark.parametrize("method", ["blocks", "dense", "flex"])
@pytest.mark.parametrize("dear", [False, True])
@settings(max_examples=25, deadline=None)
@given(tokens=conversations)
def test_attention_equals_a_dense_softmax(tokens: list[list[int]], method: Method, dear: bool) -> None:
    exit_T = exits(tokens)
    q, k, v = tensors(len(exit_T))
    with pytest.MonkeyPatch.context() as monkeypatch, torch.inference_mode():
        if dear:
            split_always(monkeypatch)
        tree = Tree.build(exit_T, q.device, method)
        out, weights = tree_attention(torch.nn.Module(), q, k, v, None, tree=tree)
    assert weights is None
    # Measured 6e-7 over 500 examples.
    torch.testing.assert_close(out.double(), reference(q, k, v, exit_T), atol=5e-6, rtol=0)


def long_exits() -> IntArray:
    """Two prompts of 700 and 300 tokens; 6 answers of 150 to the first, two of which share 60, and 40 short ones."""
    first = [[*range(700), 1000 + i, *range(149)] for i in range(4)]
    first += [[*range(700), *range(2000, 2060), 3000 + i, *range(89)] for i in range(2)]
    second = [[5, *range(299), 4000 + i, 1] for i in range(40)]
    return exits([*first, *second])


@pytest.mark.parametrize("method", ["blocks", "dense", "flex"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-6), (torch.bfloat16, 2e-2)])
def test_long_packs(method: Method, dtype: torch.dtype, tolerance: float) -> None:
    exit_T = long_exits()
    q, k, v = (tensor.to(dtype) for tensor in tensors(len(exit_T)))
    with torch.inference_mode():
        out, _ = tree_attention(torch.nn.Module(), q, k, v, None, tree=Tree.build(exit_T, q.device, method))
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), reference(q, k, v, exit_T), atol=tolerance, rtol=0)


def test_long_packs_are_cut_into_blocks_without_masks_over_the_prompt() -> None:
    blocks = plan_blocks(long_exits())
    kinds = {block.kind for block in blocks}
    assert kinds == {"full", "causal", "masked"}
    masked = max(block.q1 - block.q0 for block in blocks if block.kind == "masked")
    assert masked < 400, "a prompt was put under a mask"
    assert len(blocks) < 30, "short answers were not put together"


def test_flex_tiles_skip_what_nobody_attends_to() -> None:
    exit_T = long_exits()
    mask = attention.flex_block_mask(torch.from_numpy(exit_T), torch.device("cpu"))
    tile, length = attention._TILE, len(exit_T)
    tiles = -(-length // tile)
    pairs = np.zeros((tiles * tile, tiles * tile), dtype=bool)
    pairs[:length, :length] = allowed(exit_T)
    by_tile = pairs.reshape(tiles, tile, tiles, tile).transpose(0, 2, 1, 3)
    marked = set()
    for counts, indices, full in (
        (mask.kv_num_blocks, mask.kv_indices, False),
        (mask.full_kv_num_blocks, mask.full_kv_indices, True),
    ):
        for q in range(tiles):
            for k in indices[0, 0, q, : counts[0, 0, q]].tolist():
                marked.add((q, k))
                assert not full or by_tile[q, k].all()
    needed = {(q, k) for q in range(tiles) for k in range(tiles) if by_tile[q, k].any()}
    assert needed <= marked
    assert len(marked - needed) < 0.1 * tiles**2


@pytest.mark.parametrize("method", ["blocks", "dense"])
@pytest.mark.parametrize("dear", [False, True])
@settings(max_examples=25)
@given(tokens=conversations)
def test_gradients_equal_those_of_a_dense_softmax(tokens: list[list[int]], method: Method, dear: bool) -> None:
    exit_T = exits(tokens)
    q, k, v = (tensor.double().requires_grad_() for tensor in tensors(len(exit_T)))
    weights = torch.randn(1, len(exit_T), HEADS, SIZE, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as monkeypatch:
        if dear:
            split_always(monkeypatch)
        tree = Tree.build(exit_T, q.device, method)
    out, _ = tree_attention(torch.nn.Module(), q, k, v, None, tree=tree)
    found = torch.autograd.grad((out * weights).sum(), (q, k, v))
    expected = torch.autograd.grad((reference(q, k, v, exit_T) * weights).sum(), (q, k, v))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)  # measured 4e-15


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 6e-2)])
def test_gradients_of_a_long_pack(dtype: torch.dtype, tolerance: float) -> None:
    exit_T = long_exits()
    q, k, v = (tensor.to(dtype).requires_grad_() for tensor in tensors(len(exit_T)))
    out, _ = tree_attention(torch.nn.Module(), q, k, v, None, tree=Tree.build(exit_T, q.device, "blocks"))
    found = torch.autograd.grad(out.double().square().sum(), (q, k, v))
    expected = torch.autograd.grad(reference(q, k, v, exit_T).square().sum(), (q, k, v))
    for one, other in zip(found, expected, strict=True):
        scale = other.abs().max().double()
        torch.testing.assert_close(one.double() / scale, other.double() / scale, atol=tolerance, rtol=0)


def test_without_a_tree_attention_is_plain_causal() -> None:
    q, k, v = tensors(7)
    module = SimpleNamespace(is_causal=True, num_key_value_groups=HEADS // KEY_HEADS)
    out, _ = tree_attention(module, q, k, v, None, scaling=SIZE**-0.5)  # type: ignore[arg-type]
    torch.testing.assert_close(out.double(), reference(q, k, v, np.full(7, 7)), atol=5e-6, rtol=0)


def test_the_method_follows_device_and_length() -> None:
    assert choose_method(torch.device("cpu"), 100_000) == "blocks"
    assert choose_method(torch.device("cuda"), 100) == "dense"
    assert choose_method(torch.device("cuda"), 10_000) == "flex"
    assert choose_method(torch.device("mps"), 10_000) == "dense"
    assert attention.packed_length(torch.device("cuda"), 2100) == 2560
    assert attention.packed_length(torch.device("cpu"), 2100) == 2100
