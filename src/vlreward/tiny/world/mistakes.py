"""Mistakes: scenes that differ from another in one fact, so that their inventories are wrong of its picture.

They stay within the split's combinations and their inventories read like any other: nothing but the picture says which
is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from .combinations import (
    COLOURS,
    GRIDS,
    HELDOUT_DICE,
    HELDOUT_GRIDS,
    HELDOUT_PIES,
    PIES,
    SHAPES,
    STREET_NOUNS,
    TABLE_NOUNS,
    Pair,
    Split,
    recoloured,
    reshaped,
)
from .scenes import (
    BIG,
    CHART_TOP,
    CONTAINERS,
    MIDDLE,
    SMALL,
    STREET_PLACES,
    UNITS,
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
from .words import LETTERS, may_be_read

T = TypeVar("T")

_ACROSS = (UNITS // 6, UNITS // 2, 5 * UNITS // 6)


def mistakes(scene: Scene, split: Split) -> list[Scene]:
    """All scenes that are one mistake away.

    Args:
        scene: as it is.
        split: whose combinations may be spoken of.
    """
    match scene:
        case Shapes(things=things):
            shapes = _one_other(things, lambda thing: _things(thing, split))
            return [replace(scene, things=changed) for changed in shapes]
        case Street(spots=spots):
            streets = _one_other(spots, lambda spot: _spots(spot, spots, split))
            return [replace(scene, spots=changed) for changed in streets]
        case Chart(bars=bars):
            unused = _unused(bar.colour for bar in bars)
            return [replace(scene, bars=changed) for changed in _one_other(bars, lambda bar: _bars(bar, unused))]
        case Dice(dice=dice):
            unused = _unused(die.colour for die in dice)
            thrown = [replace(scene, dice=changed) for changed in _one_other(dice, lambda die: _dice(die, unused))]
            return [other for other in thrown if _is_of(_faces(other), HELDOUT_DICE, split)]
        case Sign(word=word):
            return [replace(scene, word=other) for other in _words(word, split)]
        case Grid(rows=rows, columns=columns):
            grids = [grid for grid in GRIDS if grid != (rows, columns) and _is_of(grid, HELDOUT_GRIDS, split)]
            return [replace(scene, rows=rows, columns=columns) for rows, columns in grids]
        case Pie(filled=filled, parts=parts):
            pies = [pie for pie in PIES if pie != (filled, parts) and _is_of(pie, HELDOUT_PIES, split)]
            return [replace(scene, filled=filled, parts=parts) for filled, parts in pies]
        case Table():
            return list(_tables(scene, split))


def _one_other(things: Sequence[T], others: Callable[[T], Iterable[T]]) -> Iterator[tuple[T, ...]]:
    """The things with one of them exchanged for each of its others."""
    for i, thing in enumerate(things):
        for other in others(thing):
            yield (*things[:i], other, *things[i + 1 :])


def _pairs(pair: Pair, nouns: tuple[str, ...], split: Split) -> tuple[Pair, ...]:
    return recoloured(split, pair, nouns) + reshaped(split, pair, nouns)


def _unused(colours: Iterable[str]) -> list[str]:
    used = set(colours)
    return [colour for colour in COLOURS if colour not in used]


def _is_of(combination: tuple[int, ...], heldout: frozenset[tuple[int, int]], split: Split) -> bool:
    return len(combination) != 2 or (combination in heldout) == (split == "heldout")


def _things(thing: Thing, split: Split) -> Iterator[Thing]:
    """Another colour, shape, place or size."""
    yield from (replace(thing, pair=pair) for pair in _pairs(thing.pair, SHAPES, split))
    yield from (replace(thing, x=x, y=y) for x in _ACROSS for y in _ACROSS)
    yield from (replace(thing, size=size) for size in (SMALL, MIDDLE, BIG))


def _spots(spot: Spot, spots: Sequence[Spot], split: Split) -> Iterator[Spot]:
    """Another colour or noun, or a place of the same kind that is free."""
    if spot.colour is not None:
        pairs = _pairs(Pair(spot.colour, spot.noun), STREET_NOUNS, split)
        yield from (replace(spot, colour=pair.colour, noun=pair.noun) for pair in pairs)
    taken = {other.place for other in spots}
    for place in STREET_PLACES:
        if place not in taken and place.startswith("sky") == spot.place.startswith("sky"):
            yield replace(spot, place=place)


def _bars(bar: Bar, unused: Sequence[str]) -> Iterator[Bar]:
    yield from (replace(bar, value=value) for value in range(1, CHART_TOP + 1) if value != bar.value)
    yield from (replace(bar, colour=colour) for colour in unused)


def _dice(die: Die, unused: Sequence[str]) -> Iterator[Die]:
    yield from (replace(die, value=value) for value in range(1, 7) if value != die.value)
    yield from (replace(die, colour=colour) for colour in unused)


def _faces(dice: Dice) -> tuple[int, ...]:
    return tuple(die.value for die in sorted(dice.dice, key=lambda die: die.x))


def _words(word: str, split: Split) -> Iterator[str]:
    """Another letter; in training nothing that is held out."""
    for i, letter in enumerate(word):
        for other in LETTERS:
            changed = word[:i] + other + word[i + 1 :]
            if other != letter and (split == "heldout" or may_be_read(changed)):
                yield changed


def _tables(table: Table, split: Split) -> Iterator[Table]:
    """A thing of another colour or kind, or in another container; another container."""
    for changed in _one_other(table.things, lambda thing: _table_things(thing, table, split)):
        yield replace(table, things=changed)
    nouns = [noun for noun in CONTAINERS if all(noun != container.noun for container in table.containers)]
    for containers in _one_other(table.containers, lambda container: (replace(container, noun=n) for n in nouns)):
        yield replace(table, containers=containers)


def _table_things(thing: TableThing, table: Table, split: Split) -> Iterator[TableThing]:
    yield from (replace(thing, pair=pair) for pair in _pairs(thing.pair, TABLE_NOUNS, split))
    for container in table.containers:
        if container.noun != thing.inside:
            yield replace(thing, inside=container.noun, held=False)
    if thing.inside or thing.held:
        yield replace(thing, inside=None, held=False)
