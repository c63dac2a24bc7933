"""What a loop came to: answers to held-out prompts before, along the way and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlreward.policy.gold import Gold
    from vlreward.policy.loop import LoopRecipe


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a policy answered; each list has one number for each prompt, the mean over its answers."""

    step: int
    """Optimizer steps behind it."""
    policy: str
    """Where it is."""
    rewards: list[float]
    lengths: list[float]
    """Characters."""
    unfinished: float
    """Share of answers that were cut off."""
    right: dict[int, float]
    """Share of right answers, by the prompt's place; of prompts where that is known."""

    def figures(self) -> dict[str, Any]:
        """The means, with the 95 % interval of the accuracy over prompts."""
        from vlreward.evaluate.metrics import accuracy_interval

        outcomes = list(self.right.values())
        return {
            "step": self.step,
            "policy": self.policy,
            "prompts": len(self.rewards),
            "with_key": len(outcomes),
            "accuracy": _mean(outcomes) if outcomes else None,
            "accuracy_interval": accuracy_interval(outcomes) if outcomes else None,
            "reward": _mean(self.rewards),
            "length": _mean(self.lengths),
            "unfinished": self.unfinished,
        }


def measure(step: int, policy: str, sampled: Path, rewards: Path, gold: Gold | None) -> Measured:
    """Read what a policy answered, and judge it.

    Raises:
        InputError: a file cannot be read.
    """
    from vlreward.data.content import text_of
    from vlreward.policy.prompts import read_scored

    means: list[float] = []
    lengths: list[float] = []
    right: dict[int, float] = {}
    answers = unfinished = 0
    for place, item in enumerate(read_scored(sampled, rewards)):
        means.append(_mean(item.rewards))
        lengths.append(_mean([len(text_of(response)) for response in item.group.responses]))
        answers += len(item.group)
        unfinished += len(item.unfinished)
        known = None if gold is None else gold.right(item.group)
        if known is not None:
            right[place] = _mean(known)
    return Measured(
        step=step, policy=policy, rewards=means, lengths=lengths, unfinished=unfinished / answers, right=right
    )


def report_of(
    measured: Sequence[Measured], *, pairs: dict[str, Any], training: dict[str, Any], recipe: LoopRecipe
) -> dict[str, Any]:
    """The report of a loop; ``measured`` begins with the policy as it was and ends with the finished one."""
    from .mpo_stages import settings_of

    curve = [item.figures() for item in measured]
    return {
        "recipe": settings_of(recipe),
        "pairs": pairs,
        "training": training,
        "before": curve[0],
        "after": curve[-1],
        "gain": _gain(measured[0], measured[-1]),
        "over_training": curve,
        "warnings": _warnings(curve),
    }


def _gain(before: Measured, after: Measured) -> dict[str, Any]:
    """Differences of the same prompts, with the 95 % interval over prompts."""
    from vlreward.evaluate.metrics import bootstrap_interval

    right = [after.right[place] - value for place, value in before.right.items()]
    rewards = [b - a for a, b in zip(before.rewards, after.rewards, strict=True)]
    return {
        "accuracy": _mean(right) if right else None,
        "accuracy_interval": bootstrap_interval(right) if right else None,
        "reward": _mean(rewards),
        "reward_interval": bootstrap_interval(rewards),
        "length": _mean(after.lengths) - _mean(before.lengths),
    }


def _warnings(curve: Sequence[dict[str, Any]]) -> list[str]:
    """Where the reward and the truth part: the reward has risen, and fewer answers are right."""
    found = []
    for before, after in pairwise(curve):
        if before["accuracy"] is None or after["accuracy"] is None:
            continue
        if after["reward"] > before["reward"] and after["accuracy"] < before["accuracy"]:
            found.append(
                f"from step {before['step']} to {after['step']} the reward rose by "
                f"{after['reward'] - before['reward']:.3f} and {before['accuracy'] - after['accuracy']:.1%} fewer "
                "answers are right: the reward may be over-optimised"
            )
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
