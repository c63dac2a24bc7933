"""A small random checkpoint in the published layout, and its scores by the published procedure.

Runs in the published environment (transformers 4.51.3, trl 0.16.1) and knows nothing of vlreward: see
``benchmarks/parity.py``, which starts it. The procedure: the processor over the chat template's text without a
generation prompt, right padding, trl's value-head wrapper around the whole model with its LM head, and the value at the
last token that is not padding, which is the newline behind the last ``<|im_end|>``.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from cases import conversations, draw_all, to_rgb
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2TokenizerFast,
    Qwen2VLImageProcessor,
)
from trl import AutoModelForCausalLMWithValueHead

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# The rules of Qwen2.5-VL's template: a default system prompt, one pad token per picture or video between its two
# vision marks, every message closed by <|im_end|> and a newline.
CHAT_TEMPLATE = (
    "{%- if messages[0].role != 'system' -%}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string -%}{{ message.content }}"
    "{%- else -%}"
    "{%- for part in message.content -%}"
    "{%- if part.type == 'text' -%}{{ part.text }}"
    "{%- else -%}{{ '<|vision_start|><|' + part.type + '_pad|><|vision_end|>' }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{ '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
MIN_PIXELS, MAX_PIXELS = 4 * 28 * 28, 64 * 28 * 28


def make_tokenizer(folder: Path) -> Qwen2TokenizerFast:
    """A byte-level tokenizer with a few merges and Qwen's special tokens behind them."""
    # GPT-2's printable stand-ins for the 256 bytes, which every byte-level vocabulary is written in.
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    vocabulary = list(bytes_to_unicode().values())
    merges = []
    for left in "aeiou":
        for right in "nrst":
            merges.append((left, right))
            vocabulary.append(left + right)
    for left, right in (("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "n"), ("in", "g"), ("Ġ", "i"), ("Ġi", "s")):
        if (left, right) not in merges:
            merges.append((left, right))
            vocabulary.append(left + right)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}, ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Qwen2TokenizerFast(
        vocab_file=str(folder / "vocab.json"),
        merges_file=str(folder / "merges.txt"),
        unk_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
    )


def make_processor(folder: Path) -> Qwen2_5_VLProcessor:
    """The processor: pictures resized with PIL between the pixel limits, our tokenizer, our template."""
    tokenizer = make_tokenizer(folder)
    images = Qwen2VLImageProcessor(min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)
    return Qwen2_5_VLProcessor(image_processor=images, tokenizer=tokenizer, chat_template=CHAT_TEMPLATE)


def make_model(tokenizer: Qwen2TokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    """A small Qwen2.5-VL whose every tensor, biases and norms included, is random and matters to the score."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = Qwen2_5_VLConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        rope_theta=1000000.0,
        rope_scaling={"type": "mrope", "mrope_section": [1, 1, 2]},
        tie_word_embeddings=False,
        use_sliding_window=False,
        sliding_window=4096,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|im_end|>"],
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 56,
            "num_heads": 2,
            "out_hidden_size": 32,
            "window_size": 56,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
        },
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config).to(torch.float32).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            around = 1.0 if "norm" in name or "ln_q" in name else 0.0
            tensor.normal_(around, 0.2)
    return model


def make_checkpoint(folder: Path) -> None:
    """Write the checkpoint in the published layout: the whole model, and the head in a file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    processor = make_processor(folder)
    model = make_model(processor.tokenizer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    weight = torch.randn(1, 32)
    bias = torch.randn(1)
    head = {"v_head.summary.weight": weight, "v_head.summary.bias": bias}
    save_file(head, folder / "value_head.safetensors", metadata={"format": "pt"})


def load(folder: Path) -> tuple[Any, Any]:
    """The processor and the wrapped model, as the published snippet loads them."""
    processor = Qwen2_5_VLProcessor.from_pretrained(folder)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, torch_dtype=torch.float32)
    wrapped = AutoModelForCausalLMWithValueHead.from_pretrained(model)
    outcome = wrapped.load_state_dict(load_file(folder / "value_head.safetensors"), strict=False)
    assert not outcome.unexpected_keys, outcome.unexpected_keys
    return processor, wrapped.eval()


def media(messages: list[dict[str, Any]], kind: str, images: Path) -> list[Any] | None:
    """The pictures, or the frame lists, of the conversations in their order; ``None`` where there are none."""
    found: list[Any] = []
    for message in messages:
        parts = message["content"] if isinstance(message["content"], list) else []
        for part in parts:
            if part["type"] == kind == "image":
                found.append(to_rgb(Image.open(images / part["image"])))
            elif part["type"] == kind == "video":
                found.append([to_rgb(Image.open(images / frame)) for frame in part["video"]])
    return found or None


def frame_rates(messages: list[dict[str, Any]]) -> list[float]:
    """The rate at which each video's frames were sampled; two per second is the processor's own default."""
    contents = [message["content"] for message in messages if isinstance(message["content"], list)]
    return [part.get("fps", 2.0) for parts in contents for part in parts if part["type"] == "video"]


def score(processor: Any, model: Any, batch: list[list[dict[str, Any]]], images: Path) -> tuple[list[float], list[int]]:
    """The scores of a right-padded batch, and the number of tokens of each conversation."""
    texts = [
        processor.apply_chat_template(copy.deepcopy(messages), tokenize=False, add_generation_prompt=False)
        for messages in batch
    ]
    flat = [message for messages in batch for message in messages]
    videos = media(flat, "video", images)
    inputs = processor(
        text=texts,
        images=media(flat, "image", images),
        videos=videos,
        fps=frame_rates(flat) if videos else 2.0,
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    # The processor hands these out as a list or as numbers, the model wants a tensor.
    if "second_per_grid_ts" in inputs:
        inputs["second_per_grid_ts"] = torch.as_tensor(inputs["second_per_grid_ts"], dtype=torch.float32)
    with torch.no_grad():
        values = model(**inputs, return_dict=True, use_cache=False)[-1]
    lengths = inputs["attention_mask"].sum(dim=-1, keepdim=True)
    return values.gather(dim=-1, index=lengths - 1).squeeze(1).tolist(), lengths.squeeze(1).tolist()


def main() -> None:
    """Write checkpoint, pictures and scores into ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    make_checkpoint(out / "checkpoint")
    draw_all(out / "images")
    processor, model = load(out / "checkpoint")
    cases = conversations()
    padded, _ = score(processor, model, [messages for _, messages in cases], out / "images")
    rows = []
    for (name, messages), in_batch in zip(cases, padded, strict=True):
        (alone,), (tokens,) = score(processor, model, [messages], out / "images")
        row = {"name": name, "messages": messages, "score": alone, "score_in_padded_batch": in_batch}
        rows.append(row | {"n_tokens": tokens})
    made_with = {"transformers": transformers.__version__, "trl": trl.__version__, "torch": torch.__version__}
    document = {"made_with": made_with | {"dtype": "float32", "device": "cpu"}, "cases": rows}
    (out / "scores.json").write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    drift = max(abs(row["score"] - row["score_in_padded_batch"]) for row in rows)
    print(f"{len(rows)} cases; alone against padded batch: at most {drift:.1e} apart")


if __name__ == "__main__":
    main()
