"""What a picture shows, as data: `render` draws it, and a test can ask it whether a sentence is true.

Positions and lengths are in units of 1/112 of the picture's side, from the top left corner, so that a scene can be
drawn at any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .combinations import Pair

UNITS = 112
"""Units along a picture's side."""
GROUNDS = 6
"""Backdrops that a scene can choose from."""

SMALL, MIDDLE, BIG = 21, 28, 40
"""Sizes of a shape."""


@dataclass(frozen=True)
class Thing:
    """A coloured shape, by its centre."""

    pair: Pair
    x: int
    y: int
    size: int = MIDDLE


@dataclass(frozen=True)
class Shapes:
    """Coloured shapes on a soft backdrop."""

    ground: int
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Sign:
    """A word in capitals; ``style`` is a wooden board, a street plate, a chalkboard or a shop front."""

    style: int
    word: str
    drop: int = 0
    """How far below its usual place the word stands."""


CHART_TOP = 6
CHART_WIDTH = 80


@dataclass(frozen=True)
class Bar:
    """One bar of a chart."""

    colour: str
    value: int


@dataclass(frozen=True)
class Chart:
    """A bar chart with an axis from 0 to `CHART_TOP`."""

    ground: int
    bars: tuple[Bar, ...]
    start: int = 0
    """Where the bars begin, in units from the axis."""
    room: int = CHART_WIDTH
    """What they share, in units."""


@dataclass(frozen=True)
class Die:
    """A die by its centre; ``turn`` in degrees."""

    colour: str
    value: int
    x: int
    y: int
    turn: int


@dataclass(frozen=True)
class Dice:
    """Dice on a soft backdrop."""

    ground: int
    dice: tuple[Die, ...]


@dataclass(frozen=True)
class Grid:
    """Dots in rows and columns, on squared paper."""

    colour: str
    rows: int
    columns: int


@dataclass(frozen=True)
class Pie:
    """A circle in equal parts, the first ``filled`` of them coloured, on squared paper; ``turn`` in degrees."""

    colour: str
    filled: int
    parts: int
    turn: int


STREET_PLACES = ("left", "middle", "right", "sky left", "sky right")


@dataclass(frozen=True)
class Spot:
    """A thing and its place in a street; a tree, the sun and a cloud have no colour to speak of."""

    place: str
    noun: str
    colour: str | None = None


@dataclass(frozen=True)
class Street:
    """Things on the ground and in the sky; ``hills`` chooses the land behind them."""

    hills: int
    spots: tuple[Spot, ...]


@dataclass(frozen=True)
class TableThing:
    """A thing on a table, by the middle of its base.

    ``inside`` names the container that it is in, ``held`` says that the gripper has it.
    """

    pair: Pair
    x: int
    y: int
    inside: str | None = None
    held: bool = False


CONTAINERS = ("bowl", "box", "basket")


@dataclass(frozen=True)
class Container:
    """One of `CONTAINERS`, by the middle of its base."""

    noun: str
    x: int


@dataclass(frozen=True)
class Table:
    """A robot's table. ``wall`` chooses the background; ``gripper`` is where the arm hangs."""

    wall: int
    things: tuple[TableThing, ...]
    containers: tuple[Container, ...] = ()
    gripper: int = 56


TABLE_TOP = 92
"""Where things on the table stand."""

Scene: TypeAlias = Shapes | Sign | Chart | Dice | Grid | Pie | Street | Table
