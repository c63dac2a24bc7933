"""``vlreward compare``: which of two answers is better, and how sure the model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlreward.errors import InputError

from .groups_verb import GroupsVerb

if TYPE_CHECKING:
    from rich.console import Console

    from vlreward.model.reward_model import RewardModel
    from vlreward.types import Group


def rows(model: RewardModel, groups: Sequence[Group]) -> list[dict[str, Any]]:
    """``{"id", "probability", "rewards", "calibrated"}`` of each pair: the probability that the first answer is better,
    and whether the calibration beside the model says it, rather than σ of the difference."""
    for group in groups:
        if len(group) != 2:
            raise InputError(f"group {group.id!r}: compare needs two responses, got {len(group)}")
    rewards = model.score_groups(groups)
    calibrated = model.calibration is not None
    return [
        {
            "id": group.id,
            "probability": model.probability(first - second),
            "rewards": [first, second],
            "calibrated": calibrated,
        }
        for group, (first, second) in zip(groups, rewards, strict=True)
    ]


def show(console: Console, group: Group, row: dict[str, Any]) -> None:
    """Both answers, and the verdict."""
    from .tables import one_line, reward_table

    texts = [one_line(response) for response in group.responses]
    console.print(reward_table(["first", "second"], row["rewards"], texts, header=("", "answer")))
    how = "by the calibration beside the model" if row["calibrated"] else "σ of the difference, not calibrated"
    console.print(f"The first is better with probability {row['probability']:.3f} ({how}).")


VERB = GroupsVerb(
    name="compare",
    help="the probability that the first of two answers is better",
    description="Compare two answers to one prompt, or the pairs of a file.",
    rows=rows,
    show=show,
    at_least=2,
    at_most=2,
    is_calibrated=True,
)
