"""Inventories name what their picture shows, all of it, in order."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from vlreward.errors import ConfigError
from vlreward.tiny.world import SPLITS, Split, World
from vlreward.tiny.world.chance import Chance
from vlreward.tiny.world.combinations import CHART_SIZES, LESSON_CHARTS, Pair, is_heldout_pair
from vlreward.tiny.world.inventory import QUESTION, inventory
from vlreward.tiny.world.oracle.reading import pairs_in
from vlreward.tiny.world.scenes import Chart, Container, Scene, Shapes, Sign, Spot, Street, Table, TableThing, Thing
from vlreward.tiny.world.words import WORDS, is_heldout_group
from vlreward.types import Image, Text

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
    assert inventory(Keep("any"), scene, "train")[1] == expected


@pytest.mark.parametrize("split", SPLITS)
def test_shapes_are_named_once_each_and_stay_in_their_split(split: Split) -> None:
    world, sizes = World(3, split, ["captions", "counting", "relations", "reasoning"]), Counter[int]()
    for index in range(200):
        draft, _ = world._draft(index)
        scene = draft.prompt[0]
        if not isinstance(scene, Shapes):
            continue
        shown, text = inventory(Chance("x", index), scene, split)
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
        shown, text = inventory(Chance("y", index), scene, "train")
        if isinstance(shown, Sign):
            assert text == f"it says {shown.word}."
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
        assert inventory(Chance("y", index), scene, "heldout")[0] == scene


def test_a_conversation_about_one_picture() -> None:
    world = World()
    for index in range(33):
        user, assistant = world.inventory(index)
        again, _ = world.inventory(index)
        if len(user.parts) == 1:
            assert (user, assistant) == world.item(index).chat()
            continue
        picture, question = user.parts
        assert isinstance(picture, Image)
        assert picture.source.tobytes() == again.parts[0].source.tobytes()  # type: ignore[union-attr]
        assert question == Text(text=QUESTION)
        assert re.fullmatch(r"[a-zA-Z0-9, ]+\.", assistant.parts[0].text)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="numbered from 0"):
        world.inventory(-1)
