"""Pairs of scored answers: which, in which order, and what is said of the others."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlreward import Group
from vlreward.data.rankings import read_rankings
from vlreward.errors import ConfigError, InputError
from vlreward.policy import pairs as room
from vlreward.policy.pairs import BuiltPair, PairSettings, ScoredGroup, build_pairs, write_pairs

ANSWERS = ["red", "green or so", "blue", "black, as I see it", "white"]


def scored(
    *rewards: float, right: str | None = None, id: str | None = "g", unfinished: tuple[int, ...] = ()
) -> ScoredGroup:
    """Answers with these rewards; ``right`` says which of them are right, as ``+`` and ``-``."""
    group = Group("Which colour?", ANSWERS[: len(rewards)], id=id)
    marks = None if right is None else tuple(mark == "+" for mark in right)
    return ScoredGroup(group=group, rewards=rewards, right=marks, unfinished=frozenset(unfinished))


def said(pairs: list[BuiltPair]) -> list[tuple[str, str]]:
    return [tuple(str(r[0].content) for r in pair.ranking.group.responses) for pair in pairs]  # type: ignore[misc]


def test_the_best_against_the_worst() -> None:
    pairs, report = build_pairs([scored(1.0, 3.0, -2.0)], PairSettings())
    assert said(pairs) == [("green or so", "blue")]
    (pair,) = pairs
    assert (pair.ranking.ranks, pair.ranking.margin, pair.lengths) == ((0, 1), 5.0, (11, 4))
    assert pair.ranking.group.id == "g/1-2"
    assert (report.groups, report.used, report.pairs, report.difference) == (1, 1, 1, 5.0)
    assert (report.chosen_length, report.rejected_length, report.length_bias.longer_better) == (11.0, 4.0, 1.0)


def test_the_best_few_against_the_worst_few() -> None:
    settings = PairSettings(top=2, bottom=2)
    pairs, _ = build_pairs([scored(5.0, 4.0, 3.0, 2.0, 1.0)], settings)
    assert said(pairs) == [
        ("red", "white"),
        ("red", "black, as I see it"),
        ("green or so", "white"),
        ("green or so", "black, as I see it"),
    ]
    pairs, report = build_pairs([scored(5.0, 4.0, 3.0, 2.0, 1.0)], PairSettings(top=2, bottom=2, per_prompt=3))
    assert len(pairs) == 3
    assert report.left_out == {room.OVER_CAP: 1}
    # Of three answers, the middle one is among the best and among the worst; no answer is paired with itself.
    pairs, _ = build_pairs([scored(3.0, 2.0, 1.0)], settings)
    assert said(pairs) == [("red", "blue"), ("red", "green or so"), ("green or so", "blue")]


def test_rewards_closer_than_the_margin_make_no_pair() -> None:
    pairs, report = build_pairs([scored(1.0, 0.8), scored(2.0, 0.0), scored(1.0, 1.0)], PairSettings(margin=0.5))
    assert [pair.difference for pair in pairs] == [2.0]
    assert report.dropped == {room.BELOW_MARGIN: 2}
    assert report.left_out == {room.BELOW_MARGIN: 1}


def test_the_key_goes_before_the_reward() -> None:
    pairs, report = build_pairs([scored(3.0, 1.0, 2.0, 0.0, right="-+-+")], PairSettings(margin=9.0))
    assert said(pairs) == [("green or so", "blue")]  # the better of the right ones, the worse of the wrong ones
    assert (pairs[0].difference, pairs[0].ranking.margin, pairs[0].by_key) == (-1.0, None, True)
    assert (report.with_key, report.by_key, report.key_and_reward_agree) == (1, 1, 0.0)


def test_groups_without_a_usable_pair_are_counted() -> None:
    same = ScoredGroup(group=Group("Hi", ["A", "A"]), rewards=(1.0, 2.0))
    items = [
        scored(1.0, 2.0, right="++"),
        scored(1.0, 2.0, right="--"),
        same,
        scored(1.0, 2.0, right="+-", unfinished=(0,)),
        scored(1.0),
    ]
    pairs, report = build_pairs(items, PairSettings())
    assert pairs == []
    assert report.dropped == {room.ALL_RIGHT: 1, room.ALL_WRONG: 1, room.ONE_ANSWER: 2, room.UNFINISHED: 1}
    assert (report.groups, report.used, report.difference) == (5, 0, None)
    json.dumps(report.to_dict())


def test_unfinished_answers_are_rejected_and_never_chosen() -> None:
    pairs, _ = build_pairs([scored(3.0, 2.0, 1.0, unfinished=(0, 2))], PairSettings())
    assert said(pairs) == [("green or so", "blue")]


def test_equal_answers_count_once() -> None:
    group = Group("Hi", ["A", "B", "A", "C"])
    pairs, _ = build_pairs([ScoredGroup(group=group, rewards=(1.0, 2.0, 1.0, 3.0))], PairSettings(top=3, bottom=3))
    assert said(pairs) == [("C", "A"), ("C", "B"), ("B", "A")]


def test_the_surest_stay() -> None:
    items = [scored(0.0, float(i), id=f"g{i}") for i in (3, 1, 4, 2)]
    pairs, report = build_pairs(items, PairSettings(surest=0.5))
    assert [str(pair.ranking.group.id) for pair in pairs] == ["g3/1-0", "g4/1-0"]
    assert report.left_out == {room.UNSURE: 2}
    assert len(build_pairs(items, PairSettings(surest=0.1))[0]) == 1, "never none at all"
    assert len(build_pairs(items, PairSettings(surest=1.0))[0]) == 4
    equal = [scored(0.0, 1.0, id=str(i)) for i in range(4)]
    assert len(build_pairs(equal, PairSettings(surest=0.5))[0]) == 4, "an oracle is sure of all that it chooses"
    known = [scored(-5.0, 2.0, right="+-", id="known"), *items]
    pairs, report = build_pairs(known, PairSettings(surest=0.5))
    assert [str(pair.ranking.group.id) for pair in pairs] == ["known/0-1", "g3/1-0", "g4/1-0"]
    assert report.left_out == {room.UNSURE: 2}


def test_the_lengths_are_balanced_by_leaving_out_the_least_certain() -> None:
    longer = [scored(0.0, 1.0 + i, id=f"l{i}") for i in range(6)]  # "green or so" wins
    shorter = [scored(1.0, 0.0, id=f"s{i}") for i in range(2)]
    pairs, report = build_pairs([*longer, *shorter], PairSettings(length_balance=0.1))
    assert [str(pair.ranking.group.id) for pair in pairs] == ["l3/1-0", "l4/1-0", "l5/1-0", "s0/0-1", "s1/0-1"]
    assert report.left_out == {room.UNBALANCED: 3}
    assert report.length_bias.longer_better == 0.6
    pairs, _ = build_pairs([*shorter, *longer][:3], PairSettings(length_balance=0.0))
    assert [str(pair.ranking.group.id) for pair in pairs] == ["s0/0-1", "l0/1-0"]


@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=5), max_size=6),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2),
)
def test_whatever_comes_chosen_answers_are_better_and_everything_is_counted(
    rewards: list[list[int]], top: int, bottom: int, margin: int
) -> None:
    items = [scored(*map(float, row), id=str(i)) for i, row in enumerate(rewards)]
    settings = PairSettings(top=top, bottom=bottom, margin=margin, per_prompt=2)
    pairs, report = build_pairs(items, settings)
    assert report.used + sum(report.dropped.values()) == report.groups == len(items)
    assert all(pair.difference > 0 and pair.difference >= margin for pair in pairs)
    of_prompt = [str(pair.ranking.group.id).partition("/")[0] for pair in pairs]
    assert all(of_prompt.count(name) <= 2 for name in of_prompt)
    assert len({pair.ranking.group.id for pair in pairs}) == len(pairs)
    assert pairs == build_pairs(items, settings)[0]


def test_the_order_of_answers_does_not_matter_where_rewards_differ() -> None:
    values = {answer: float(i) for i, answer in enumerate(ANSWERS)}
    seen = set()
    for seed in range(5):
        answers = random.Random(seed).sample(ANSWERS, len(ANSWERS))
        item = ScoredGroup(group=Group("?", answers), rewards=tuple(values[a] for a in answers))
        seen.add(tuple(said(build_pairs([item], PairSettings(top=2, bottom=2))[0])))
    assert len(seen) == 1


@pytest.mark.parametrize("format", ["trl", "llamafactory", "ms-swift"])
def test_pairs_are_read_again(tmp_path: Path, format: str) -> None:
    prompt = [{"role": "user", "content": [{"type": "image", "image": "cat.png"}, {"type": "text", "text": "What?"}]}]
    group = Group(prompt, ["A cat.", "A dog."], id="g7", task="captions")
    pairs, _ = build_pairs([ScoredGroup(group=group, rewards=(0.5, -1.0))], PairSettings())
    done = write_pairs(pairs, tmp_path / "pairs.jsonl", format=format)
    assert done.written == 1
    (ranking,) = read_rankings(tmp_path / "pairs.jsonl", format=format)
    assert [str(r[0].content) for r in ranking.group.responses] == ["A cat.", "A dog."]
    assert ranking.margin == 1.5


def test_no_pairs_write_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pairs\.jsonl: no pairs to write"):
        write_pairs([], tmp_path / "pairs.jsonl")
    assert not (tmp_path / "pairs.jsonl").exists()


def test_what_cannot_be_is_refused() -> None:
    for wrong in (
        {"top": 0},
        {"bottom": 0},
        {"per_prompt": 0},
        {"margin": -1.0},
        {"surest": 0.0},
        {"length_balance": 0.5},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            PairSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="group 'g': 2 rewards for 3 answers"):
        ScoredGroup(group=Group("?", ["A", "B", "C"], id="g"), rewards=(1.0, 2.0))


def test_pairs_are_made_without_torch() -> None:
    code = "import sys; import vlreward.policy.pairs, vlreward.policy.answers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
