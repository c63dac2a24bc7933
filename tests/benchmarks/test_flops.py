"""The FLOPs formula against torch's own count of what the model does, and against what must hold by reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness import flops
from harness.flops import GroupShape
from harness.sizes import BENCH, QUICK, RELEASED_7B, special_id

MAIN = GroupShape(grids=((64, 64),), prefix=1118, answers=(180,))


def _with_answers(count: int) -> GroupShape:
    return GroupShape(grids=MAIN.grids, prefix=MAIN.prefix, answers=(180,) * count)


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

    config = AutoConfig.for_model(**(QUICK.config() | {"vocab_size": special_id("<|video_pad|>") + 1}))
    # torch counts matrix products; fused attention on the CPU is none to it.
    return Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation="eager").eval()


def _counted(run: Any) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def test_text_is_what_torch_counts(model: Any) -> None:
    tokens = 96
    ids = torch.zeros((1, tokens), dtype=torch.long)
    counted = _counted(lambda: model.model.language_model(input_ids=ids, use_cache=False))
    # Eager attention computes every pair of query and key, allowed or not.
    assert flops.text_flops(QUICK, tokens, tokens * tokens) == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize("grid", [(16, 16), (20, 12), (8, 34)])
def test_vision_is_what_torch_counts(model: Any, grid: tuple[int, int]) -> None:
    rows, columns = grid
    patches = torch.zeros((rows * columns, 3 * 2 * 14 * 14))
    counted = _counted(lambda: model.model.visual(patches, grid_thw=torch.tensor([[1, rows, columns]])))
    assert flops.vision_flops(QUICK, rows, columns) == pytest.approx(counted, rel=0.01)


def test_lm_head_is_what_torch_counts(model: Any) -> None:
    states = torch.zeros((1, 24, QUICK.hidden))
    counted = _counted(lambda: model.lm_head(states))
    assert counted == 2 * 24 * QUICK.hidden * model.lm_head.weight.shape[0]
    assert flops.lm_head_flops(QUICK, 24) == 2 * 24 * QUICK.hidden * QUICK.lm_head_rows


def test_one_answer_costs_the_same_packed_and_padded() -> None:
    assert flops.packed_work(BENCH, MAIN).total == flops.padded_work(BENCH, MAIN, lm_head=False).total


def test_allowed_pairs_of_a_pack_are_those_of_its_conversations_with_the_prefix_once() -> None:
    group = GroupShape(grids=(), prefix=10, answers=(3, 5))
    pairs = flops.causal_pairs(13) + flops.causal_pairs(15) - flops.causal_pairs(10)
    assert flops.packed_work(BENCH, group).text == flops.text_flops(BENCH, 18, pairs)


def test_padding_is_work() -> None:
    even = GroupShape(grids=(), prefix=10, answers=(5, 5))
    uneven = GroupShape(grids=(), prefix=10, answers=(5, 1))
    lengths = [flops.padded_work(BENCH, group, lm_head=True).lm_head for group in (even, uneven)]
    assert lengths[0] == lengths[1]


def test_random_model_has_the_shares_of_the_released_one() -> None:
    ours = flops.padded_work(BENCH, MAIN, lm_head=True).shares()
    released = flops.padded_work(RELEASED_7B, MAIN, lm_head=True).shares()
    assert ours == pytest.approx(released, abs=0.02)


def test_ideal_ratios_are_those_of_the_released_model() -> None:
    for answers, about in ((1, 1.06), (2, 1.93), (8, 4.95), (32, 8.0)):
        here = flops.ideal_ratio(BENCH, [_with_answers(answers)])
        assert here == pytest.approx(about, rel=0.03)
        assert here == pytest.approx(flops.ideal_ratio(RELEASED_7B, [_with_answers(answers)]), rel=0.03)


def test_the_last_layer_saves_less_than_a_layer_and_more_in_a_shallow_model() -> None:
    fractions = []
    for size in (BENCH, RELEASED_7B):
        work = flops.packed_work(size, MAIN)
        saved = flops.last_layer_saving(size, MAIN)
        assert 0.8 * work.text / size.layers < saved < work.text / size.layers
        fractions.append(saved / work.total)
    assert fractions[0] > 3 * fractions[1]
