"""Inventories: everything that a picture shows, named in fixed words and in a fixed order, or in any.

They are lessons, no tasks: an answer about a picture says one or two things of it in one of many ways, and a model that
has seen nothing yet learns the words of such answers long before it learns to look. Here every word but the commas is
decided by the picture, pictures of a single thing are among them, and so are signs with any letters and charts of any
size that is not held out, their bars anywhere: the words and the three sizes that tasks have are learned by heart.
In a fixed order it is enough to read on; in any order each thing has to be found by the words that begin its phrase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

from .chance import Chance
from .combinations import (
    COLOURS,
    GROUND_NOUNS,
    LESSON_CHARTS,
    SHAPES,
    SKY_NOUNS,
    STREET_NOUNS,
    Pair,
    Split,
    is_heldout_pair,
)
from .mistakes import mistakes
from .paint.palette import FILLS, named, turned
from .scenes import (
    BIG,
    CHART_TOP,
    CHART_WIDTH,
    SMALL,
    STREET_PLACES,
    UNITS,
    Bar,
    Chart,
    Dice,
    Grid,
    Pie,
    Scene,
    Shapes,
    Sign,
    Spot,
    Street,
    Table,
    Thing,
)
from .wording import a
from .words import LETTERS, may_be_read

T = TypeVar("T")
_Kind: TypeAlias = tuple[str | None, str]
"""A colour, unless it is what the thing always has, and a noun."""

QUESTION = "name everything, in order."
ANY_ORDER = "name everything, in any order."
KINDS = "name the kinds of things, in order."
_LEAST_PITCH = 10
"""From one bar to the next, in units."""
_ROWS, _COLUMNS = ("top", "", "bottom"), ("left", "", "right")


def lesson(chance: Chance, scene: Scene, split: Split) -> Scene:
    """A scene with some of its things, to be told.

    Args:
        chance: chooses which things stay, often a single one; in training also other letters and bars.
        scene: any.
        split: whose combinations it may show.

    Returns:
        The scene to show.
    """
    if isinstance(scene, Shapes):
        scene = replace(scene, things=_some(chance, scene.things))
    elif isinstance(scene, Street):
        scene = replace(scene, spots=_some(chance, scene.spots))
    elif isinstance(scene, Sign) and split != "heldout" and chance.coin(0.75):
        scene = replace(scene, word=_letters(chance))
    elif isinstance(scene, Chart) and split != "heldout":
        scene = _chart(chance, scene)
    return scene


def told(scene: Scene, order: int | None = None) -> str:
    """The inventory of a scene: the answer to `QUESTION`, or to `ANY_ORDER` in the order of a number."""
    phrases = _named(scene)
    return ", ".join(phrases if order is None else Chance("order", order).shuffled(phrases)) + "."


def mistold(chance: Chance, scene: Scene, split: Split, count: int, order: int | None = None) -> list[str]:
    """Wrong inventories of a scene, with one mistake or up to three; fewer than ``count`` if there are not so many."""
    right, found = told(scene, order), dict[str, None]()
    for _ in range(5 * count):  # not every mistake can be told: a shape may move within its place
        if len(found) == count:
            break
        other = scene
        for _ in range(1 if chance.coin() else chance.whole(2, 3)):
            others = mistakes(other, split)
            other = chance.choice(others) if others else other
        if (text := told(other, order)) != right:
            found[text] = None
    return list(found)


def _some(chance: Chance, things: Sequence[T]) -> tuple[T, ...]:
    kept = 1 if chance.coin(0.3) else chance.whole(1, len(things))
    return tuple(chance.sample(things, kept))


def _letters(chance: Chance) -> str:
    """A letter or some, which are nothing that is held out."""
    while True:
        letters = "".join(chance.choice(LETTERS) for _ in range(chance.whole(1, 5)))
        if may_be_read(letters):
            return letters


def _chart(chance: Chance, chart: Chart) -> Chart:
    """Other bars, closer together or not, anywhere on the axis."""
    colours = chance.sample(COLOURS, chance.choice(LESSON_CHARTS))
    bars = tuple(Bar(colour, chance.whole(1, CHART_TOP)) for colour in colours)
    room = chance.whole(_LEAST_PITCH * len(bars), CHART_WIDTH)
    return replace(chart, bars=bars, room=room, start=chance.whole(0, CHART_WIDTH - room))


def things(scene: Scene) -> list[_Kind]:
    """The shapes of a scene or the things in a street, in the inventory's order; other scenes have none here."""
    if isinstance(scene, Shapes):
        return [thing.pair for thing in sorted(scene.things, key=_reading_order)]
    if isinstance(scene, Street):
        return [(spot.colour, spot.noun) for spot in sorted(scene.spots, key=_street_order)]
    return []


