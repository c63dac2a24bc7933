"""The sizes of the models that the benchmarks make: the released 7B, and small ones whose parts weigh the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

# Where Qwen2.5's vocabulary ends and its special tokens begin; peers hard-code the ids of the latter.
FIRST_SPECIAL_ID = 151643
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PATCH = 14
MERGE = 2
TEMPORAL = 2
CELL = PATCH * MERGE
"""Side of the square of pixels that becomes one visual token."""


def special_id(token: str, first: int = FIRST_SPECIAL_ID) -> int:
    """The id that Qwen2.5 gives a special token; or a vocabulary whose special tokens begin elsewhere."""
    return first + SPECIAL_TOKENS.index(token)


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """What decides the work of a Qwen2.5-VL."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    lm_head_rows: int
    """Rows of the LM head that the published procedure computes. The released model has one per token; a small trunk
    needs fewer for the head to have the share of the work that it has there."""
    vision_hidden: int
    vision_depth: int
    vision_heads: int
    vision_intermediate: int
    vision_full_blocks: tuple[int, ...]
    """The blocks of the vision tower that attend over the whole picture; the others attend within a window."""
    vision_window: int = 112
    """Side of a window, pixels."""
    first_special_id: int = FIRST_SPECIAL_ID
    """Where the special tokens begin."""

    @property
    def head_dim(self) -> int:
        """Width of one attention head of the text model."""
        return self.hidden // self.heads

    def config(self) -> dict[str, Any]:
        """``config.json`` in the flat layout in which the released models are published, without architectures."""
        third = self.head_dim // 2 // 8
        ids = {token: special_id(token, self.first_special_id) for token in SPECIAL_TOKENS}
        return {
            "model_type": "qwen2_5_vl",
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.intermediate,
            "vocab_size": self.vocabulary,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            # [16, 24, 24] at the released head dimension of 128.
            "rope_scaling": {"type": "mrope", "mrope_section": [2 * third, 3 * third, 3 * third]},
            "max_position_embeddings": 128000,
            "tie_word_embeddings": False,
            "use_sliding_window": False,
            "sliding_window": 32768,
            "max_window_layers": self.layers,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "vision_start_token_id": ids["<|vision_start|>"],
            "vision_end_token_id": ids["<|vision_end|>"],
            "vision_token_id": ids["<|vision_pad|>"],
            "image_token_id": ids["<|image_pad|>"],
            "video_token_id": ids["<|video_pad|>"],
            "vision_config": self._vision_config(),
        }

    def _vision_config(self) -> dict[str, Any]:
        return {
            "model_type": "qwen2_5_vl",
            "depth": self.vision_depth,
            "hidden_act": "silu",
            "hidden_size": self.vision_hidden,
            "num_heads": self.vision_heads,
            "intermediate_size": self.vision_intermediate,
            "out_hidden_size": self.hidden,
            "in_channels": 3,
            "in_chans": 3,
            "patch_size": PATCH,
            "spatial_patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL,
            "tokens_per_second": 2,
            "window_size": self.vision_window,
            "fullatt_block_indexes": list(self.vision_full_blocks),
        }


RELEASED_7B = ModelSize(
    hidden=3584,
    layers=28,
    heads=28,
    kv_heads=4,
    intermediate=18944,
    vocabulary=152064,
    lm_head_rows=152064,
    vision_hidden=1280,
    vision_depth=32,
    vision_heads=16,
    vision_intermediate=3420,
    vision_full_blocks=(7, 15, 23, 31),
)
RELEASED_3B = ModelSize(
    hidden=2048,
    layers=36,
    heads=16,
    kv_heads=2,
    intermediate=11008,
    vocabulary=151936,
    lm_head_rows=151936,
    vision_hidden=1280,
    vision_depth=32,
    vision_heads=16,
    vision_intermediate=3420,
    vision_full_blocks=(7, 15, 23, 31),
)
# A fifth of the depth and under a third of the width: the largest that a machine of two cores times in an hour. The
# vocabulary has the released ids, since a peer hard-codes them; the tower and the LM head's rows are chosen so that
# they have the same shares of one conversation's work as in the 7B (harness/flops.py prints both).
BENCH = ModelSize(
    hidden=1024,
    layers=6,
    heads=8,
    kv_heads=2,
    intermediate=5376,
    vocabulary=151936,
    lm_head_rows=9984,
    vision_hidden=320,
    vision_depth=8,
    vision_heads=4,
    vision_intermediate=856,
    vision_full_blocks=(7,),
)
QUICK = ModelSize(
    hidden=64,
    layers=2,
    heads=2,
    kv_heads=1,
    intermediate=320,
    vocabulary=151936,
    lm_head_rows=640,
    vision_hidden=32,
    vision_depth=2,
    vision_heads=2,
    vision_intermediate=88,
    vision_full_blocks=(1,),
)


def with_vocabulary(size: ModelSize, tokens: int) -> ModelSize:
    """The same with a vocabulary of so many tokens, special ones last, and an LM head of as many rows: where the head
    is trained, each token needs its row, and a small trunk's share of the work stays what it is in the 7B."""
    return replace(size, vocabulary=tokens, lm_head_rows=tokens, first_special_id=tokens - len(SPECIAL_TOKENS))


BENCH_POLICY = with_vocabulary(BENCH, BENCH.lm_head_rows)
QUICK_POLICY = with_vocabulary(QUICK, 1024)
