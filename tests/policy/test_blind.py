"""Answers that end without the picture: where they are cut, what is asked, and which become pairs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlreward import Group
from vlreward.errors import ConfigError, InputError
from vlreward.policy import blind as room
from vlreward.policy.answers import right_answers
from vlreward.policy.blind import BlindSettings, answers_to_cut, beginning, blind_prompt, cut_group
from vlreward.policy.pairs import ALL_RIGHT, UNBALANCED, PairSettings, ScoredGroup, build_pairs
from vlreward.policy.prompts import scan_cut

ANSWERS = ["A red circle.", "A green circle, as I see it.", "A blue circle."]


def asked(*parts: Any) -> list[dict[str, Any]]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return [{"role": "user", "content": content}]


SEEN = asked({"type": "image", "image": "circle.png"}, "What is it?")


def scored(*rewards: float, key: str | None = None, id: str = "g", unfinished: tuple[int, ...] = ()) -> ScoredGroup:
    group = Group(SEEN, ANSWERS[: len(rewards)], id=id, task="colours")
    item = ScoredGroup(group=group, rewards=rewards, unfinished=frozenset(unfinished))
    return item.judged(None if key is None else lambda group: right_answers(group, key))


def continued(id: str, *texts: str) -> Group:
    return Group(SEEN, texts, id=id)


@pytest.mark.parametrize(
    ("answer", "keep", "expected"),
    [
        ("A red circle is there.", 0.5, "A red"),
        ("A red circle is there.", 0.6, "A red circle"),
        ("A red circle is there.", 0.0, ""),
        ("Yes", 0.5, ""),
        ("", 0.5, ""),
        ("It is.\n\nBecause so", 0.5, "It is."),
        ("图中有一只猫在桌子上", 0.5, "图中有一只"),
        ("一共有 three cats", 0.4, "一共有"),
    ],
)
def test_where_an_answer_is_cut(answer: str, keep: float, expected: str) -> None:
    assert beginning(answer, keep) == expected


@given(st.text(max_size=40), st.floats(0, 0.99))
def test_a_cut_keeps_whole_words_and_never_more_than_its_share(answer: str, keep: float) -> None:
    kept = beginning(answer, keep)
    assert answer.startswith(kept)
    assert len(kept) <= keep * len(answer)
    assert kept == kept.rstrip()


def test_the_best_answers_are_cut() -> None:
    one, two = BlindSettings(), BlindSettings(per_prompt=2)
    assert answers_to_cut(scored(1.0, 3.0, 2.0), one) == [1]
    assert answers_to_cut(scored(1.0, 3.0, 2.0), two) == [1, 2]
    assert answers_to_cut(scored(1.0, 3.0, 2.0, unfinished=(1,)), one) == [2]
    assert answers_to_cut(scored(1.0, 3.0, 2.0, key="a red circle"), two) == [0]
    assert answers_to_cut(scored(1.0, 3.0, 2.0, key="a cat"), one) == room.NONE_RIGHT
    blank = ScoredGroup(group=Group("What?", ["A"]), rewards=(1.0,))
    assert answers_to_cut(blank, one) == room.NO_PICTURE
    drawn = ScoredGroup(group=Group(SEEN, [[{"type": "image", "image": "a.png"}]]), rewards=(1.0,))
    assert answers_to_cut(drawn, one) == room.NOT_TEXT


def test_the_policy_is_not_shown_the_picture() -> None:
    cut = cut_group(scored(1.0, 2.0).group, 1)
    prompt = blind_prompt(cut, 0.5)
    assert (prompt.id, prompt.task, prompt.beginning) == ("g/1", "colours", "A green")
    assert prompt.messages == Group(asked("What is it?"), ["?"]).messages
    assert len(cut.messages[0].content) == 2


def test_only_what_can_be_cut_is_read() -> None:
    items = [scored(1.0, id="a"), scored(1.0, id="b", unfinished=(0,)), scored(2.0, 1.0, id="c")]
    settings = BlindSettings(per_prompt=2)
    assert [row.content.id for row in scan_cut(items, settings) if isinstance(row.content, Group)] == [
        "a/0",
        "c/0",
        "c/1",
    ]
    with pytest.raises(InputError, match=f"no answer to cut; groups: 1 with {room.NONE_RIGHT}"):
        list(scan_cut(items[1:2], settings))


def test_what_was_written_blindly_is_rejected() -> None:
    items = [scored(1.0, 2.0, id="a"), scored(2.0, 2.0, id="b"), scored(1.0, 2.0, id="c")]
    blind = [continued("a/1", "A green square."), continued("b/0", " a red  circle", "A red fox.")]
    pairs, report = build_pairs(items, PairSettings(), blind)
    found = {str(pair.ranking.group.id): pair for pair in pairs}
    assert list(found) == ["a/1-0", "a/1-blind", "b/0-blind", "c/1-0"]
    made = found["b/0-blind"]
    chosen, rejected = made.ranking.group.responses
    assert (str(chosen[0].content), str(rejected[0].content)) == ("A red circle.", "A red fox.")
    assert made.ranking.group.messages == items[1].group.messages
    assert (made.ranking.margin, made.difference, made.lengths, made.blind) == (None, None, (13, 10), True)
    assert report.blind == room.BlindReport(cut=2, made=2, dropped={})
    # What has a pair of any kind is used, and what is not known does not count.
    assert (report.pairs, report.used, report.dropped, report.difference) == (4, 3, {}, 1.0)
    assert json.loads(json.dumps(report.to_dict()))["blind"] == {"cut": 2, "made": 2, "dropped": {}}


def test_what_teaches_nothing_is_counted() -> None:
    key = "a red circle"
    items = [scored(2.0, 1.0, id=name, key=key) for name in "abc"] + [scored(2.0, id="d", key=key)]
    blind = [
        continued("a/0", "**A red circle**", "Answer: a red circle"),
        continued("b/0", "Answer: a red circle"),
        continued("c/1", "A green fox."),
        continued("d/0", "A red fox."),
    ]
    pairs, report = build_pairs(items, PairSettings(), blind)
    assert [pair.ranking.group.id for pair in pairs if pair.blind] == ["d/0-blind"]
    assert report.blind == room.BlindReport(cut=4, made=1, dropped={room.SAME: 1, room.RIGHT: 1, room.NOT_CHOSEN: 1})
    assert (report.by_key, report.key_and_reward_agree, report.used, report.dropped) == (3, 1.0, 4, {})
    _, without = build_pairs(items, PairSettings())
    assert (without.dropped, without.blind) == ({"all answers the same": 1}, None)
    right = [scored(2.0, key=key), scored(1.0, key=key)]
    assert build_pairs([right[0]], PairSettings(), [continued("g/0", "A cat")])[1].used == 1
    assert ALL_RIGHT not in build_pairs([right[1]], PairSettings(), [])[1].dropped


def test_what_has_no_difference_is_left_out_first_for_the_balance() -> None:
    items = [scored(1.0, 2.0, id="a"), scored(2.0, 1.0, id="b")]
    blind = [continued("a/1", "A green fox."), continued("b/0", "A red fox that runs.")]
    pairs, report = build_pairs([*items, scored(1.0, id="c")], PairSettings(length_balance=0.0), blind)
    assert [pair.ranking.group.id for pair in pairs] == ["a/1-0", "a/1-blind", "b/0-1", "b/0-blind"]
    pairs, report = build_pairs(items, PairSettings(length_balance=0.0), blind[:1])
    assert [pair.ranking.group.id for pair in pairs] == ["a/1-0", "b/0-1"]
    assert report.left_out == {UNBALANCED: 1}


def test_continuations_of_other_answers_are_refused() -> None:
    for id in ("h/0", "g/0/1", "none"):
        with pytest.raises(InputError, match=f"a continuation of '{id}', which is none of the answers"):
            build_pairs([scored(1.0, 2.0)], PairSettings(), [continued(id, "A cat")])
    for id in ("g/2", "g/x"):
        with pytest.raises(InputError, match=r"group .g.: no answer .+, which was cut"):
            build_pairs([scored(1.0, 2.0)], PairSettings(), [continued(id, "A cat")])
    with pytest.raises(ConfigError, match="have not been cut and gone on with"):
        build_pairs([scored(1.0, 2.0)], PairSettings(blind=BlindSettings()))
    for wrong in ({"keep": 1.0}, {"keep": -0.1}, {"per_prompt": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            BlindSettings(**wrong)
