"""Contestant: vlreward, all conversations of the groups in packs."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import torch
from protocol import Groups, Score, serve

from vlreward import Group, RewardModel


def load(request: dict[str, Any]) -> tuple[Score, dict[str, str]]:
    """The model, loaded, and how it scores."""
    torch.set_num_threads(request["threads"])
    rm = RewardModel.from_pretrained(
        request["model"], dtype=request["dtype"], device=request["options"].get("device", "cpu")
    )
    if request["options"].get("whole_last_layer"):
        rm.backbone.scored_last_layer = False

    def score(groups: Groups) -> list[list[float]]:
        return rm.score_groups([Group(messages=group["messages"], responses=group["responses"]) for group in groups])

    return score, {name: importlib.metadata.version(name) for name in ("vlreward", "transformers", "torch")}


if __name__ == "__main__":
    serve(load)
