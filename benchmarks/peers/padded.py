"""What the two transformers contestants share: a group as a right-padded batch, one row per answer."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoProcessor

VERSIONS = {name: importlib.metadata.version(name) for name in ("transformers", "torch")}


def processor_of(folder: str) -> Any:
    """The checkpoint's processor, resizing with PIL as the published procedure does."""
    return AutoProcessor.from_pretrained(folder, use_fast=False)


def head_of(folder: str, dtype: torch.dtype) -> torch.nn.Linear:
    """The reward head of a checkpoint in the sequence-classification form: (1, hidden), no bias."""
    for path in sorted(Path(folder).glob("model*.safetensors")):
        tensors = load_file(path)
        if "score.weight" in tensors:
            weight = tensors["score.weight"]
            head = torch.nn.Linear(weight.shape[1], 1, bias=False, dtype=dtype)
            head.weight.data.copy_(weight)
            return head
    raise FileNotFoundError(f"{folder}: no score.weight")


def inputs_of(processor: Any, group: dict[str, Any]) -> Any:
    """The processor's right-padded batch of the group's conversations, each with its own copy of the pictures."""
    texts, images = [], []
    for response in group["responses"]:
        messages = [*group["messages"], {"role": "assistant", "content": response}]
        texts.append(processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=False))
        for message in messages:
            parts = message["content"] if isinstance(message["content"], list) else []
            images += [Image.open(part["image"]).convert("RGB") for part in parts if part["type"] == "image"]
    return processor(text=texts, images=images or None, padding=True, padding_side="right", return_tensors="pt")


def last_tokens(values: torch.Tensor, attention_mask: torch.Tensor) -> list[float]:
    """``values`` (B, T) at each row's last token that is not padding."""
    index = attention_mask.sum(dim=-1, keepdim=True) - 1
    return [float(value) for value in values.gather(dim=-1, index=index).squeeze(1)]
