"""What a loop came to: answers to held-out prompts before, along the way and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
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
    from vlreward.policy.overoptimisation import Judged
    from vlreward.policy.prompts import read_scored

    judged = [
        Judged.of(replace(item, right=None if gold is None else gold.right(item.group)))
        for item in read_scored(sampled, rewards)
    ]
    return Measured(
        step=step,
        policy=policy,
        rewards=[item.reward for item in judged],
        lengths=[item.length for item in judged],
        unfinished=_mean([item.unfinished for item in judged]),
        right={place: item.right for place, item in enumerate(judged) if item.right is not None},
    )


def report_of(
    measured: Sequence[Measured],
    *,
    pairs: dict[str, Any],
    training: dict[str, Any],
    watched: Sequence[dict[str, Any]],
    recipe: LoopRecipe,
) -> dict[str, Any]:
    """The report of a loop.

    Args:
        measured: begins with the policy as it was and ends with the finished one.
        pairs: what became of the prompts.
        training: what training came to.
        watched: what was seen of the policy while it was trained, `vlreward.policy.overoptimisation.read_course`.
        recipe: of the loop.
    """
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
        "watched": list(watched),
        "warnings": _warnings(curve, watched),
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


def _warnings(curve: Sequence[dict[str, Any]], watched: Sequence[dict[str, Any]] = ()) -> list[str]:
    """Where the reward and the truth part, see `vlreward.policy.overoptimisation`.

    Of a finished run nothing follows that could confirm its last evaluation: over all held-out prompts one is enough.
    """
    from vlreward.policy.overoptimisation import IN_A_ROW, Point, parting

    names = [item.name for item in fields(Point)]
    found = []
    for what, course, in_a_row in (("while training", watched, IN_A_ROW), ("over all held-out prompts", curve, 1)):
        parted = parting((Point(**{name: point[name] for name in names}) for point in course), in_a_row=in_a_row)
        if parted is not None:
            found.append(f"{what}, {parted}")
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
