"""Dice, and the figures of school tasks: dots in rows, and a circle in parts."""

from __future__ import annotations

import math

from PIL import Image

from ..scenes import UNITS, Dice, Grid, Pie
from .grounds import paper, plain
from .kept import kept
from .palette import FILLS, darker, lighter
from .pen import Pen, Point, cast, paste, stamp
from .shapes import shape

_DIE = 42
_PIPS: dict[int, tuple[Point, ...]] = {
    1: ((0, 0),),
    2: ((-1, -1), (1, 1)),
    3: ((-1, -1), (0, 0), (1, 1)),
    4: ((-1, -1), (1, -1), (-1, 1), (1, 1)),
    5: ((-1, -1), (1, -1), (0, 0), (-1, 1), (1, 1)),
    6: ((-1, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (1, 1)),
}
_PALE = ("yellow", "orange", "pink")


@kept
def _die(colour: str, value: int, turn: int, unit: float) -> Image.Image:
    fill = FILLS[colour]
    pip = darker(fill, 0.78) if colour in _PALE else (255, 255, 255)

    def face(pen: Pen) -> None:
        pen.box((0, 0, _DIE, _DIE), fill, 9, darker(fill, 0.34), 1.3)
        pen.box((2.4, 2.2, _DIE - 2.4, _DIE - 3), lighter(fill, 0.1), 7)
        for x, y in _PIPS[value]:
            pen.ellipse(_DIE / 2 + x * 11.2, _DIE / 2 + y * 11.2, 4.3, 4.3, pip)

    # Turned while large, so that the edges stay smooth.
    large = stamp((_DIE, _DIE), unit * 3, face, shadow=0.0, margin=10)
    turned = large.rotate(turn, Image.Resampling.BICUBIC)
    small = turned.resize((turned.width // 3, turned.height // 3), Image.Resampling.BOX)
    return cast(small, unit * 1.6, 0.32)


def paint_dice(scene: Dice, size: int) -> Image.Image:
    """Draw dice."""
    unit = size / UNITS
    canvas = plain(scene.ground, size).copy()
    for die in scene.dice:
        paste(canvas, _die(die.colour, die.value, die.turn, unit), die.x * unit, die.y * unit)
    return canvas


def paint_grid(scene: Grid, size: int) -> Image.Image:
    """Draw dots in rows and columns."""
    unit = size / UNITS
    canvas = paper(size).copy()
    pitch = 20
    left = 58 - pitch * (scene.columns - 1) / 2
    top = 56 - pitch * (scene.rows - 1) / 2
    dot = shape("circle", scene.colour, round(15 * unit))
    for row in range(scene.rows):
        for column in range(scene.columns):
            paste(canvas, dot, (left + column * pitch) * unit, (top + row * pitch) * unit)
    return canvas


@kept
def _pie(scene: Pie, unit: float) -> Image.Image:
    fill, empty, radius = FILLS[scene.colour], (247, 246, 243), 43.0
    step = 360 / scene.parts

    def slices(pen: Pen) -> None:
        pen.ellipse(radius, radius, radius, radius, darker(fill, 0.42))
        for part in range(scene.parts):
            begin = scene.turn + part * step
            pen.wedge((radius, radius), radius - 1.6, (begin, begin + step), fill if part < scene.filled else empty)
        for part in range(scene.parts):
            angle = math.radians(scene.turn + part * step)
            rim = (radius + (radius - 1) * math.cos(angle), radius + (radius - 1) * math.sin(angle))
            pen.line([(radius, radius), rim], darker(fill, 0.42), 1.7)
        pen.ellipse(radius, radius, 1.2, 1.2, darker(fill, 0.42))

    return stamp((2 * radius, 2 * radius), unit, slices)


def paint_pie(scene: Pie, size: int) -> Image.Image:
    """Draw a circle in parts."""
    unit = size / UNITS
    canvas = paper(size).copy()
    paste(canvas, _pie(scene, unit), 58 * unit, 56 * unit)
    return canvas
