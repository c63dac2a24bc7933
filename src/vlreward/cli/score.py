"""``vlreward score``: the reward of each answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .groups_verb import GroupsVerb

if TYPE_CHECKING:
    from rich.console import Console

    from vlreward.model.reward_model import RewardModel
    from vlreward.types import Group


def rows(model: RewardModel, groups: Sequence[Group]) -> list[dict[str, Any]]:
    """``{"id", "rewards"}`` of each group."""
    rewards = model.score_groups(groups)
    return [{"id": group.id, "rewards": values} for group, values in zip(groups, rewards, strict=True)]


def show(console: Console, group: Group, row: dict[str, Any]) -> None:
    """The answers in the order given."""
    from .tables import one_line, reward_table

    texts = [one_line(response) for response in group.responses]
    labels = [str(i) for i in range(1, len(texts) + 1)]
    console.print(reward_table(labels, row["rewards"], texts, header=("#", "answer")))


VERB = GroupsVerb(
    name="score",
    help="the reward of each answer",
    description="Score answers to one prompt, or a file of groups. Only the order of rewards means anything.",
    rows=rows,
    show=show,
)
