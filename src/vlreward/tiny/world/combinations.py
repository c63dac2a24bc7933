"""What is combined with what, and which combinations training never sees.

A combination that is held out is absent from its family's training altogether: from pictures, from right answers and
from wrong ones. Everything it is made of (the colour, the shape, the letters) is there in other combinations.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple, TypeAlias

Split: TypeAlias = Literal["train", "practice", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "practice", "heldout")
"""``practice`` is training too, wider than its tasks: what has few values is learned by heart, and what is held out of
it is then taken for something else. A shape that comes in five colours is told by its colour, in twelve by its form."""

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
MORE_COLOURS = ("black", "white", "grey", "brown", "cyan", "lime", "navy")
"""In practice also these."""
SHAPES = ("circle", "square", "triangle", "star", "heart", "moon", "diamond")
GROUND_NOUNS = ("house", "car", "tent", "flower", "umbrella")
SKY_NOUNS = ("balloon", "kite")
STREET_NOUNS = GROUND_NOUNS + SKY_NOUNS
TABLE_NOUNS = ("block", "ball", "cup")

CHART_SIZES: dict[Split, tuple[int, ...]] = {"train": (2, 3, 5), "practice": (2, 3, 5, 6, 7), "heldout": (4,)}
"""Numbers of bars."""
LESSON_CHARTS = (1, 2, 3, 5, 6, 7)
"""Numbers of bars in lessons about seeing: more than tasks have, so that a bar is read wherever it stands."""

HELDOUT_DICE = frozenset(
    [(2, 1), (4, 2), (6, 3), (1, 4), (3, 5), (5, 6), (5, 1), (3, 2), (1, 3), (6, 4), (2, 5), (4, 6)]
)
"""Throws of two dice, left and right: each number is held out twice on either side."""
HELDOUT_GRIDS = frozenset([(2, 4), (3, 5), (4, 2), (5, 3), (3, 3)])
"""Dots in rows and columns."""
HELDOUT_PIES = frozenset([(2, 3), (1, 4), (3, 5), (4, 6)])
"""Filled parts, and parts in all."""

GRIDS = tuple((rows, columns) for rows in range(2, 6) for columns in range(2, 6))
PIES = tuple((filled, parts) for parts in range(2, 7) for filled in range(1, parts))
DICE = tuple((left, right) for left in range(1, 7) for right in range(1, 7))


class Pair(NamedTuple):
    """A colour and what has it."""

    colour: str
    noun: str

    def __str__(self) -> str:
        return f"{self.colour} {self.noun}"


def is_heldout_pair(pair: Pair, nouns: tuple[str, ...] = SHAPES) -> bool:
    """Whether training never sees this colour on this noun.

    The rule takes two colours from every noun, and as many nouns from one colour as from another (of seven): what is
    seen and what is not are then equally likely to be changed into each other, and no word is more often right.
    """
    if pair.colour in MORE_COLOURS:
        return False
    return (COLOURS.index(pair.colour) + 3 * nouns.index(pair.noun)) % len(COLOURS) in (0, 2)


def palette(split: Split) -> tuple[str, ...]:
    """The colours of a split."""
    return COLOURS + MORE_COLOURS if split == "practice" else COLOURS


@functools.cache
def pairs(split: Split, nouns: tuple[str, ...] = SHAPES) -> tuple[Pair, ...]:
    """The pairs of colour and noun that a split shows and speaks of."""
    every = (Pair(colour, noun) for noun in nouns for colour in palette(split))
    return tuple(pair for pair in every if is_heldout_pair(pair, nouns) == (split == "heldout"))


@functools.cache
def recoloured(split: Split, pair: Pair, nouns: tuple[str, ...] = SHAPES) -> tuple[Pair, ...]:
    """The split's pairs that differ from this one in colour alone."""
    return tuple(other for other in pairs(split, nouns) if other.noun == pair.noun and other != pair)


@functools.cache
def reshaped(split: Split, pair: Pair, nouns: tuple[str, ...] = SHAPES) -> tuple[Pair, ...]:
    """The split's pairs that differ from this one in the noun alone."""
    return tuple(other for other in pairs(split, nouns) if other.colour == pair.colour and other != pair)
