"""Contestant: the published scoring procedure, written out.

The class that it used is gone from trl, so its forward pass is spelled here: the whole model with its LM head over all
positions, the states of every layer kept, logits raised to float32, and the reward head over all positions, of which
one is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from padded import VERSIONS, head_of, inputs_of, last_tokens, processor_of
from protocol import Groups, Score, serve
from safetensors.torch import load_file
from transformers import Qwen2_5_VLForConditionalGeneration


def load_model(folder: str, dtype: torch.dtype) -> Any:
    """The model with the LM head that stands beside the checkpoint."""
    rows = load_file(Path(folder) / "published" / "lm_head.safetensors")["lm_head.weight"]
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    model.lm_head = torch.nn.Linear(rows.shape[1], rows.shape[0], bias=False, dtype=dtype)
    model.lm_head.weight.data.copy_(rows)
    return model.eval()


def load(request: dict[str, Any]) -> tuple[Score, dict[str, str]]:
    """The model, loaded, and how it scores."""
    torch.set_num_threads(request["threads"])
    dtype = getattr(torch, request["dtype"])
    processor = processor_of(request["model"])
    device = request["options"].get("device", "cpu")
    model = load_model(request["model"], dtype).to(device)
    head = head_of(request["model"], dtype).to(device)

    @torch.no_grad()
    def score_one(group: dict[str, Any]) -> list[float]:
        inputs = inputs_of(processor, group).to(device)
        output = model(**inputs, output_hidden_states=True, return_dict=True, use_cache=False)
        logits = output.logits
        if logits.dtype != torch.float32:
            logits = logits.float()
        values = head(output.hidden_states[-1]).squeeze(-1).float()
        return last_tokens(values, inputs["attention_mask"])

    def score(groups: Groups) -> list[list[float]]:
        return [score_one(group) for group in groups]

    return score, VERSIONS


if __name__ == "__main__":
    serve(load)
