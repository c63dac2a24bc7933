"""Where things stand in a picture."""

from __future__ import annotations

from collections.abc import Sequence

from .chance import Chance
from .combinations import Pair
from .scenes import GROUNDS, MIDDLE, Shapes, Thing

COLUMNS = (21, 56, 91)
"""Centres of the nine cells, across and down."""
QUARTERS = {"top left": (32, 32), "top right": (80, 32), "bottom left": (32, 80), "bottom right": (80, 80)}
STEPS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
"""From one thing to another that is so placed to it, in cells."""
INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def ground(chance: Chance) -> int:
    """One of the backdrops."""
    return chance.below(GROUNDS)


def thing(chance: Chance, pair: Pair, x: int, y: int, size: int = MIDDLE) -> Thing:
    """A thing near a point, moved a little at random."""
    return Thing(pair, x + chance.whole(-3, 3), y + chance.whole(-3, 3), size + chance.whole(-1, 1))


def in_cells(chance: Chance, pairs: Sequence[Pair], cells: Sequence[tuple[int, int]]) -> Shapes:
    """One thing in each of the cells, given by column and row from 0 to 2."""
    things = [
        thing(chance, pair, COLUMNS[column], COLUMNS[row]) for pair, (column, row) in zip(pairs, cells, strict=True)
    ]
    return Shapes(ground(chance), tuple(things))


def scattered(chance: Chance, pairs: Sequence[Pair]) -> Shapes:
    """Up to nine things anywhere."""
    cells = chance.sample([(column, row) for column in range(3) for row in range(3)], len(pairs))
    return in_cells(chance, chance.shuffled(pairs), cells)
