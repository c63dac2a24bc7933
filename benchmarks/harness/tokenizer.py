"""A tokenizer of few merges whose special tokens have the ids of the released models.

Nothing is downloaded, and a peer that hard-codes those ids still works: the ids between the real entries and the
special tokens are taken by names that no text produces.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

from vlreward.tiny.tokenizer import CHAT_TEMPLATES

from .sizes import FIRST_SPECIAL_ID, SPECIAL_TOKENS

_SPACE = "Ġ"
_COMMON = (
    "the of and to in is that it for on with as was at by an be this from or which but not are his they have had one "
    "all were we her their more when there been who will no if out so said what up its about into than them can only "
    "other new some could time these two may then do first any my now such like our over man me even most made after "
    "also did many before must through back years where much your way well down should because each just those people "
    "how too little state good very make world still own see men work long get here between both life being under "
    "never day same another know while last might us great old year off come since against go came right used take "
    "three"
)
WORDS = tuple(_COMMON.split())
"""Each of them, with a space before it, is one token, here as in Qwen2.5's own vocabulary."""


def write_tokenizer(folder: Path, first_special_id: int = FIRST_SPECIAL_ID) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and the chat template into ``folder``."""
    from transformers import AddedToken, Qwen2Tokenizer

    # Every word is joined from the left, one letter after the other.
    spelled = [_SPACE + word for word in WORDS]
    merges = list(dict.fromkeys((word[:end], word[end]) for word in spelled for end in range(1, len(word))))
    names = [*_byte_names(), *(left + right for left, right in merges)]
    names += [f"<unused{i}>" for i in range(len(names), first_special_id)]
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
    assert found == list(range(first_special_id, first_special_id + len(SPECIAL_TOKENS))), found
    tokenizer.chat_template = CHAT_TEMPLATES["qwen2_5_vl"]
    tokenizer.save_pretrained(str(folder))


def borrow_tokenizer(source: Path, folder: Path) -> None:
    """Copy another checkpoint's tokenizer, which must have the same special ids, with our template."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / name)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATES["qwen2_5_vl"])


def words(count: int, seed: int) -> str:
    """Text of exactly ``count`` tokens, drawn from `WORDS`."""
    draw = random.Random(seed)
    return "".join(f" {draw.choice(WORDS)}" for _ in range(count))


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
