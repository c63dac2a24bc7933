from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlreward.errors import ConfigError
from vlreward.model.head import Question, RewardHead


def random_head(sizes: tuple[int, ...], *, bias: bool = True, seed: int = 0) -> RewardHead:
    generator = torch.Generator().manual_seed(seed)
    layers = [
        (torch.randn(o, i, generator=generator), torch.randn(o, generator=generator) if bias else None)
        for i, o in pairwise(sizes)
    ]
    return RewardHead(layers)


def test_linear_head_is_weight_times_hidden_plus_bias():
    hidden_ND = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    weight, bias = torch.arange(8.0)[None], torch.tensor([0.5])
    rewards_N = RewardHead.linear(weight, bias)(hidden_ND)
    assert rewards_N.shape == (5,)
    assert rewards_N.dtype == torch.float32
    torch.testing.assert_close(rewards_N, (hidden_ND * weight).sum(-1) + 0.5)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans(), st.integers(1, 5))
def test_any_chain_of_layers_equals_its_definition(sizes: list[int], bias: bool, n: int):
    chain = (*sizes, 1)
    head = random_head(chain, bias=bias)
    values = hidden_ND = torch.randn(n, chain[0], generator=torch.Generator().manual_seed(2))
    for i, layer in enumerate(head.layers):
        values = values @ layer.weight.T + (layer.bias if bias else 0)
        if i < len(head.layers) - 1:
            values = values * torch.sigmoid(values)
    torch.testing.assert_close(head(hidden_ND), values[:, 0], atol=1e-4, rtol=1e-5)
    assert head.sizes == chain


def test_bfloat16_hidden_states_are_read_in_float32_also_under_autocast():
    head = random_head((64, 1))
    hidden_ND = torch.randn(4, 64).bfloat16()
    expected = hidden_ND.float() @ head.layers[0].weight[0] + head.layers[0].bias
    torch.testing.assert_close(head(hidden_ND), expected)
    with torch.autocast("cpu", torch.bfloat16):
        rewards_N = head(hidden_ND)
    assert rewards_N.dtype == torch.float32
    torch.testing.assert_close(rewards_N, expected)


def test_weights_of_narrow_dtype_are_kept_exactly_and_moves_never_narrow_them():
    weight = torch.randn(1, 8).bfloat16()
    outer = torch.nn.ModuleDict({"head": RewardHead.linear(weight, torch.ones(1))})
    before = outer["head"].tensors()
    outer.to(torch.bfloat16).half()
    after = outer["head"].tensors()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(before["layers.0.weight"], weight.float())
    assert outer.double()["head"](torch.zeros(1, 8)).dtype == torch.float64
    assert outer["head"].tensors()["layers.0.weight"].dtype == torch.float32


def test_head_owns_its_weights():
    weight = torch.ones(1, 4)
    head = RewardHead.linear(weight)
    weight.zero_()
    assert head(torch.ones(1, 4)).item() == 4


def test_head_can_be_trained():
    head = random_head((8, 8, 1))
    head(torch.randn(3, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (RewardHead.linear(torch.zeros(1, 3584), torch.zeros(1)), "linear 3584 -> 1, with bias"),
        (RewardHead.linear(torch.zeros(1, 16)), "linear 16 -> 1, no bias"),
        (random_head((8, 4, 1)), "2 layers 8 -> 4 -> 1, silu, with bias"),
        (
            RewardHead.linear(torch.zeros(1, 16), question=Question(positive="yes", negative="no")),
            'token logit "yes" - "no", linear 16 -> 1, no bias',
        ),
    ],
)
def test_describe(head: RewardHead, words: str):
    assert head.describe() == words


def test_hidden_size_and_bias():
    assert random_head((7, 3, 1)).hidden_size == 7
    assert random_head((7, 1)).has_bias
    assert not random_head((7, 1), bias=False).has_bias


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "reward head: no layers; at least one is needed"),
        ([(torch.zeros(8), None)], "reward head: layer 0: weight has shape (8,), expected (outputs, inputs)"),
        (
            [(torch.zeros(4, 8), None), (torch.zeros(1, 5), None)],
            "reward head: layer 1: weight has shape (1, 5), expected (outputs, 4)",
        ),
        (
            [(torch.zeros(1, 8), torch.zeros(2))],
            "reward head: layer 0: bias has shape (2,), expected (1,)",
        ),
        ([(torch.zeros(3, 8), None)], "reward head: the last layer has 3 outputs, expected 1"),
    ],
)
def test_layers_that_do_not_chain_are_refused(layers: list[tuple[torch.Tensor, None]], message: str):
    with pytest.raises(ConfigError) as error:
        RewardHead(layers)
    assert str(error.value) == message


def test_unknown_activation_is_refused():
    with pytest.raises(ConfigError, match=r"reward head: unknown activation 'relu'; known: silu"):
        RewardHead([(torch.zeros(1, 2), None)], activation="relu")
