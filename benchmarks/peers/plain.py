"""Contestant: plain transformers without an LM head, a right-padded batch per group."""

from __future__ import annotations

from typing import Any

import torch
from padded import VERSIONS, head_of, inputs_of, last_tokens, processor_of
from protocol import Groups, Score, serve
from transformers import Qwen2_5_VLModel


def load(request: dict[str, Any]) -> tuple[Score, dict[str, str]]:
    """The model, loaded, and how it scores."""
    torch.set_num_threads(request["threads"])
    dtype = getattr(torch, request["dtype"])
    processor = processor_of(request["model"])
    device = request["options"].get("device", "cpu")
    model = Qwen2_5_VLModel.from_pretrained(request["model"], dtype=dtype, attn_implementation="sdpa").eval().to(device)
    head = head_of(request["model"], dtype).to(device)

    @torch.no_grad()
    def score_one(group: dict[str, Any]) -> list[float]:
        inputs = inputs_of(processor, group).to(device)
        states = model(**inputs, use_cache=False).last_hidden_state
        return last_tokens(head(states).squeeze(-1).float(), inputs["attention_mask"])

    def score(groups: Groups) -> list[list[float]]:
        return [score_one(group) for group in groups]

    return score, VERSIONS


if __name__ == "__main__":
    serve(load)
