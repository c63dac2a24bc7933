"""Attention of windows side by side against one window at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlreward.model.windows import window_attention


@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=8), data=st.data())
def test_each_window_is_attention_alone(lengths: list[int], data: st.DataObject) -> None:
    total = sum(lengths)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    q, k, v = (
        torch.randn(1, 2, total, 4, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(3)
    )
    if not total:
        return
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    out, _ = window_attention(torch.nn.Module(), q, k, v, None, scaling=0.3, cu_seq_lens_q=bounds)
    parts = []
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        weights = ((q[:, :, start:end] @ k[:, :, start:end].transpose(-1, -2)) * 0.3).softmax(-1)
        parts.append((weights @ v[:, :, start:end]).transpose(1, 2))
    expected = torch.cat(parts, dim=1)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
    for one, other in zip(
        torch.autograd.grad(out.square().sum(), (q, k, v)),
        torch.autograd.grad(expected.square().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_equal_windows_take_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def counting(q: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        calls.append(tuple(q.shape))
        return attend(q, *args, **kwargs)

    monkeypatch.setattr("vlreward.model.windows.F.scaled_dot_product_attention", counting)
    q = torch.randn(1, 2, 70, 4)
    window_attention(torch.nn.Module(), q, q, q, None, cu_seq_lens_q=torch.tensor([0, 16, 32, 38, 54, 70]))
    assert calls == [(4, 2, 16, 4), (1, 2, 6, 4)]
