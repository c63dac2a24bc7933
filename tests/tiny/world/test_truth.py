"""Right answers are true and wrong ones false, by an oracle that reads scenes and sentences."""

from __future__ import annotations

import pytest

from vlreward.tiny.world import FAMILIES, SPLITS, Item, Wrong
from vlreward.tiny.world.combinations import Pair, Split
from vlreward.tiny.world.draft import Draft
from vlreward.tiny.world.oracle import is_right
from vlreward.tiny.world.scenes import (
    Bar,
    Chart,
    Dice,
    Die,
    Grid,
    Pie,
    Scene,
    Shapes,
    Sign,
    Spot,
    Street,
    Table,
    TableThing,
    Thing,
)
from vlreward.types import Message

from .reading import drafts, scenes_of, words_of


def question(family: str, text: str, *scenes: Scene) -> Item:
    """An item with nothing but a question about scenes."""
    nothing = (Message("assistant", ""),)
    wrong = (Wrong(nothing, "word"),)
    return Item("item", family, FAMILIES[family].task, (Message("user", text),), nothing, wrong, None, scenes)


def judged(family: str, draft: Draft) -> list[bool]:
    """The oracle's word on the right answer and on each wrong one."""
    item = question(family, words_of(draft.prompt), *scenes_of(draft.prompt))
    answers = [draft.right, *(answer for answer, _ in draft.wrong)]
    return [is_right(item, next(iter(scenes_of(answer)), words_of(answer))) for answer in answers]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_right_answers_are_true_and_wrong_ones_are_not(family: str, split: Split) -> None:
    for draft in drafts(family, split, 700):
        assert len(draft.wrong) >= 3
        assert judged(family, draft) == [True, *[False] * len(draft.wrong)], draft


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_many_right_answers_are_true_and_wrong_ones_are_not(family: str, split: Split) -> None:
    for draft in drafts(family, split, 5000, seed=77):
        assert len(draft.wrong) >= 3
        assert judged(family, draft) == [True, *[False] * len(draft.wrong)], draft


RED_STAR, BLUE_STAR, BLUE_MOON = Pair("red", "star"), Pair("blue", "star"), Pair("blue", "moon")
TWO = Shapes(0, (Thing(RED_STAR, 30, 56, 40), Thing(BLUE_MOON, 80, 60, 20)))
THREE = Shapes(0, (Thing(RED_STAR, 20, 20), Thing(RED_STAR, 56, 56), Thing(BLUE_STAR, 90, 90)))
CHART = Chart(0, (Bar("red", 5), Bar("blue", 2), Bar("pink", 1)))
DICE = Dice(0, (Die("red", 4, 30, 56, 0), Die("blue", 3, 80, 56, 0)))
STREET = Street(0, (Spot("left", "house", "red"), Spot("sky right", "sun")))
BALL, BLOCK = Pair("red", "ball"), Pair("blue", "block")
TABLE = Table(0, (TableThing(BALL, 30, 92), TableThing(BLOCK, 80, 92)))
STACKED = Table(0, (TableThing(BALL, 80, 70), TableThing(BLOCK, 80, 92)))


