"""The ways in which the same cases are scored: each must give the scores that the other tool gave."""

from __future__ import annotations

import random
from pathlib import Path

from harness.golden import Case, grouped
from vlreward import Group, RewardModel
from vlreward.model.convert import convert

OTHER_FORM = {"value-head": "sequence-classification", "sequence-classification": "value-head"}


def alone(model: RewardModel, cases: list[Case]) -> dict[str, float]:
    """One call per conversation."""
    return {case.name: model.score(case.messages) for case in cases}


def together(model: RewardModel, cases: list[Case]) -> dict[str, float]:
    """One call for everything, the answers to a prompt in one group."""
    groups = grouped(cases)
    rewards = model.score_groups([Group(group[0].prompt, [case.answer for case in group]) for group in groups])
    return {
        case.name: reward
        for group, scores in zip(groups, rewards, strict=True)
        for case, reward in zip(group, scores, strict=True)
    }


def shuffled(model: RewardModel, cases: list[Case]) -> dict[str, float]:
    """One call for everything, prompts and answers in another order."""
    order = list(cases)
    random.Random(1).shuffle(order)
    return together(model, order)


def furthest(scores: dict[str, float], cases: list[Case]) -> tuple[float, str]:
    """The largest difference from the other tool's scores, and its case."""
    assert scores.keys() == {case.name for case in cases}
    return max((abs(scores[case.name] - case.score), case.name) for case in cases)


def there_and_back(checkpoint: Path, form: str, folder: Path) -> tuple[Path, Path]:
    """The checkpoint in the other form, and that one in its own form again."""
    other, back = folder / "other", folder / "back"
    convert(checkpoint, OTHER_FORM[form], other, prove=False)
    convert(other, form, back, prove=False)
    return other, back
