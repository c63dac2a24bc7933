"""Pictures: what is drawn can be seen, at 112 pixels too, and quickly."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from vlreward.errors import ConfigError
from vlreward.tiny.world import FAMILIES, World, contact_sheet, render
from vlreward.tiny.world.combinations import COLOURS, SHAPES, STREET_NOUNS, Pair
from vlreward.tiny.world.paint import kept
from vlreward.tiny.world.paint.palette import FILLS
from vlreward.tiny.world.scenes import (
    GROUNDS,
    SMALL,
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
from vlreward.tiny.world.sheet import SHOWN
from vlreward.tiny.world.words import WORDS

from .reading import drafts, scenes_of

BALL = Pair("red", "ball")
EACH: list[Scene] = [
    Shapes(0, (Thing(Pair("red", "star"), 50, 50),)),
    Sign(0, "CAKE"),
    Chart(1, (Bar("red", 2), Bar("blue", 5))),
    Dice(2, (Die("green", 3, 30, 50, 8), Die("pink", 6, 80, 60, -4))),
    Grid("purple", 3, 4),
    Pie("orange", 2, 5, 30),
    Street(0, (Spot("left", "house", "red"), Spot("sky left", "sun"))),
    Table(0, (TableThing(BALL, 56, 92),)),
]


def pixels(scene: Scene, size: int = 112) -> np.ndarray:
    return np.asarray(render(scene, size)).astype(int)


@pytest.mark.parametrize("scene", EACH, ids=lambda scene: type(scene).__name__)
@pytest.mark.parametrize("size", [56, 112, 131, 448])
def test_any_size(scene: Scene, size: int) -> None:
    image = render(scene, size)
    assert image.mode == "RGB"
    assert image.size == (size, size)
    image.paste((0, 0, 0), (0, 0, size, size))
    assert np.asarray(render(scene, size)).any(), "drawing on a picture changed what is kept"


def test_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="pictures of 55 pixels are too small"):
        render(EACH[0], 55)


@pytest.mark.parametrize("scene", EACH, ids=lambda scene: type(scene).__name__)
def test_a_scene_is_the_same_at_every_size(scene: Scene) -> None:
    large = render(scene, 448).resize((112, 112), Image.Resampling.BOX)
    assert np.abs(np.asarray(large).astype(int) - pixels(scene)).mean() < 6


@pytest.mark.parametrize("noun", SHAPES)
def test_colours_of_small_shapes_differ(noun: str) -> None:
    """The middle of a small shape has its colour, nearer to it than to any other."""
    for colour, ground in itertools.product(COLOURS, range(GROUNDS)):
        scene = Shapes(ground, (Thing(Pair(colour, noun), 56, 56, SMALL),))
        empty = Shapes(ground, ())
        drawn = pixels(scene)
        changed = np.abs(drawn - pixels(empty)).sum(2) > 60
        inside = np.median(drawn[changed], axis=0)
        nearest = min(COLOURS, key=lambda name: np.abs(inside - np.array(FILLS[name])).sum())
        assert nearest == colour
        assert changed.sum() > 100


def test_small_shapes_differ_in_form() -> None:
    def form(noun: str) -> np.ndarray:
        return pixels(Shapes(0, (Thing(Pair("blue", noun), 56, 56, SMALL),)))

    for one, other in itertools.combinations(SHAPES, 2):
        assert (np.abs(form(one) - form(other)).sum(2) > 90).sum() > 35, (one, other)


def test_things_in_a_street_differ() -> None:
    def street(noun: str, colour: str) -> np.ndarray:
        place = "sky left" if noun in ("balloon", "kite") else "middle"
        return pixels(Street(0, (Spot(place, noun, colour),)))

    for noun in STREET_NOUNS:
        for one, other in itertools.combinations(COLOURS, 2):
            assert (np.abs(street(noun, one) - street(noun, other)).sum(2) > 70).sum() > 70, (noun, one, other)


@pytest.mark.parametrize("style", range(4))
def test_words_fit_on_their_sign(style: int) -> None:
    """Nothing is written in the outermost units, also not the widest letters, and letters are large."""
    for word in (*WORDS["heldout"], "MWMWM", "WOMAN", "III"):
        drawn, other = pixels(Sign(style, word)), pixels(Sign(style, "I"))
        columns = np.flatnonzero((np.abs(drawn - other).sum(2) > 40).any(0))
        assert columns.min() >= 7
        assert columns.max() <= 104
        rows = np.flatnonzero((np.abs(drawn - other).sum(2) > 40).any(1))
        assert len(rows) >= 14 or len(word) > 4


def test_one_letter_makes_a_difference() -> None:
    for one, other in (("CAKE", "LAKE"), ("BOOT", "BOAT"), ("CAT", "CAP"), ("FOG", "FOX"), ("HIP", "HTP")):
        assert (np.abs(pixels(Sign(2, one)) - pixels(Sign(2, other))).sum(2) > 90).sum() > 25


def test_bars_pies_dice_and_dots_show_their_numbers() -> None:
    def distinct(scenes: list[Scene], least: int) -> None:
        for one, other in itertools.pairwise(scenes):
            assert (np.abs(pixels(one) - pixels(other)).sum(2) > 60).sum() > least

    distinct([Chart(0, (Bar("red", value), Bar("blue", 3))) for value in range(1, 7)], 150)
    distinct([Pie("yellow", filled, 6, 0) for filled in range(1, 6)], 300)
    distinct([Dice(0, (Die("yellow", value, 30, 56, 0), Die("red", 1, 80, 56, 0))) for value in range(1, 7)], 40)
    distinct([Grid("yellow", 3, columns) for columns in range(2, 6)], 200)


def test_shapes_stay_inside_and_apart() -> None:
    for family in ("captions", "counting", "relations", "reasoning", "editing"):
        for draft in drafts(family, "train", 300):
            for scene in scenes_of(draft.prompt) + scenes_of(draft.right):
                if not isinstance(scene, Shapes):
                    continue
                assert len(scene.things) <= 6
                for thing in scene.things:
                    assert thing.size >= 20
                    assert thing.size / 2 <= min(thing.x, thing.y) <= max(thing.x, thing.y) <= 112 - thing.size / 2
                for one, other in itertools.combinations(scene.things, 2):
                    apart = max(abs(one.x - other.x), abs(one.y - other.y))
                    assert apart >= 0.92 * (one.size + other.size) / 2, scene


def test_what_is_kept_stays_within_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    store = kept._Store()
    monkeypatch.setattr(kept, "BUDGET", 10 * 400)
    for number in range(50):
        store.put(number, Image.new("RGB", (10, 10)))
        store.put(number, Image.new("RGB", (10, 10)))
    assert len(store._pictures) == 10
    assert store.get(0) is None
    assert store.get(49) is not None
    store.put("large", Image.new("RGB", (100, 100)))
    assert store.get("large") is not None


def test_hundreds_of_items_a_second() -> None:
    """At least 400 a second of processor time are promised for a core of a few years ago; here with room for noise.

    Measured while this was written: about 2,000 once shapes and signs have been drawn, and 100 in the first seconds.
    """
    world = World(12)
    list(world.items(660))

    def rate(start: int) -> float:
        began = time.process_time()
        list(world.items(440, start))
        return 440 / (time.process_time() - began)

    assert max(rate(1000 + 440 * i) for i in range(3)) > 400


def test_a_cold_start_is_quick() -> None:
    code = (
        "import time; from vlreward.tiny.world import World; began = time.process_time(); "
        "list(World(1).items(300)); print(300 / (time.process_time() - began))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(done.stdout) > 30


def test_a_contact_sheet_has_a_card_for_every_family() -> None:
    page = contact_sheet(1)
    assert page.mode == "RGB"
    assert page.width == 2 * (744 + 26) + 26
    assert page.height > 6 * 286
    assert page.tobytes() == contact_sheet(1).tobytes()
    assert set(SHOWN) == set(FAMILIES)
    one = contact_sheet(1, "heldout", ["editing"], columns=1)
    assert one.width == 744 + 52
    for family in FAMILIES:
        assert contact_sheet(3, "train", [family], columns=1).height < 600


def test_a_contact_sheet_without_columns_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 column or more, got 0"):
        contact_sheet(columns=0)
