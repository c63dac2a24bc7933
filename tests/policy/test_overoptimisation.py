"""When a reward and the truth have parted: pure functions over evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from vlreward import Group
from vlreward.data.length_bias import wilson_interval
from vlreward.policy.controls import OracleReward, RandomReward
from vlreward.policy.gold import KeyGold
from vlreward.policy.overoptimisation import Judged, Point, course_of, parting, read_course, write_course
from vlreward.policy.pairs import ScoredGroup

PROMPTS = 100


def course(rewards: Sequence[float], right: Sequence[float | None]) -> list[Point]:
    return [
        Point(
            step=5 * i,
            prompts=PROMPTS,
            reward=reward,
            length=10.0,
            unfinished=0.0,
            accuracy=accuracy,
            accuracy_interval=None if accuracy is None else wilson_interval(accuracy, PROMPTS),
        )
        for i, (reward, accuracy) in enumerate(zip(rewards, right, strict=True))
    ]


def test_they_part_at_the_second_evaluation_in_a_row() -> None:
    # Half the width of the interval of 0.6 of 100 is 0.094.
    found = parting(course([0, 1, 2, 3, 4], [0.5, 0.6, 0.5, 0.5, 0.4]))
    assert found is not None
    assert (found.best.step, found.seen.step) == (5, 15)
    assert str(found) == (
        "step 15: the reward is above that of step 5 (+3.000, then +1.000) and fewer answers are right "
        "(50.0%, then 60.0%): the reward may be over-optimised"
    )
    once = parting(course([0, 1, 2], [0.5, 0.6, 0.5]), in_a_row=1)
    assert once is not None
    assert once.seen.step == 10


@pytest.mark.parametrize(
    ("rewards", "right"),
    [
        ([0, 1, 2, 3], [0.5, 0.6, 0.51, 0.52]),  # within half the width
        ([0, 1, 2, 0.9, 3], [0.5, 0.6, 0.4, 0.4, 0.4]),  # the reward has fallen too, in between
        ([0, 1, 1, 1], [0.5, 0.6, 0.4, 0.4]),  # the reward has not risen
        ([0, 1, 2, 3, 4], [0.5, 0.6, 0.4, 0.7, 0.6]),  # once, and then better than before
        ([0, 1, 2, 3], [None] * 4),
        ([], []),
    ],
)
def test_they_do_not_part(rewards: list[float], right: list[float | None]) -> None:
    assert parting(course(rewards, right)) is None


def test_evaluations_in_which_nobody_knows_are_passed_over() -> None:
    found = parting(course([0, 1, 2, 3], [0.6, 0.4, None, 0.4]))
    assert found is not None
    assert found.seen.step == 15


def test_a_point_is_the_mean_over_prompts() -> None:
    group = Group("2 + 2?", ["4", "five"], id="a")
    one = Judged.of(ScoredGroup(group=group, rewards=(1.0, 2.0), right=(True, False), unfinished=frozenset({1})))
    assert one == Judged(reward=1.5, length=2.5, unfinished=0.5, right=0.5)
    point = Point.of(3, [one, Judged(reward=0.5, length=1.5, unfinished=0.0, right=None)])
    assert (point.prompts, point.reward, point.length, point.unfinished, point.accuracy) == (2, 1.0, 2.0, 0.25, 0.5)
    assert point.accuracy_interval == wilson_interval(0.5, 1)
    with pytest.raises(ValueError, match="the mean of nothing"):
        Point.of(3, [])


def test_a_course_comes_back_from_a_log_and_from_a_file(tmp_path: Path) -> None:
    points = course([0, 1], [0.5, None])
    log = [
        {f"eval_{name}": value for name, value in point.figures().items()} | {"step": point.step} for point in points
    ]
    assert course_of([{"loss": 1.0, "step": 1}, *log, log[0]]) == points
    write_course(tmp_path / "course.json", points)
    read = read_course(tmp_path / "course.json")
    assert [entry["accuracy"] for entry in read] == [0.5, None]
    assert read_course(tmp_path / "none.json") == []


def test_controls_stand_in_place_of_a_reward_model() -> None:
    groups = [Group("2 + 2?", ["4", "5", "4"], id="a"), Group("3 + 3?", ["6", "4"], id="b")]
    chance = RandomReward(0).score(groups)
    assert chance[0].rewards[0] == chance[0].rewards[2] != chance[1].rewards[1]
    assert chance != RandomReward(1).score(groups)
    truth = OracleReward(KeyGold({"a": "4"})).score(groups)
    assert [reward.rewards for reward in truth] == [(1.0, 0.0, 1.0), (0.0, 0.0)]
    assert [reward.id for reward in truth] == ["a", "b"]
