"""LoRA: what is trained, what is written, and that merged weights score like the adapted model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vlreward import RewardModel
from vlreward.data.rankings import read_rankings
from vlreward.errors import MissingDependency
from vlreward.tiny.random_checkpoint import BACKBONES
from vlreward.train.adapters import add_adapters, is_adapter, quantization
from vlreward.train.parts import Lora, Parts, part_of
from vlreward.train.run import train

from .test_trainer import Logs, Make, weights
from .test_trainer import make as make  # noqa: PLC0414 - a fixture
from .test_trainer import trained as trained  # noqa: PLC0414 - a fixture

FROZEN = {"vision": "frozen", "projector": "frozen", "language": "frozen"}
ADAPTED: dict[str, dict[str, str]] = {part: FROZEN | {part: "lora"} for part in FROZEN}
ADAPTED["all"] = dict.fromkeys(FROZEN, "lora")


def test_adapters_start_as_nothing(checkpoint: Callable[..., Path]) -> None:
    group = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    model = RewardModel.from_pretrained(checkpoint(), dtype="float32", device="cpu")
    before = model.score(group)
    add_adapters(model.backbone, Parts(language="lora"), Lora(rank=2), seed=0)
    assert model.score(group) == before
    names = [name for name, _ in model.backbone.model.named_parameters() if is_adapter(name)]
    assert names
    assert all(name.startswith("language_model.") for name in names)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("parts", ADAPTED)
def test_a_lora_run_trains_saves_merges_and_scores_the_same(
    make: Make, trained: list[RewardModel], backbone: str, parts: str
) -> None:
    recipe = make(backbone, stage={"parts": ADAPTED[parts], "lora": {"rank": 4, "alpha": 8}})
    (outcome,) = train(recipe)
    groups = [ranking.group for ranking in read_rankings(recipe.stages[0].data[0].path)]
    adapted = torch.tensor(trained[0].score_groups(groups))
    merged = torch.tensor(RewardModel.from_pretrained(outcome.folder, device="cpu").score_groups(groups))
    # Merged weights are rounded once more: measured up to 1.3e-5 on a score of 2.9, and most far below.
    torch.testing.assert_close(adapted, merged, rtol=1e-5, atol=1e-5)
    start = torch.tensor(RewardModel.from_pretrained(recipe.model, device="cpu").score_groups(groups))
    assert (merged - start).abs().max() > 1e-3
    # On the way only what is trained is kept, and the adapters are in the parts that were named.
    kept = load_file(outcome.folder.parent / "checkpoint-2" / "trained.safetensors")
    assert all(is_adapter(name) or name.startswith("head.") for name in kept)
    named = {part for part, how in ADAPTED[parts].items() if how == "lora"}
    assert {part_of(name) for name in kept} == named | {"head"}


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks by the old name
@pytest.mark.parametrize("parts", ["language", "all"])
def test_a_written_adapter_is_what_peft_reads(make: Make, parts: str) -> None:
    import peft

    recipe = make(stage={"parts": ADAPTED[parts], "lora": {"rank": 4}})
    (outcome,) = train(recipe)
    groups = [ranking.group for ranking in read_rankings(recipe.stages[0].data[0].path)]
    merged = RewardModel.from_pretrained(outcome.folder, device="cpu")
    expected = torch.tensor(merged.score_groups(groups))
    # The base with peft's adapters put into it, and the head that was trained with them; then merged by peft.
    base = RewardModel.from_pretrained(recipe.model, dtype="float32", device="cpu")
    base.head = merged.head
    theirs = peft.PeftModel.from_pretrained(base.backbone.model, outcome.folder.parent / "adapter")
    torch.testing.assert_close(torch.tensor(base.score_groups(groups)), expected, rtol=1e-5, atol=1e-5)
    ours = merged.backbone.model.state_dict()
    for name, tensor in theirs.merge_and_unload().state_dict().items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize("parts", ["language", "all"])
def test_layers_may_be_run_twice_to_save_memory(make: Make, parts: str) -> None:
    stage = {"parts": ADAPTED[parts], "lora": {"rank": 4}}
    (plain,) = train(make(stage=stage, output="plain"))
    (twice,) = train(make(stage=stage, output="twice", trainer={"activation_checkpointing": True}))
    expected, found = weights(plain), weights(twice)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5)


def test_a_lora_run_that_was_stopped_ends_alike(make: Make) -> None:
    stage = {"parts": ADAPTED["all"], "lora": {"rank": 4, "dropout": 0.1}}
    (whole,) = train(make(stage=stage, output="whole"))
    recipe = make(stage=stage, output="stopped")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, callbacks=[Logs(stop_at=3)])
    (resumed,) = train(recipe)
    expected, found = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_qlora_says_what_it_needs() -> None:
    with pytest.raises(MissingDependency, match=r"QLoRA \(4-bit weights\) needs bitsandbytes: pip install bits"):
        quantization(Parts(language="qlora"), torch.bfloat16, [])
    assert quantization(Parts(), torch.bfloat16, []) is None
