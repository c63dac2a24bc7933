"""Preference training by TRL's ``DPOTrainer``, with the losses of every step and what they were made of.

Runs in an environment of its own and knows nothing of vlreward; started by ``benchmarks/mpo_parity.py``::

    python train_trl.py JOB.json    writes what it saw into the job's "out"
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from trl import DPOConfig, DPOTrainer

PACKAGES = ("trl", "transformers", "torch")


class Watched(DPOTrainer):
    """Its own trainer, which keeps what each step has seen."""

    steps: list[dict[str, Any]]

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        """Its own loss, kept with the log-probabilities that the two models gave."""
        seen: list[Any] = []
        hooks = [
            held.register_forward_hook(lambda _, __, output: seen.append(output.log_probs.detach()))
            for held in (model, self.ref_model)
        ]
        loss = super().compute_loss(model, inputs, *args, **options)
        for hook in hooks:
            hook.remove()
        policy, reference = (log_probs.sum(dim=1).chunk(2) for log_probs in seen)
        lengths = inputs["completion_mask"][:, 1:].sum(dim=1).chunk(2)[0]
        columns = (*policy, *reference, lengths, loss.detach())
        names = ("chosen", "rejected", "reference_chosen", "reference_rejected", "lengths", "loss")
        self.steps.append({name: column.tolist() for name, column in zip(names, columns, strict=True)})
        return loss


def load(job: dict[str, Any]) -> Any:
    """The checkpoint, as transformers has it."""
    return AutoModelForImageTextToText.from_pretrained(job["checkpoint"], dtype=getattr(torch, job["dtype"]))


def read(path: Path) -> Dataset:
    """The rows, with their pictures opened."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["images"] = [Image.open(path.parent / name).convert("RGB") for name in row["images"]]
    return Dataset.from_list(rows)


def main(path: str) -> None:
    """Train, and write what was seen."""
    torch.set_num_threads(1)
    job = json.loads(Path(path).read_text())
    settings = DPOConfig(
        output_dir=str(Path(job["out"]).with_suffix("")),
        loss_type=["sigmoid", "bco_pair", "sft"],
        loss_weights=[0.8, 0.2, 1.0],
        max_length=None,
        bf16=False,
        gradient_checkpointing=False,
        train_sampling_strategy="sequential",
        gradient_accumulation_steps=1,
        disable_tqdm=True,
        **job["trainer"],
    )
    processor = AutoProcessor.from_pretrained(job["checkpoint"])
    # With PIL, as ours: torchvision's arithmetic differs in the last digits, which losses in float64 would show.
    processor.image_processor = Qwen2VLImageProcessorPil.from_pretrained(job["checkpoint"])
    trainer = Watched(
        model=load(job),
        ref_model=load(job),
        args=settings,
        train_dataset=read(Path(job["rows"])),
        processing_class=processor,
    )
    trainer.steps = []
    trainer.train()
    versions = {name: metadata.version(name) for name in PACKAGES}
    Path(job["out"]).write_text(json.dumps({"versions": versions, "steps": trainer.steps}))


if __name__ == "__main__":
    main(sys.argv[1])
