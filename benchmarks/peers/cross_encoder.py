"""Contestant: sentence-transformers' CrossEncoder with a last-token head, in its own environment."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import torch
from padded import head_of
from protocol import Groups, Score, serve


def load(request: dict[str, Any]) -> tuple[Score, dict[str, str]]:
    """The cross-encoder, loaded, and how it scores."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.set_num_threads(request["threads"])
    dtype = getattr(torch, request["dtype"])
    head = head_of(request["model"], dtype)
    trunk = Transformer(
        request["model"],
        transformer_task="feature-extraction",
        model_kwargs={"dtype": dtype, "attn_implementation": "sdpa"},
        processor_kwargs={"use_fast": False},
    )
    pooling = Pooling(head.in_features, pooling_mode="lasttoken")
    dense = Dense(
        head.in_features,
        1,
        bias=False,
        activation_function=torch.nn.Identity(),
        module_output_name="scores",
    )
    dense.linear = head
    model = CrossEncoder(modules=[trunk, pooling, dense], device="cpu", activation_fn=torch.nn.Identity())

    def score_one(group: dict[str, Any]) -> list[float]:
        prompt = group["messages"]
        conversations = [[*prompt, {"role": "assistant", "content": answer}] for answer in group["responses"]]
        batch = request["options"].get("batch", 32)
        values = model.predict(conversations, batch_size=batch, show_progress_bar=False)
        return [float(value) for value in values]

    def score(groups: Groups) -> list[list[float]]:
        return [score_one(group) for group in groups]

    names = ("sentence-transformers", "transformers", "torch")
    return score, {name: importlib.metadata.version(name) for name in names}


if __name__ == "__main__":
    serve(load)
