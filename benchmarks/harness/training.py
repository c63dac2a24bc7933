"""One training run, said to every tool in its own words, with nothing left to a tool's own defaults."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

from vlreward.train.recipe import BaseRecipe, read_recipe
from vlreward.train.run import load_start, prepare_data, train

from .pairs import NAME, Pair, write_ms_swift, write_sharegpt


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is trained and how: the whole model but its vision tower, float32, AdamW, no activation checkpointing."""

    model: Path
    """The checkpoint to start from, with a reward head."""
    batch: int
    """Pairs of an optimizer step."""
    micro_batch: int
    """Pairs of one forward pass, of the tools that count them so."""
    pack_tokens: int
    """The same for ours, which counts packed tokens."""
    steps: int
    epochs: int
    learning_rate: float
    schedule: str
    warmup_steps: int
    min_pixels: int
    max_pixels: int
    max_length: int = 4096
    seed: int = 0


ADAMW: dict[str, Any] = {
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
}
"""In the words of transformers' ``TrainingArguments``, which all the tools hand on to it."""
TRAINER: dict[str, Any] = {
    "optim": "adamw_torch_fused",
    "use_cpu": True,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "dataloader_num_workers": 0,
}
"""Likewise."""


def write_recipe(task: Task, data: Path, folder: Path) -> Path:
    """The run as a recipe of ours; ``data`` may be of any tool."""
    content = recipe_content(task, data, folder)
    content["head"] = {"start": "checkpoint"}
    (stage,) = content["stages"]
    stage["objective"] = {"loss": "bradley-terry"}
    stage["parts"] = {"vision": "frozen", "projector": "train", "language": "train", "head": "train"}
    return write_content(content, folder)


def write_content(content: dict[str, Any], folder: Path) -> Path:
    """A recipe's file."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def recipe_content(task: Task, data: Path, folder: Path) -> dict[str, Any]:
    """What recipes of ours say of a run, whatever is minimised."""
    stage = {
        "name": "pairs",
        "data": [{"path": str(data)}],
        "epochs": task.epochs,
        "batch": task.batch,
        "max_steps": task.steps,
        "max_length": task.max_length,
        "pack_tokens": task.pack_tokens,
        "optimizer": {
            "learning_rate": task.learning_rate,
            "schedule": task.schedule,
            "warmup": task.warmup_steps / task.steps,
            **ADAMW,
        },
    }
    return {
        "model": str(task.model),
        "output": str(folder / "ours"),
        "dtype": "float32",
        "min_pixels": task.min_pixels,
        "max_pixels": task.max_pixels,
        "seed": task.seed,
        "trainer": TRAINER,
        "stages": [stage],
    }


def order_of(recipe: Path) -> list[int]:
    """The numbers of a recipe's pairs in the order in which our trainer sees them, over all epochs.

    The others are given their data in this order and told not to shuffle.
    """
    return planned_order(read_recipe(recipe))


def planned_order(read: BaseRecipe) -> list[int]:
    """The same of a recipe that has been read, of either kind."""
    (stage,) = read.stages
    model, _ = load_start(read, stage, read.model, torch.device("cpu"), first=True, weights=False)
    data = prepare_data(read, stage, model, 1, lambda _what, _count: None)
    assert not data.dropped, data.dropped
    numbers: list[int] = data.plan.numbers_E.tolist()
    return numbers


def losses_of(recipe: Path) -> list[float]:
    """Train by a recipe; the loss of each step."""
    logged: list[dict[str, float]] = []
    train(read_recipe(recipe), log=logged.append)
    return [figures["loss"] for figures in logged if "loss" in figures]


def write_llama_factory(task: Task, pairs: Sequence[Pair], folder: Path) -> Path:
    """The run as LLaMA-Factory's YAML file, with its data in ``folder``; its checkpoint is made from ours."""
    write_sharegpt(pairs, folder)
    settings = {
        "model_name_or_path": str(_with_value_head(task.model, folder / "checkpoint")),
        "stage": "rm",
        "do_train": True,
        "finetuning_type": "full",
        "freeze_vision_tower": True,
        "freeze_multi_modal_projector": False,
        "template": "qwen2_vl",
        "flash_attn": "sdpa",
        "disable_gradient_checkpointing": True,
        "disable_shuffling": True,
        "image_min_pixels": task.min_pixels,
        "image_max_pixels": task.max_pixels,
        "cutoff_len": task.max_length,
        "dataset_dir": str(folder),
        "dataset": NAME,
        "output_dir": str(folder / "output"),
        "per_device_train_batch_size": task.micro_batch,
        "gradient_accumulation_steps": task.batch // task.micro_batch,
        "max_steps": task.steps,
        "learning_rate": task.learning_rate,
        "lr_scheduler_type": task.schedule,
        "warmup_steps": task.warmup_steps,
        "seed": task.seed,
        "bf16": False,
        "fp16": False,
        **ADAMW,
        **TRAINER,
    }
    path = folder / "rm.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def _with_value_head(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint as LLaMA-Factory goes on from it: the head in a file beside the weights, and without the dropout
    of a tenth that it puts before the head in training."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in checkpoint.iterdir():
        if file.is_file() and file.name != "config.json":
            (folder / file.name).symlink_to(file.resolve())
    config = json.loads((checkpoint / "config.json").read_text()) | {"summary_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    if not (checkpoint / "value_head.safetensors").is_file():
        weight = load_file(checkpoint / "model.safetensors")["score.weight"]
        head = {"v_head.summary.weight": weight.clone(), "v_head.summary.bias": weight.new_zeros(1)}
        save_file(head, folder / "value_head.safetensors", metadata={"format": "pt"})
    return folder


def write_swift(task: Task, pairs: Sequence[Pair], folder: Path) -> Path:
    """The run as ms-swift's arguments, a list in JSON, with its data in ``folder``."""
    data = write_ms_swift(pairs, folder)
    values = {
        "rlhf_type": "rm",
        "model": task.model,
        "model_type": "qwen2_5_vl",
        "template": "qwen2_5_vl",
        "tuner_type": "full",
        "freeze_vit": True,
        "freeze_aligner": False,
        "freeze_llm": False,
        "torch_dtype": "float32",
        "bf16": False,
        "fp16": False,
        "attn_impl": "sdpa",
        "gradient_checkpointing": False,
        "dataset": data,
        "split_dataset_ratio": 0,
        "dataset_shuffle": False,
        # The flag for this, train_dataloader_shuffle, does not reach its trainer of rewards.
        "train_sampling_strategy": "sequential",
        "dataset_num_proc": 1,
        "max_length": task.max_length,
        "output_dir": folder / "output",
        "per_device_train_batch_size": task.micro_batch,
        "gradient_accumulation_steps": task.batch // task.micro_batch,
        "max_steps": task.steps,
        "learning_rate": task.learning_rate,
        "lr_scheduler_type": task.schedule,
        "warmup_steps": task.warmup_steps,
        "seed": task.seed,
        "use_hf": True,
        "callbacks": "turns",
        **ADAMW,
        **TRAINER,
    }
    arguments = [text for name, value in values.items() for text in (f"--{name}", _argument(value))]
    path = folder / "arguments.json"
    path.write_text(json.dumps(arguments, indent=1) + "\n")
    return path


def _argument(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
