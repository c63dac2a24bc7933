"""Contestant: ms-swift's engine, in its own environment."""

from __future__ import annotations

import importlib.metadata
import os
from typing import Any

# It asks model hubs for updates unless told that there are none, and keeps pictures below its own limit otherwise.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MAX_PIXELS", "12845056")
os.environ.setdefault("MIN_PIXELS", "3136")

import torch
from protocol import Groups, Score, serve


def _text_of(messages: list[dict[str, Any]]) -> tuple[list[dict[str, str]], list[str]]:
    """Messages with an ``<image>`` mark where a picture stands, and the pictures in order."""
    plain, images = [], []
    for message in messages:
        parts = message["content"]
        if isinstance(parts, str):
            plain.append({"role": message["role"], "content": parts})
            continue
        words = "".join("<image>" if part["type"] == "image" else part["text"] for part in parts)
        images += [part["image"] for part in parts if part["type"] == "image"]
        plain.append({"role": message["role"], "content": words})
    return plain, images


def load(request: dict[str, Any]) -> tuple[Score, dict[str, str]]:
    """The engine, loaded, and how it scores."""
    from swift.infer_engine import InferRequest, TransformersEngine

    torch.set_num_threads(request["threads"])
    engine = TransformersEngine(
        request["model"],
        model_type="qwen2_5_vl",
        template_type="qwen2_5_vl",
        task_type="seq_cls",
        num_labels=1,
        problem_type="regression",
        torch_dtype=getattr(torch, request["dtype"]),
        attn_impl="sdpa",
        max_batch_size=request["options"].get("batch", 32),
        device_map="cpu",
    )

    def score_one(group: dict[str, Any]) -> list[float]:
        requests = []
        for response in group["responses"]:
            messages, images = _text_of(group["messages"])
            requests.append(
                InferRequest(messages=[*messages, {"role": "assistant", "content": response}], images=images)
            )
        answers = engine.infer(requests, use_tqdm=False)
        return [float(answer.choices[0].message.content) for answer in answers]

    def score(groups: Groups) -> list[list[float]]:
        return [score_one(group) for group in groups]

    return score, {name: importlib.metadata.version(name) for name in ("ms-swift", "transformers", "torch")}


if __name__ == "__main__":
    serve(load)
