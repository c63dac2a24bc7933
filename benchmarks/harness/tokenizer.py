"""A tokenizer of few merges whose special tokens have the ids of the released models.

Nothing is downloaded, and a peer that hard-codes those ids still works: the ids between the real entries and the
special tokens are taken by names that no text produces.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from vlreward.tiny.tokenizer import CHAT_TEMPLATES

from .sizes import FIRST_SPECIAL_ID, SPECIAL_TOKENS

_SPACE = "Ġ"
SYLLABLES = tuple(consonant + vowel for consonant in "bcdfghjklmnpqrstvwxyz" for vowel in "aeiou")
"""Each of them, with a space before it, is one token."""


def write_tokenizer(folder: Path) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and the chat template into ``folder``."""
    from transformers import AddedToken, Qwen2Tokenizer

    merges = [(left, right) for left, right in SYLLABLES] + [(_SPACE, syllable) for syllable in SYLLABLES]
    names = [*_byte_names(), *(left + right for left, right in merges)]
    names += [f"<unused{i}>" for i in range(len(names), FIRST_SPECIAL_ID)]
    names += SPECIAL_TOKENS
    tokenizer = Qwen2Tokenizer(
        vocab={name: i for i, name in enumerate(names)},
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        extra_special_tokens=[AddedToken(token, special=True) for token in SPECIAL_TOKENS[1:]],
        model_max_length=131072,
    )
    found = tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS))
    assert found == list(range(FIRST_SPECIAL_ID, FIRST_SPECIAL_ID + len(SPECIAL_TOKENS))), found
    tokenizer.chat_template = CHAT_TEMPLATES["qwen2_5_vl"]
    tokenizer.save_pretrained(str(folder))


def words(count: int, seed: int) -> str:
    """Text of exactly ``count`` tokens behind a newline or at the start, drawn from the syllables."""
    draw = random.Random(seed)
    return "".join(f" {draw.choice(SYLLABLES)}" for _ in range(count))


def _byte_names() -> list[str]:
    """The 256 bytes as byte-level vocabularies spell them: printable ones as they are, the others from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(0x100 + i) for i in range(len(hidden))]


def write_preprocessor(folder: Path, *, min_pixels: int = 3136, max_pixels: int = 12845056) -> None:
    """Write ``preprocessor_config.json`` as the released models have it, with these pixel limits."""
    settings: dict[str, Any] = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "min_pixels": min_pixels,
        "max_pixels": max_pixels,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=1) + "\n")
