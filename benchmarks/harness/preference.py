"""One run of preference training, said in our words and in TRL's, with nothing left to a tool's own defaults."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vlreward.policy.recipe import read_policy_recipe

from .pairs import Pair, write_trl
from .training import ADAMW, TRAINER, Task, planned_order, recipe_content, write_content

BETA = 0.1
WEIGHTS = {"sigmoid": 0.8, "bco_pair": 0.2, "sft": 1.0}
"""The losses as TRL calls them, and what they weigh in Mixed Preference Optimization."""


def write_policy_recipe(task: Task, pairs: Sequence[Pair], folder: Path) -> Path:
    """The run as a recipe of ours, with its data in ``folder``."""
    content = recipe_content(task, write_trl(pairs, folder / "data"), folder)
    (stage,) = content["stages"]
    stage["objective"] = {
        "loss": "mpo",
        "variant": "trl",
        "beta": BETA,
        "preference": WEIGHTS["sigmoid"],
        "quality": WEIGHTS["bco_pair"],
        "generation": WEIGHTS["sft"],
    }
    stage["parts"] = {"vision": "frozen", "projector": "train", "language": "train"}
    return write_content(content, folder)


def order_of(recipe: Path) -> list[int]:
    """The numbers of a recipe's pairs in the order in which our trainer sees them."""
    return planned_order(read_policy_recipe(recipe))


def write_trl_job(task: Task, pairs: Sequence[Pair], folder: Path) -> Path:
    """The run as what ``peers/mpo_trl.py`` takes: the arguments of TRL's ``DPOConfig``, and the pairs in ``folder``.

    No forward pass is split over several: TRL's mean over tokens is over those of one, ours over those of the step.
    """
    assert task.micro_batch == task.batch
    settings = {
        "output_dir": str(folder / "output"),
        "loss_type": list(WEIGHTS),
        "loss_weights": list(WEIGHTS.values()),
        "beta": BETA,
        "max_length": None,
        "per_device_train_batch_size": task.batch,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": task.epochs,
        "max_steps": task.steps,
        "learning_rate": task.learning_rate,
        "lr_scheduler_type": task.schedule,
        "warmup_steps": task.warmup_steps,
        "seed": task.seed,
        "bf16": False,
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        **ADAMW,
        **TRAINER,
    }
    job = {"checkpoint": str(task.model), "pairs": str(write_trl(pairs, folder)), "settings": settings}
    path = folder / "job.json"
    path.write_text(json.dumps(job, indent=1) + "\n")
    return path
