"""What is logged of each source, against numpy on all that was seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vlreward.train.meter import Meter


def pack(sources: list[int], lengths: list[int]) -> dict[str, Any]:
    """Pairs, chosen and rejected in turn, each of one source."""
    return {
        "source_S": torch.tensor(sources).repeat_interleave(2),
        "length_S": torch.tensor(lengths),
        "chosen_P": torch.arange(0, len(lengths), 2),
        "rejected_P": torch.arange(1, len(lengths), 2),
    }


def expected(rewards: np.ndarray, lengths: np.ndarray) -> dict[str, float]:
    margins, longer = rewards[::2] - rewards[1::2], lengths[::2] - lengths[1::2]
    return {
        "accuracy": float(np.mean((np.sign(margins) + 1) / 2)),
        "margin": float(margins.mean()),
        "length_correlation": float(np.corrcoef(margins, longer)[0, 1]),
        "reward_mean": float(rewards.mean()),
        "reward_spread": float(rewards.std()),
    }


def test_figures_are_of_all_and_of_each_source() -> None:
    meter = Meter(["pictures", "text"])
    generator = np.random.default_rng(0)
    sources = [[0, 1, 0, 0], [1, 1, 0]]
    rewards = [generator.normal(size=2 * len(part)) for part in sources]
    rewards[0][:2] = 0.5  # a tie is half right
    lengths = [generator.integers(1, 50, 2 * len(part)) for part in sources]
    for part, scores, sizes in zip(sources, rewards, lengths, strict=True):
        meter.add(torch.from_numpy(scores), pack(part, sizes.tolist()))
    found = meter.read(lambda sums: sums)
    every, said, source = np.concatenate(rewards), np.concatenate(lengths), np.repeat(np.concatenate(sources), 2)
    wanted = expected(every, said)
    for number, name in enumerate(meter.sources):
        own = source == number
        wanted |= {f"{name}/{key}": value for key, value in expected(every[own], said[own]).items()}
    assert found == pytest.approx(wanted)
    assert meter.read(lambda sums: sums) == {}


def test_one_source_is_not_said_twice_and_processes_are_summed() -> None:
    meter = Meter(["pairs"])
    meter.add(torch.tensor([1.0, 0.0, 0.0, 2.0]), pack([0, 0], [3, 2, 5, 9]))
    figures = meter.read(lambda sums: 2 * sums)
    assert figures == pytest.approx(
        {"accuracy": 0.5, "margin": -0.5, "length_correlation": 1.0, "reward_mean": 0.75, "reward_spread": 0.6875**0.5}
    )