@pytest.mark.parametrize(
    ("family", "asked", "scenes", "right", "wrong"),
    [
        (
            "captions", "describe the picture.", (TWO,),
            ("a red star.", "a big red star is left of a small blue moon.", "there is one blue moon."),
            ("a blue star.", "two red stars.", "a small red star.", "a red star above a blue moon.", "hello.", ""),
        ),
        ("captions", "what do you see?", (THREE,), ("2 red stars and a blue star.",), ("a red star.", "three stars.")),
        ("counting", "how many stars are there?", (THREE,), ("three.", "there are 3 stars."), ("2.", "none.", "many.")),
        ("counting", "how many moons are there?", (THREE,), ("none.", "i see no moons."), ("1.", "one moon.")),
        (
            "counting", "count the stars of each colour.", (THREE,),
            ("3 stars: two red and one blue.",),
            ("3 stars: one red and two blue.", "3 stars: two red.", "two red and one blue."),
        ),
        (
            "relations", "where is the red star, seen from the blue moon?", (TWO,),
            ("left of it.", "the red star is to the left of the blue moon."),
            ("right of it.", "the blue moon is left of the red star.", "yes, it is left of it."),
        ),
        (
            "relations", "is the red star above the blue moon?", (TWO,),
            ("no, it is left of the blue moon.",),
            ("yes, it is above the blue moon.", "no, it is below the blue moon.", "yes, it is left of it.", "no."),
        ),
        ("relations", "what is at the top left?", (THREE,), (), ("a red star.",)),
        ("signs", "read the sign.", (Sign(0, "CAKE"),), ("it says CAKE.", "CAKE"), ("LAKE.", "CAKE or LAKE", "cake")),
        ("signs", "what is the last letter on the sign?", (Sign(0, "CAT"),), ("T.",), ("C.", "CAT.")),
        ("charts", "how tall is the red bar?", (CHART,), ("five.", "the red bar is 5."), ("4.", "the blue bar is 5.")),
        (
            "charts", "name the tallest bar.", (CHART,),
            ("red.", "the red bar, with a value of 5."), ("blue.", "the red bar is the tallest, at 4.", "green."),
        ),
        (
            "charts", "red bar minus blue bar: what is the result?", (CHART,),
            ("3.", "the red bar is 5 and the blue bar is 2, so the difference is 3."),
            ("7.", "the red bar is 4 and the blue bar is 1, so the difference is 3.", "5 - 1 = 3."),
        ),
        (
            "reasoning", "what is the sum of the dice?", (DICE,),
            ("7.", "4 + 3 = 7.", "the sum is 7: 3 on the blue die and 4 on the red die."),
            ("8.", "5 + 2 = 7.", "the sum is 7: 4 on the blue die and 3 on the red die."),
        ),
        (
            "reasoning", "are there more red shapes or more blue shapes?", (THREE,),
            ("more red shapes: 2 red and 1 blue.",), ("more red shapes: 3 red and 1 blue.", "2 red, 1 blue: blue."),
        ),
        (
            "accessibility", "i cannot see. what is here?", (STREET,),
            ("a red house on the left and the sun up on the right.",
             "in the sky on the right: the sun. on the left: a red house."),
            ("a red house on the left.", "a red house on the left, the sun up on the right and a tree in the middle.",
             "a blue house on the left and the sun up on the right.",
             "a red house on the left and the sun up on the left."),
        ),
        (
            "robotics", "the command was: put the red ball on the blue block. was it done?", (TABLE, STACKED),
            ("yes, the red ball is on the blue block now.",),
            ("no, the red ball is on the blue block now.", "yes.", "no, nothing has moved.",
             "yes, the blue block is on the red ball now."),
        ),
        (
            "robotics", "the command was: lift the red ball. was it done?", (TABLE, TABLE),
            ("no, nothing has moved.",), ("yes, the red ball is in the gripper.", "yes, nothing has moved."),
        ),
        (
            "education", '"2 rows, 3 dots in a row, 2 x 3 = 6." says a pupil.', (Grid("red", 2, 4),),
            ("look again: each row has 4 dots, not 3.", "almost! i see 4 dots in a row, so the answer is 2 x 4 = 8."),
            ("well done, that is right.", "look again: there are 3 rows, not 2.",
             "each row has 5 dots, not 3. try again."),
        ),
        (
            "education", '"filled 1, parts 4, 1/4." says a pupil.', (Pie("red", 1, 4, 0),),
            ("that is right: 1/4.", "well done, that is right."),
            ("look again: the circle has 5 parts, not 4.", "good."),
        ),
        ("text", "what is 3 + 4?", (), ("7.", "3 + 4 = 7."), ("8.", "3 + 4 = 8.", "3 x 4 = 12.", "4 + 3 = 9.")),
        ("text", "what is the opposite of hot?", (), ("cold.", "the opposite of hot is cold."), ("hot.", "wet.")),
        ("text", "ann is taller than ben. ben is taller than dan. who is tallest?", (), ("ann.",), ("dan.", "ida.")),
    ],
)  # fmt: skip
def test_the_oracle_on_answers_written_by_hand(
    family: str, asked: str, scenes: tuple[Scene, ...], right: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    item = question(family, asked, *scenes)
    assert [text for text in right if not is_right(item, text)] == []
    assert [text for text in wrong if is_right(item, text)] == []


@pytest.mark.parametrize(
    ("instruction", "after", "right"),
    [
        ("make the red star blue.", Shapes(0, (Thing(BLUE_STAR, 32, 32), Thing(BLUE_MOON, 80, 80))), True),
        ("make the red star blue.", Shapes(0, (Thing(BLUE_STAR, 32, 32),)), False),
        ("make the red star pink.", Shapes(0, (Thing(BLUE_STAR, 32, 32), Thing(BLUE_MOON, 80, 80))), False),
        ("take the red star away.", Shapes(0, (Thing(BLUE_MOON, 80, 80),)), True),
        ("take the red star away.", Shapes(0, (Thing(RED_STAR, 32, 32),)), False),
        ("move the red star to the top right.", Shapes(0, (Thing(RED_STAR, 80, 32), Thing(BLUE_MOON, 80, 80))), True),
        ("move the red star to the top right.", Shapes(0, (Thing(RED_STAR, 32, 80), Thing(BLUE_MOON, 80, 80))), False),
    ],
)
def test_the_oracle_on_edits_made_by_hand(instruction: str, after: Shapes, right: bool) -> None:
    before = Shapes(0, (Thing(RED_STAR, 32, 32), Thing(BLUE_MOON, 80, 80)))
    item = question("editing", instruction, before)
    assert is_right(item, after) == right
    assert not is_right(item, before)


@pytest.mark.parametrize("family", ["counting", "relations", "signs", "charts", "reasoning", "robotics"])
def test_keys_are_what_right_answers_say(family: str) -> None:
    for draft in drafts(family, "train", 300):
        assert draft.key
        keys = {draft.key, "none", "no"} if draft.key == "0" else {draft.key}
        spelled = {"1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "6": "six", "7": "seven"}
        spelled |= {"8": "eight", "9": "nine", "10": "ten", "11": "eleven", "12": "twelve", "0": "zero"}
        keys |= {spelled[key] for key in keys if key in spelled}
        assert any(key in words_of(draft.right) for key in keys), draft
