"""Contestant: vlreward's preference training, both answers of a pair in one pack, the reference computed before."""

from __future__ import annotations

import importlib.metadata
import time
from typing import Any

import torch
from turns import Turns, serve

from vlreward.policy.recipe import read_policy_recipe
from vlreward.policy.trainer import PolicyTrainer
from vlreward.train.run import train as train_by_recipe


def versions() -> dict[str, str]:
    """What it is made of."""
    return {name: importlib.metadata.version(name) for name in ("vlreward", "transformers", "torch")}


def timed(turns: Turns) -> type[PolicyTrainer]:
    """The trainer, which also says how long the reference took."""

    class Timed(PolicyTrainer):
        def begin(self) -> None:
            start, cpu_start = time.perf_counter(), time.process_time()
            super().begin()
            took = {"reference_seconds": time.perf_counter() - start}
            turns.note(reference_cpu_seconds=time.process_time() - cpu_start, **took)

    return Timed


def train(request: dict[str, Any], turns: Turns) -> None:
    """Train by the recipe of the request."""
    torch.set_num_threads(request["threads"])
    recipe = read_policy_recipe(request["run"])
    train_by_recipe(recipe, trainer=timed(turns), log=lambda _figures: None, callbacks=[turns])


if __name__ == "__main__":
    serve(train, versions)
