"""``vlreward trace``: the reward if an answer had stopped after each of its sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .groups_verb import GroupsVerb

if TYPE_CHECKING:
    from rich.console import Console

    from vlreward.model.reward_model import RewardModel
    from vlreward.types import Group


def rows(model: RewardModel, groups: Sequence[Group]) -> list[dict[str, Any]]:
    """``{"id", "traces"}`` of each group: for each answer its stops, ``{"end", "text", "reward"}``."""
    return [
        {
            "id": group.id,
            "traces": [
                [asdict(point) for point in model.trace(conversation)] for conversation in group.conversations()
            ],
        }
        for group in groups
    ]


def show(console: Console, group: Group, row: dict[str, Any]) -> None:
    """One line per sentence of each answer."""
    from rich.text import Text

    from .tables import one_line, reward_table

    for response, points in zip(group.responses, row["traces"], strict=True):
        if len(group) > 1:
            console.print(Text(f"\n{one_line(response)}", style="bold"), no_wrap=True, overflow="ellipsis")
        rewards = [point["reward"] for point in points]
        texts = [" ".join(point["text"].split()) or "(empty)" for point in points]
        labels = [str(i) for i in range(1, len(points) + 1)]
        console.print(reward_table(labels, rewards, texts, header=("stop", "sentence")))


VERB = GroupsVerb(
    name="trace",
    help="the reward if an answer had stopped after each sentence",
    description="Trace an answer: its reward if it had stopped after each of its sentences, all in one pass.",
    rows=rows,
    show=show,
)
