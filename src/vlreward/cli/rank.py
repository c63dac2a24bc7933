"""``vlreward rank``: the answers from best to worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .groups_verb import GroupsVerb

if TYPE_CHECKING:
    from rich.console import Console

    from vlreward.model.reward_model import RewardModel
    from vlreward.types import Group


def rows(model: RewardModel, groups: Sequence[Group]) -> list[dict[str, Any]]:
    """``{"id", "order", "rewards"}`` of each group: indices from best to worst, rewards in the order given."""
    from vlreward.types import Reward

    rewards = model.score_groups(groups)
    return [
        {"id": group.id, "order": list(Reward(rewards=tuple(values)).order), "rewards": values}
        for group, values in zip(groups, rewards, strict=True)
    ]


def show(console: Console, group: Group, row: dict[str, Any]) -> None:
    """The best answer first."""
    from .tables import one_line, reward_table

    texts = [one_line(group.responses[i]) for i in row["order"]]
    rewards = [row["rewards"][i] for i in row["order"]]
    labels = [str(place) for place in range(1, len(texts) + 1)]
    console.print(reward_table(labels, rewards, texts, header=("rank", "answer")))


VERB = GroupsVerb(
    name="rank",
    help="the answers from best to worst",
    description="Rank answers to one prompt, or those of each group of a file. Ties keep their order.",
    rows=rows,
    show=show,
    at_least=2,
)
