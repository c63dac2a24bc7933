"""Inventories name what their picture shows, all of it, in order."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from vlreward.errors import ConfigError
from vlreward.tiny.world import SPLITS, Split, World
from vlreward.tiny.world.chance import Chance
from vlreward.tiny.world.combinations import (
    CHART_SIZES,
    COLOURS,
    LESSON_CHARTS,
    SHAPES,
    STREET_NOUNS,
    Pair,
    is_heldout_pair,
)
from vlreward.tiny.world.inventory import ANY_ORDER, KINDS, QUESTION, hue, kinds, lesson, mistold, things, told
from vlreward.tiny.world.mistakes import mistakes
from vlreward.tiny.world.oracle.reading import pairs_in
from vlreward.tiny.world.paint import render
from vlreward.tiny.world.paint.palette import FILLS, named, turned, turned_picture
from vlreward.tiny.world.scenes import Chart, Container, Scene, Shapes, Sign, Spot, Street, Table, TableThing, Thing
from vlreward.tiny.world.words import WORDS, is_heldout_group, may_be_read
from vlreward.types import Image, Message, Text

RED, BLUE, CUP = Pair("red", "circle"), Pair("blue", "star"), Pair("red", "cup")


class Keep(Chance):
    """Leaves everything in the picture."""

    def coin(self, probability: float = 0.5) -> bool:
        return False

    def whole(self, low: int, high: int) -> int:
        return high


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (
            Shapes(0, (Thing(BLUE, 90, 20, 40), Thing(RED, 20, 20, 21))),
            "top left a small red circle, top right a big blue star.",
        ),
        (Shapes(0, (Thing(BLUE, 56, 56), Thing(RED, 20, 91))), "middle a blue star, bottom left a red circle."),
        (Sign(0, "VINE"), "it says VINE."),
        (Street(0, (Spot("sky left", "sun"), Spot("left", "house", "red"))), "left a red house, sky left the sun."),
        (
            Table(0, (TableThing(CUP, 60, 84, inside="box"),), (Container("box", 60), Container("bowl", 20))),
            "a bowl, a red cup in the box, a box.",
        ),
    ],
)
def test_what_is_named(scene: Scene, expected: str) -> None:
    assert told(lesson(Keep("any"), scene, "train")) == expected


@pytest.mark.parametrize("split", SPLITS)
def test_shapes_are_named_once_each_and_stay_in_their_split(split: Split) -> None:
    world, sizes = World(3, split, ["captions", "counting", "relations", "reasoning"]), Counter[int]()
    for index in range(200):
        draft, _ = world._draft(index)
        scene = draft.prompt[0]
        if not isinstance(scene, Shapes):
            continue
        shown = lesson(Chance("x", index), scene, split)
        text = told(shown)
        assert isinstance(shown, Shapes)
        assert set(shown.things) <= set(scene.things)
        assert Counter(pairs_in(text)) == Counter(thing.pair for thing in shown.things)
        assert all(is_heldout_pair(pair) == (split == "heldout") for pair in pairs_in(text))
        sizes[len(shown.things)] += 1
    assert sizes[1] > 0.25 * sizes.total()
    assert max(sizes) > 3


def test_letters_and_bars_of_lessons_are_many_and_nothing_held_out() -> None:
    world, lengths, bars = World(4, "train", ["signs", "charts"]), Counter[int](), Counter[int]()
    for index in range(400):
        scene = world._draft(index)[0].prompt[0]
        assert isinstance(scene, (Sign, Chart))
        shown = lesson(Chance("y", index), scene, "train")
        if isinstance(shown, Sign):
            assert told(shown) == f"it says {shown.word}."
            assert shown.word not in WORDS["heldout"]
            assert len(shown.word) < 3 or shown.word in WORDS["train"] or not is_heldout_group(shown.word)
            lengths[len(shown.word)] += 1
        elif isinstance(shown, Chart):
            assert len({bar.colour for bar in shown.bars}) == len(shown.bars)
            bars[len(shown.bars)] += 1
    assert set(lengths) == {1, 2, 3, 4, 5}
    assert set(bars) == set(LESSON_CHARTS)
    assert not set(LESSON_CHARTS) & set(CHART_SIZES["heldout"])


@pytest.mark.parametrize("family", ["signs", "charts"])
def test_held_out_lessons_show_what_tasks_show(family: str) -> None:
    world = World(4, "heldout", [family])
    for index in range(20):
        scene = world._draft(index)[0].prompt[0]
        assert not isinstance(scene, (str, Shapes))
        assert lesson(Chance("y", index), scene, "heldout") == scene


STREET = Street(0, (Spot("sky left", "balloon", "red"), Spot("left", "tree"), Spot("right", "car", "blue")))


def test_kinds_are_named_without_their_colours_and_mistaken_for_others_of_their_place() -> None:
    shown = things(STREET)
    right, *wrong = kinds(Chance("k"), shown, 3)
    assert right == "tree, car, balloon."
    assert len(wrong) == 3
    for text in wrong:
        ground, other, above = text.rstrip(".").split(", ")
        assert ground == "tree"
        assert other in STREET_NOUNS[:5]
        assert above in ("balloon", "kite")
    assert kinds(Chance("k"), [(None, "tree")], 3) == ["tree."]
    assert things(Sign(0, "VINE")) == []


@pytest.mark.parametrize("nouns", [SHAPES, STREET_NOUNS])
def test_turned_hues_never_look_like_what_is_held_out(nouns: tuple[str, ...]) -> None:
    turns = set()
    for index, noun in enumerate(nouns):
        for colour in COLOURS:
            if is_heldout_pair(Pair(colour, noun), nouns):
                continue
            for seed in range(20):
                degrees = hue(Chance(seed, index, colour), [(colour, noun)])
                assert not is_heldout_pair(Pair(named(turned(FILLS[colour], degrees)), noun), nouns)
                turns.add(degrees)
    assert len(turns) > 100


def test_a_turned_picture_has_the_turned_colours() -> None:
    picture = turned_picture(render(Shapes(0, (Thing(RED, 56, 56, 40),))), 120)
    shown = picture.getpixel((56, 56))
    assert isinstance(shown, tuple)
    assert max(abs(a - b) for a, b in zip(shown, turned(FILLS["red"], 120), strict=True)) < 25
    assert turned(FILLS["red"], 0) == FILLS["red"]


def told_by(world: World, index: int, n_wrong: int = 0) -> tuple[Message, list[str]]:
    group = world.inventory(index, n_wrong).group
    (question,) = group.messages
    return question, [str(answer.content) for (answer,) in group.responses]


def test_practice_tells_kinds_beside_everything() -> None:
    world, asked = World(3, "practice", ["captions", "accessibility"]), Counter[str]()
    for index in range(60):
        question, (right, *wrong) = told_by(world, index, 3)
        asked[str(question.parts[-1].text)] += 1  # type: ignore[union-attr]
        if question.parts[-1] == Text(text=KINDS):
            assert not pairs_in(right)
            assert right not in wrong
    assert set(asked) == {KINDS, QUESTION}
    assert min(asked.values()) > 15


def test_a_conversation_about_one_picture() -> None:
    world = World()
    for index in range(33):
        question, (text,) = told_by(world, index)
        again, _ = told_by(world, index)
        if len(question.parts) == 1:
            assert (question, *world.inventory(index).group.responses[0]) == world.item(index).chat()
            continue
        picture, words = question.parts
        assert isinstance(picture, Image)
        assert picture.source.tobytes() == again.parts[0].source.tobytes()  # type: ignore[union-attr]
        assert words == Text(text=QUESTION)
        assert re.fullmatch(r"[a-zA-Z0-9, ]+\.", text)
    with pytest.raises(ConfigError, match="numbered from 0"):
        world.inventory(-1)


def test_any_order_says_the_same_and_mistakes_keep_to_it() -> None:
    world = World(5, families=["charts", "captions"])
    moved = 0
    for index in range(40):
        fixed, shuffled = (world.inventory(index, 3, shuffled=value).group for value in (False, True))
        picture, words = shuffled.messages[0].parts
        assert words == Text(text=ANY_ORDER)
        assert picture.source.tobytes() == fixed.messages[0].parts[0].source.tobytes()  # type: ignore[union-attr]
        (right, *_), (other, *wrong) = ([str(a.content).rstrip(".") for (a,) in g.responses] for g in (fixed, shuffled))
        assert sorted(right.split(", ")) == sorted(other.split(", "))
        assert other not in wrong
        assert len(wrong) == 3
        moved += right != other
        if world.item(index).family == "charts" and " " in other:  # a mistaken value stays where it is
            assert any(sum(a != b for a, b in zip(other.split(", "), w.split(", "), strict=True)) == 1 for w in wrong)
    assert moved > 15


@pytest.mark.parametrize("split", SPLITS)
def test_mistakes_are_told_as_anything_is_and_stay_in_their_split(split: Split) -> None:
    world = World(5, split)
    changed = Counter[bool]()
    for index in range(220):
        ranking = world.inventory(index, 3)
        _, (right, *wrong) = told_by(world, index, 3)
        assert ranking.ranks == (0, *[1] * len(wrong))
        assert right not in wrong
        assert len(set(wrong)) == len(wrong)
        changed[bool(wrong)] += 1
        if len(ranking.group.messages[0].parts) == 1:
            continue
        assert told_by(world, index)[1] == [right]
        for text in wrong:
            assert re.sub(r"\w", "", text).count(".") == 1
            assert all(is_heldout_pair(pair) == (split == "heldout") for pair in pairs_in(text))
            if split == "train" and text.startswith("it says "):
                assert may_be_read(text.removeprefix("it says ").removesuffix("."))
    assert changed == {True: 220}


def test_a_mistake_is_one_fact() -> None:
    scene = Shapes(0, (Thing(RED, 18, 18), Thing(BLUE, 90, 90)))
    right = told(scene).rstrip(".").split(", ")
    others = {told(other) for other in mistakes(scene, "train")} - {told(scene)}
    assert len(others) > 20
    for text in others:
        phrases = text.rstrip(".").split(", ")
        assert len(set(phrases) & set(right)) == 1  # the other thing is as it was
    assert set(mistold(Chance("z"), scene, "train", 40)) - others  # some have two mistakes or three
