"""How much arithmetic each way of scoring a group takes, by formula.

A multiplication and its addition count as two. Counted are the matrix products and, in attention, the allowed pairs of
query and key only: what a mask forbids is work that a way of computing may waste, not work that has to be done. Norms,
activations and rotary positions are left out; they are under one percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .sizes import MERGE, PATCH, TEMPORAL, ModelSize


@dataclass(frozen=True, kw_only=True)
class GroupShape:
    """What a group of one prompt and N answers is to a model."""

    grids: tuple[tuple[int, int], ...]
    """Per picture of the prompt: rows and columns of patches."""
    prefix: int
    """Tokens before the answers part: visual tokens, prompt, and the template around them."""
    answers: tuple[int, ...]
    """Tokens of each answer, with the template behind it."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """FLOPs by part."""

    vision: float = 0.0
    text: float = 0.0
    lm_head: float = 0.0

    @property
    def total(self) -> float:
        """All parts."""
        return self.vision + self.text + self.lm_head

    def shares(self) -> dict[str, float]:
        """Each part as a fraction of the total."""
        return {part: getattr(self, part) / self.total for part in ("vision", "text", "lm_head")}


def vision_flops(size: ModelSize, rows: int, columns: int) -> float:
    """One picture of ``rows`` × ``columns`` patches through the tower and the merger."""
    width, patches = size.vision_hidden, rows * columns
    per_block = 4 * width * width + 3 * width * size.vision_intermediate
    embedding = 3 * TEMPORAL * PATCH * PATCH * width
    products = patches * (size.vision_depth * per_block + embedding)
    full = len(size.vision_full_blocks)
    window = size.vision_window // PATCH
    pairs = full * patches**2 + (size.vision_depth - full) * _window_pairs(rows, columns, window)
    return 2.0 * (products + 2 * width * pairs) + merger_flops(size, rows, columns)


def merger_flops(size: ModelSize, rows: int, columns: int) -> float:
    """The part of `vision_flops` that makes visual tokens of the tower's output: the projector, which is trained."""
    merged = MERGE * MERGE * size.vision_hidden
    return 2.0 * (rows * columns // (MERGE * MERGE)) * (merged * merged + merged * size.hidden)


def _window_pairs(rows: int, columns: int, window: int) -> int:
    """Pairs of patches that share a window: the sum of the squared window areas."""

    def sides(length: int) -> list[int]:
        return [min(window, length - start) for start in range(0, length, window)]

    return sum((high * wide) ** 2 for high in sides(rows) for wide in sides(columns))


def layer_products(size: ModelSize) -> int:
    """Weights of one text layer, each multiplied once per token."""
    queries = 2 * size.hidden * size.hidden
    return queries + keys_and_values(size) + 3 * size.hidden * size.intermediate


def keys_and_values(size: ModelSize) -> int:
    """The part of `layer_products` that makes keys and values."""
    return 2 * size.hidden * size.kv_heads * size.head_dim


def text_flops(size: ModelSize, tokens: int, pairs: float) -> float:
    """``tokens`` through every text layer, with ``pairs`` allowed pairs of query and key in each."""
    return 2.0 * size.layers * (tokens * layer_products(size) + 2 * size.hidden * pairs)


def causal_pairs(tokens: int) -> int:
    """Allowed pairs of one conversation of ``tokens``."""
    return tokens * (tokens + 1) // 2


def lm_head_flops(size: ModelSize, tokens: int) -> float:
    """``tokens`` through the LM head."""
    return 2.0 * tokens * size.hidden * size.lm_head_rows


def padded_work(size: ModelSize, group: GroupShape, *, lm_head: bool) -> Work:
    """Every answer behind its own copy of the prompt, padded to the longest: the published procedure, and plain."""
    conversations = [group.prefix + answer for answer in group.answers]
    tokens = len(conversations) * max(conversations)
    pairs = sum(causal_pairs(length) for length in conversations)
    return Work(
        vision=len(conversations) * sum(vision_flops(size, *grid) for grid in group.grids),
        text=text_flops(size, tokens, pairs),
        lm_head=lm_head_flops(size, tokens) if lm_head else 0.0,
    )


def packed_work(size: ModelSize, group: GroupShape) -> Work:
    """The prompt and its pictures once, then each answer: the trie pack."""
    tokens = group.prefix + sum(group.answers)
    pairs = causal_pairs(group.prefix) + sum(answer * group.prefix + causal_pairs(answer) for answer in group.answers)
    return Work(
        vision=sum(vision_flops(size, *grid) for grid in group.grids),
        text=text_flops(size, tokens, pairs),
    )


def last_layer_saving(size: ModelSize, group: GroupShape) -> float:
    """What the trie pack saves when the last layer is computed at the scored positions only.

    Keys and values are still needed everywhere; queries, attention and the MLP at one token per answer. A model of few
    layers gains more from this than a deep one, so it is reported apart.
    """
    tokens, scored = group.prefix + sum(group.answers), len(group.answers)
    whole = packed_work(size, group).text / size.layers
    at_scored = scored * (layer_products(size) - keys_and_values(size))
    pairs = sum(group.prefix + answer for answer in group.answers)
    return whole - 2.0 * (tokens * keys_and_values(size) + at_scored + 2 * size.hidden * pairs)


def trained_work(size: ModelSize, group: GroupShape, forward: Work, *, cached: bool = False) -> Work:
    """A training step with the vision tower frozen, from the ``forward`` work of `padded_work` or `packed_work`.

    What is trained takes twice its forward work again, for the gradients of its inputs and of its weights; a frozen
    tower takes none, and with ``cached`` features not even the forward work. The LM head that some compute in training
    has no part in the loss, and so no gradients. The optimizer is left out: it is as much for everybody.
    """
    seen = sum(vision_flops(size, *grid) for grid in group.grids)
    merger = sum(merger_flops(size, *grid) for grid in group.grids)
    copies = forward.vision / seen if seen else 0.0
    tower = 0.0 if cached else seen - merger
    return Work(vision=copies * (tower + 3 * merger), text=3 * forward.text, lm_head=forward.lm_head)


def preference_work(
    size: ModelSize, group: GroupShape, forward: Work, *, head_tokens: int, passes: int, sights: int
) -> Work:
    """Preference training with the vision tower frozen, from the ``forward`` work of `padded_work` or `packed_work`.

    Args:
        size: the model.
        group: a pair.
        forward: its forward work; what that says of an LM head is not used.
        head_tokens: how many tokens of the pair go through the LM head, which is trained too.
        passes: how much what is trained takes, in forward passes: three for a training step (`trained_work`), one more
            for the reference where that is counted.
        sights: how often the frozen tower sees each copy of a picture: for the reference and for the step, only once
            where its output is kept, or not at all where it was kept before.
    """
    seen = sum(vision_flops(size, *grid) for grid in group.grids)
    merger = sum(merger_flops(size, *grid) for grid in group.grids)
    copies = forward.vision / seen if seen else 0.0
    return Work(
        vision=copies * (sights * (seen - merger) + passes * merger),
        text=passes * forward.text,
        lm_head=passes * lm_head_flops(size, head_tokens),
    )


def ideal_ratio(size: ModelSize, groups: Sequence[GroupShape], *, lm_head: bool = True) -> float:
    """How many times less work the trie pack is than the padded batch over all ``groups``."""
    padded = sum(padded_work(size, group, lm_head=lm_head).total for group in groups)
    return padded / sum(packed_work(size, group).total for group in groups)