def kinds(chance: Chance, shown: Sequence[_Kind], count: int) -> list[str]:
    """The answer to `KINDS` and wrong ones, in which one to three things are of another kind.

    Nothing else is said of the things, and their picture may be of any hue: so their forms are learned apart from their
    colours, and a word follows from the picture rather than from the word before it.
    """
    nouns = [noun for _, noun in shown]
    found = dict.fromkeys([", ".join(nouns) + "."])
    for _ in range(5 * count):  # a balloon can only be taken for a kite, and a tree for nothing
        if len(found) > count:
            break
        changed = list(nouns)
        for at in chance.sample(range(len(nouns)), 1 if chance.coin() else chance.whole(2, 3)):
            changed[at] = chance.choice([noun for noun in _like(nouns[at]) if noun != nouns[at]] or [nouns[at]])
        found[", ".join(changed) + "."] = None
    return list(found)


def _like(noun: str) -> tuple[str, ...]:
    """What may be said in its place."""
    return next((nouns for nouns in (SHAPES, GROUND_NOUNS, SKY_NOUNS) if noun in nouns), (noun,))


def hue(chance: Chance, shown: Sequence[_Kind]) -> int:
    """Degrees to turn a picture's hues by, so that nothing in it comes to look like what is held out."""
    for _ in range(8):
        degrees = chance.below(360)
        looks = [Pair(named(turned(FILLS[colour], degrees)), noun) for colour, noun in shown if colour]
        if not any(is_heldout_pair(pair, SHAPES if pair.noun in SHAPES else STREET_NOUNS) for pair in looks):
            return degrees
    return 0


def _named(scene: Scene) -> list[str]:
    """The phrases of an inventory."""
    match scene:
        case Shapes(things=things):
            return [f"{_place(thing)} {_shape(thing)}" for thing in sorted(things, key=_reading_order)]
        case Street(spots=spots):
            ordered = sorted(spots, key=_street_order)
            return [f"{s.place} {a(f'{s.colour} {s.noun}' if s.colour else s.noun)}" for s in ordered]
        case Chart(bars=bars):
            return [f"{bar.colour} {bar.value}" for bar in bars]
        case Dice(dice=dice):
            return [f"{die.colour} {die.value}" for die in sorted(dice, key=lambda die: die.x)]
        case Sign(word=word):
            return [f"it says {word}"]
        case Grid(rows=rows, columns=columns):
            return [f"{rows} rows of {columns} dots"]
        case Pie(filled=filled, parts=parts):
            return [f"{filled} of {parts} parts"]
        case Table():
            return _on_table(scene)


def _cell(thing: Thing) -> tuple[int, int]:
    """Row and column of three."""
    return min(3 * thing.y // UNITS, 2), min(3 * thing.x // UNITS, 2)


def _reading_order(thing: Thing) -> tuple[int, int]:
    return _cell(thing)[0], thing.x


def _street_order(spot: Spot) -> int:
    return STREET_PLACES.index(spot.place)


def _place(thing: Thing) -> str:
    row, column = _cell(thing)
    return f"{_ROWS[row]} {_COLUMNS[column]}".strip() or "middle"


def _shape(thing: Thing) -> str:
    size = "big " if thing.size > (BIG + SMALL) // 2 + 2 else "small " if thing.size < SMALL + 3 else ""
    return a(f"{size}{thing.pair}")


def _on_table(table: Table) -> list[str]:
    """What stands there from left to right, a stack from the bottom, and where else things are."""
    placed = [(container.x, 0, a(container.noun)) for container in table.containers]
    for thing in table.things:
        where = f" in the {thing.inside}" if thing.inside else " in the gripper" if thing.held else ""
        placed.append((thing.x, -thing.y, a(str(thing.pair)) + where))
    return [phrase for _, _, phrase in sorted(placed)]
