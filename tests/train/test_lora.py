"""LoRA: what is trained, what is written, and that merged weights score like the adapted model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from vlreward import RewardModel
from vlreward.data.rankings import read_rankings
from vlreward.errors import MissingDependency
from vlreward.train import run as run_module
from vlreward.train.adapters import add_adapters, is_adapter, quantization
from vlreward.train.parts import Lora, Parts
from vlreward.train.run import train

from .test_trainer import Logs, Make, weights
from .test_trainer import make as make  # noqa: PLC0414 - a fixture

ADAPTED = {"vision": "lora", "projector": "lora", "language": "lora"}


def test_adapters_start_as_nothing(checkpoint: Callable[..., Path]) -> None:
    group = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    model = RewardModel.from_pretrained(checkpoint(), dtype="float32", device="cpu")
    before = model.score(group)
    add_adapters(model.backbone, Parts(language="lora"), Lora(rank=2), seed=0)
    assert model.score(group) == before
    names = [name for name, _ in model.backbone.model.named_parameters() if is_adapter(name)]
    assert names
    assert all(name.startswith("language_model.") for name in names)


@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen3_vl"])
def test_a_lora_run_trains_saves_merges_and_scores_the_same(
    make: Make, monkeypatch: pytest.MonkeyPatch, backbone: str
) -> None:
    held: list[RewardModel] = []
    real = run_module.load_start

    def spy(*args: Any, **options: Any) -> Any:
        found = real(*args, **options)
        held.append(found[0])
        return found

    monkeypatch.setattr(run_module, "load_start", spy)
    recipe = make(backbone, stage={"parts": ADAPTED, "lora": {"rank": 4, "alpha": 8}})
    (outcome,) = train(recipe)
    groups = [ranking.group for ranking in read_rankings(recipe.stages[0].data[0].path)]
    adapted = torch.tensor(held[0].score_groups(groups))
    merged = torch.tensor(RewardModel.from_pretrained(outcome.folder, device="cpu").score_groups(groups))
    torch.testing.assert_close(adapted, merged, rtol=0, atol=1e-5)
    start = torch.tensor(RewardModel.from_pretrained(recipe.model, device="cpu").score_groups(groups))
    assert (merged - start).abs().max() > 1e-3
    # On the way only what is trained is kept, and the finished adapters are there by themselves too.
    kept = load_file(outcome.folder.parent / "checkpoint-2" / "trained.safetensors")
    assert all(is_adapter(name) or name.startswith("head.") for name in kept)
    assert (outcome.folder.parent / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks by the old name
def test_a_written_adapter_is_what_peft_reads(make: Make) -> None:
    import peft
    from transformers import AutoModel

    recipe = make(stage={"parts": {"projector": "frozen", "language": "lora"}, "lora": {"rank": 4}})
    (outcome,) = train(recipe)
    base = AutoModel.from_pretrained(recipe.model, dtype=torch.float32)
    merged = peft.PeftModel.from_pretrained(base, outcome.folder.parent / "adapter").merge_and_unload()
    ours = RewardModel.from_pretrained(outcome.folder, device="cpu").backbone.model.state_dict()
    for name, tensor in merged.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-6)


def test_a_lora_run_that_was_stopped_ends_alike(make: Make) -> None:
    stage = {"parts": ADAPTED, "lora": {"rank": 4, "dropout": 0.1}}
    (whole,) = train(make(stage=stage, output="whole"))
    recipe = make(stage=stage, output="stopped")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, callbacks=[Logs(stop_at=3)])
    (resumed,) = train(recipe)
    expected, found = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_qlora_says_what_it_needs() -> None:
    with pytest.raises(MissingDependency, match=r"QLoRA \(4-bit weights\) needs bitsandbytes"):
        quantization(Parts(language="qlora"), torch.bfloat16, [])
    assert quantization(Parts(), torch.bfloat16, []) is None
