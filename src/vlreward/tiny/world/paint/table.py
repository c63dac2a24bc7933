"""A robot's table: things, containers, and the gripper above."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image

from ..scenes import TABLE_TOP, UNITS, Table, TableThing
from .grounds import FINE
from .kept import kept
from .palette import FILLS, Colour, darker, lighter
from .pen import Pen, gradient, paste, stamp

_WALLS: tuple[tuple[Colour, Colour], ...] = (
    ((233, 241, 246), (246, 248, 248)),
    ((240, 236, 247), (249, 246, 250)),
    ((236, 244, 238), (248, 250, 246)),
)
_WOOD: Colour = (222, 178, 126)
_STEEL: Colour = (150, 162, 180)
THING = 22
"""Width and height of a thing on the table, in units."""
_THING_DRAWN, _CONTAINER_DRAWN = 24, (34, 21)
"""The sizes that the painters below work in."""
_CONTAINER_SCALE = 0.9


def _block(pen: Pen, fill: Colour) -> None:
    edge = darker(fill, 0.36)
    pen.box((1, 1, 23, 24), fill, 2.5, edge, 1.1)
    pen.box((3, 2.6, 21, 6.4), lighter(fill, 0.3), 1.6)


def _ball(pen: Pen, fill: Colour) -> None:
    pen.ellipse(12, 12.5, 11.6, 11.6, fill, darker(fill, 0.36), 1.1)
    pen.ellipse(8.4, 8.4, 4.2, 3.6, lighter(fill, 0.42))


def _cup(pen: Pen, fill: Colour) -> None:
    edge = darker(fill, 0.36)
    pen.ellipse(20, 13.5, 5, 5.6, edge)
    pen.ellipse(20, 13.5, 2.6, 3.2, lighter(fill, 0.72))
    pen.polygon([(1, 3), (20, 3), (17.6, 24), (3.4, 24)], fill, edge, 1.1)
    pen.ellipse(10.5, 3.4, 9.6, 2.9, darker(fill, 0.5), edge, 1)
    pen.polygon([(4, 9), (6.6, 9), (7.6, 21), (5.6, 21)], lighter(fill, 0.34))


def _bowl_back(pen: Pen) -> None:
    pen.ellipse(17, 3.5, 17, 3.4, (120, 142, 160), (96, 116, 136), 1)


def _bowl_front(pen: Pen) -> None:
    clay = (206, 222, 232)
    pen.half(17, 3.5, 17, 16.5, clay, (110, 132, 150), upper=False)
    pen.half(17, 3.5, 16.4, 3.4, clay, clay, upper=False)
    pen.box((10, 18.2, 24, 20.6), (168, 190, 204), 1, (110, 132, 150), 0.7)
    pen.line([(2.4, 9), (31.6, 9)], (124, 166, 200), 1.8)


def _box_back(pen: Pen) -> None:
    pen.box((2, 0, 32, 6), (148, 108, 74), 0.5)


def _box_front(pen: Pen) -> None:
    card = (216, 170, 118)
    pen.box((1, 3.4, 33, 21), card, 0.8, (140, 100, 66), 1.1)
    pen.box((13, 4, 21, 20.4), (236, 202, 158))
    pen.polygon([(1, 4), (-2.6, 7.6), (0, 9.4), (1, 8)], (200, 152, 102), (140, 100, 66), 0.8)
    pen.polygon([(33, 4), (36.6, 7.6), (34, 9.4), (33, 8)], (200, 152, 102), (140, 100, 66), 0.8)


def _basket_back(pen: Pen) -> None:
    wicker = (150, 108, 78)
    arc = [math.pi * i / 24 for i in range(25)]
    pen.line([(17 + 14.5 * math.cos(t), 4 - 17 * math.sin(t)) for t in arc], darker(wicker, 0.3), 2.6)
    pen.line([(17 + 14.5 * math.cos(t), 4 - 17 * math.sin(t)) for t in arc], (190, 142, 102), 1.4)
    pen.box((2, 1, 32, 6), (116, 80, 56), 1)


def _basket_front(pen: Pen) -> None:
    wicker, edge = (190, 142, 102), (116, 80, 56)
    pen.polygon([(0.6, 4), (33.4, 4), (29.4, 21), (4.6, 21)], wicker, edge, 1.1)
    for row in range(4):
        for column in range(6):
            x, y = 4.4 + column * 4.6 + (row % 2) * 2.0, 6.4 + row * 4
            if x < 29 - row * 0.8:
                pen.box((x, y, x + 3, y + 1.8), (220, 178, 138), 0.6)
    pen.line([(0, 4), (34, 4)], edge, 1.8)


_PAINTERS: dict[str, Callable[[Pen, Colour], None]] = {"block": _block, "ball": _ball, "cup": _cup}
_CONTAINERS: dict[str, tuple[Callable[[Pen], None], Callable[[Pen], None]]] = {
    "bowl": (_bowl_back, _bowl_front),
    "box": (_box_back, _box_front),
    "basket": (_basket_back, _basket_front),
}


@kept
def _thing(noun: str, colour: str, unit: float) -> Image.Image:
    fill = FILLS[colour]
    scale = unit * THING / _THING_DRAWN
    return stamp((_THING_DRAWN, _THING_DRAWN), scale, lambda pen: _PAINTERS[noun](pen, fill))


@kept
def _container(noun: str, front: bool, unit: float) -> Image.Image:
    painter = _CONTAINERS[noun][front]
    return stamp(_CONTAINER_DRAWN, unit * _CONTAINER_SCALE, painter, shadow=0.22 if front else 0.0, margin=20)


@kept
def _arm(reach: int, closed: bool, unit: float) -> Image.Image:
    """The gripper with its arm, ``reach`` units from the ceiling to its palm."""
    spread = 13.0 if closed else 16.0

    def draw(pen: Pen) -> None:
        edge = darker(_STEEL, 0.4)
        pen.box((17, -12, 23, reach), lighter(_STEEL, 0.25), 0, edge, 0.9)
        for y in range(4, reach - 4, 7):
            pen.line([(17.6, y), (22.4, y)], _STEEL, 0.8)
        pen.box((9, reach - 3, 31, reach + 4), _STEEL, 3, edge, 1)
        pen.ellipse(20, reach + 0.5, 1.7, 1.7, (108, 210, 196), darker((108, 210, 196), 0.3), 0.6)
        for side in (-1, 1):
            x = 20 + side * spread
            pen.line([(20 + side * 8, reach + 1), (x, reach + 5), (x - side * 0.6, reach + 14)], edge, 3.6)
            pen.line([(20 + side * 8, reach + 1), (x, reach + 5), (x - side * 0.6, reach + 14)], _STEEL, 2)

    return stamp((40, reach + 18), unit, draw, shadow=0.14)


@kept
def _room(wall: int, size: int) -> Image.Image:
    canvas = gradient((size, size), *_WALLS[wall])
    side = size * FINE
    pen = Pen((side, side), side / UNITS)
    top = TABLE_TOP - 6
    pen.box((-2, top, 114, 102), _WOOD)
    pen.box((-2, top, 114, top + 1.4), lighter(_WOOD, 0.35))
    for y, x0, x1 in ((90, 6, 44), (93.5, 60, 104), (97.5, 20, 66)):
        pen.line([(x0, y), (x1, y)], darker(_WOOD, 0.07), 0.7)
    pen.box((-2, 101, 114, 114), darker(_WOOD, 0.2))
    pen.line([(-2, 101.4), (114, 101.4)], darker(_WOOD, 0.34), 1)
    layer = pen.image.resize((size, size), Image.Resampling.BOX)
    canvas.paste(layer, mask=layer)
    return canvas


def _put(canvas: Image.Image, thing: TableThing, unit: float) -> None:
    image = _thing(thing.pair.noun, thing.pair.colour, unit)
    paste(canvas, image, thing.x * unit, (thing.y - THING / 2) * unit)


def paint(scene: Table, size: int) -> Image.Image:
    """Draw a table: what is in a container stands behind its front, and the gripper's fingers around what it holds."""
    unit = size / UNITS
    canvas = _room(scene.wall, size).copy()
    held = [thing for thing in scene.things if thing.held]
    reach = held[0].y - THING - 6 if held else 16
    arm = _arm(reach, bool(held), unit)
    canvas.paste(arm, (round(scene.gripper * unit - arm.width / 2), round(-4 * unit)), arm)
    for container in scene.containers:
        y = (TABLE_TOP - _CONTAINER_DRAWN[1] / 2 * _CONTAINER_SCALE) * unit
        paste(canvas, _container(container.noun, False, unit), container.x * unit, y)
        for thing in scene.things:
            if thing.inside == container.noun:
                _put(canvas, thing, unit)
        paste(canvas, _container(container.noun, True, unit), container.x * unit, y)
    for thing in sorted(scene.things, key=lambda thing: -thing.y):
        if thing.inside is None:
            _put(canvas, thing, unit)
    return canvas
