"""What a dry run says, against the modules that are built, and against itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vlreward.train.estimate import Estimate
from vlreward.train.run import build_module, load_start, plan_stages, trained_parts

from .test_trainer import Make
from .test_trainer import make as make  # noqa: PLC0414 - a fixture

STAGES: dict[str, dict[str, Any]] = {
    "as published": {},
    "adapters, and a head that writes": {
        "parts": {"vision": "lora", "projector": "lora", "language": "lora"},
        "lora": {"rank": 3},
        "objective": {"language_weight": 0.5},
    },
    "the head alone": {"parts": {"projector": "frozen", "language": "frozen"}},
}


@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("case", STAGES)
def test_trained_numbers_are_those_of_the_module(make: Make, backbone: str, case: str) -> None:
    recipe = make(backbone, stage=STAGES[case])
    (found,) = plan_stages(recipe)
    stage = recipe.stages[0]
    model, source = load_start(recipe, stage, recipe.model, torch.device("cpu"), first=True)
    module = build_module(recipe, stage, model, source)
    assert {name: (count.trained, count.held) for name, count in found.parts.items()} == trained_parts(module)


def test_what_learns_takes_more(make: Make) -> None:
    def estimated(parts: dict[str, str], **trainer: bool) -> Estimate:
        (found,) = plan_stages(make(stage={"parts": parts, "lora": {"rank": 1}}, trainer=trainer))
        return found

    frozen = {"projector": "frozen", "language": "frozen"}
    head, adapters, full = estimated(frozen), estimated(frozen | {"language": "lora"}), estimated({})
    assert head.flops < adapters.flops < full.flops
    assert head.memory_bytes < adapters.memory_bytes < full.memory_bytes
    for name in ("activation_checkpointing", "gradient_checkpointing"):
        twice = estimated({}, **{name: True})
        assert twice.flops > full.flops
        assert twice.memory_bytes < full.memory_bytes
