"""Contestant: TRL's ``DPOTrainer`` with the losses ``sigmoid``, ``bco_pair`` and ``sft``, in its own environment.

With pictures it cannot compute the reference before (``precompute_ref_log_probs`` is refused) or leave out the padding
(``padding_free`` is switched off), so the reference is a second model that runs in every step, which is what it does by
itself. Two things are done for it: the vision tower is frozen, so that no gradients are made there, and the LM head
runs on answer tokens only, as on a GPU; on a CPU it would run on the prompt and the pictures, too.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import torch
from turns import Turns, serve


def versions() -> dict[str, str]:
    """What it is made of."""
    return {name: importlib.metadata.version(name) for name in ("trl", "transformers", "datasets", "torch")}


def read(path: Path) -> Any:
    """The pairs, whose pictures are opened when they are asked for."""
    from datasets import Dataset, Image, List

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return Dataset.from_list(rows).cast_column("images", List(Image()))


def load(checkpoint: str) -> Any:
    """The policy, of which all is trained but the vision tower."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    for name, parameter in model.model.visual.named_parameters():
        parameter.requires_grad_(name.startswith("merger."))
    return model


def score_answers_only() -> None:
    """Let the LM head run where it does on a GPU. What else depends on the device is in another module."""
    import trl.trainer.utils as part

    assert callable(part._use_triton)
    part._use_triton = lambda _device: True


def train(request: dict[str, Any], turns: Turns) -> None:
    """Train by the job in the file of the request."""
    # Imported here: they print when they are.
    from transformers import AutoProcessor
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(request["threads"])
    job = json.loads(Path(request["run"]).read_text())
    score_answers_only()
    limits = {name: request[name] for name in ("min_pixels", "max_pixels")}
    trainer = DPOTrainer(
        model=load(job["checkpoint"]),
        args=DPOConfig(**job["settings"]),
        train_dataset=read(Path(job["pairs"])),
        processing_class=AutoProcessor.from_pretrained(job["checkpoint"], **limits),
        callbacks=[turns],
    )
    trainer.train()


if __name__ == "__main__":
    serve(train, versions)
