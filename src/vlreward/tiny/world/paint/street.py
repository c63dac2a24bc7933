"""A street: houses, cars, tents, flowers and umbrellas on the ground, balloons and kites in the sky."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image

from ..scenes import UNITS, Street
from .grounds import FINE
from .kept import kept
from .palette import FILLS, INK, Colour, darker, lighter
from .pen import Pen, gradient, paste, stamp

GROUND_LINE = 97.0
_PLACES = {"left": 20.0, "middle": 56.0, "right": 92.0, "sky left": 26.0, "sky right": 86.0}
_SKY_LINE = 25.0
_SCALE = 0.92
"""Of the sizes that the painters below work in."""
_CREAM: Colour = (255, 249, 236)
_TRUNK: Colour = (146, 104, 72)


def _house(pen: Pen, fill: Colour) -> None:
    edge = darker(fill, 0.36)
    pen.box((26, 2, 30, 14), (172, 128, 112), 0.5, darker((172, 128, 112), 0.3), 0.8)
    pen.box((3, 15, 33, 38), fill, 1, edge, 1)
    pen.polygon([(0, 17), (18, 0), (36, 17)], darker(fill, 0.26), edge, 1)
    pen.box((14.5, 24, 22, 38), _CREAM, 1, edge, 0.8)
    pen.ellipse(20.2, 31.5, 0.7, 0.7, edge)
    for x in (6, 25):
        pen.box((x, 21, x + 5.5, 27.5), (214, 238, 248), 0.6, edge, 0.8)


def _car(pen: Pen, fill: Colour) -> None:
    edge = darker(fill, 0.36)
    pen.polygon([(7, 11), (12, 1), (26, 1), (32, 11)], fill, edge, 1)
    pen.polygon([(10.5, 10), (14, 3.2), (18.2, 3.2), (18.2, 10)], (214, 238, 248))
    pen.polygon([(20, 10), (20, 3.2), (24.8, 3.2), (28.6, 10)], (214, 238, 248))
    pen.box((0, 9, 38, 20), fill, 4, edge, 1)
    pen.box((1.5, 10.2, 36.5, 13), lighter(fill, 0.18), 1.4)
    pen.ellipse(36, 14, 1.4, 1.6, (255, 240, 170))
    for x in (9, 29):
        pen.ellipse(x, 20, 4.8, 4.8, INK)
        pen.ellipse(x, 20, 2, 2, (205, 210, 220))


def _tent(pen: Pen, fill: Colour) -> None:
    edge = darker(fill, 0.36)
    pen.line([(17, -2), (19, 3)], _TRUNK, 1.2)
    pen.polygon([(0, 31), (18, 1), (36, 31)], fill, edge, 1)
    pen.polygon([(18, 1), (28, 31), (36, 31)], darker(fill, 0.13), edge, 0.8)
    pen.polygon([(11, 31), (18, 9), (24.5, 31)], darker(fill, 0.55), edge, 0.6)
    pen.polygon([(11, 31), (18, 9), (15.4, 31)], _CREAM, edge, 0.6)


def _flower(pen: Pen, fill: Colour) -> None:
    edge = darker(fill, 0.36)
    stem = (84, 150, 78)
    pen.line([(13, 14), (13, 37)], stem, 2)
    pen.half(8, 32, 5, 4.6, stem, darker(stem, 0.2), upper=True)
    pen.half(18, 29, 5, 4.6, stem, darker(stem, 0.2), upper=True)
    for i in range(6):
        angle = math.radians(60 * i - 90)
        pen.ellipse(13 + 7.4 * math.cos(angle), 12.5 + 7.4 * math.sin(angle), 5, 5, fill, edge, 0.9)
    pen.ellipse(13, 12.5, 6, 6, fill)
    pen.ellipse(13, 12.5, 3.8, 3.8, (122, 84, 56), (92, 62, 40), 0.6)


def _umbrella(pen: Pen, fill: Colour) -> None:
    edge = darker(fill, 0.36)
    pen.line([(18, 14), (18, 38)], _TRUNK, 2)
    pen.half(18, 18, 18.5, 17, fill, edge, upper=True)
    pen.half(18, 18, 8, 17, lighter(fill, 0.24), edge, upper=True)
    pen.ellipse(18, 0.6, 1.4, 1.4, _TRUNK)
    pen.half(18, 37, 6.5, 2.2, (238, 216, 170), darker((238, 216, 170), 0.2), upper=True)


def _balloon(pen: Pen, fill: Colour) -> None:
    edge = darker(fill, 0.36)
    for x in (9.5, 18.5):
        pen.line([(x, 24), (14 + (x - 14) * 0.6, 32)], _TRUNK, 0.8)
    pen.polygon([(3, 19), (25, 19), (18, 27.5), (10, 27.5)], fill, edge, 1)
    pen.ellipse(14, 13, 13.5, 13.5, fill, edge, 1)
    pen.polygon([(4.6, 19.6), (23.4, 19.6), (18, 26.5), (10, 26.5)], fill)
    pen.ellipse(14, 13.4, 5.2, 12.4, lighter(fill, 0.26))
    pen.box((9.6, 31, 18.4, 37), (196, 146, 92), 1, darker((196, 146, 92), 0.3), 0.8)


def _kite(pen: Pen, fill: Colour) -> None:
    edge = darker(fill, 0.36)
    tail = [(13 + 3 * math.sin(i / 2.2), 28 + i) for i in range(11)]
    pen.line(tail, darker(fill, 0.2), 0.9)
    for y in (32, 36):
        pen.polygon([(10.5, y - 1.6), (10.5, y + 1.6), (16, y - 1.6), (16, y + 1.6)], fill)
    corners = [(13.0, 0.0), (26.0, 11.0), (13.0, 29.0), (0.0, 11.0)]
    pen.polygon(corners, fill, edge, 1)
    pen.polygon([(13, 0), (26, 11), (13, 11)], lighter(fill, 0.26))
    pen.polygon([(13, 11), (0, 11), (13, 29)], lighter(fill, 0.26))
    pen.polygon([(13, 11), (26, 11), (13, 29)], darker(fill, 0.06))
    pen.line([*corners, corners[0], corners[1]], edge, 1)
    pen.line([(13, 0), (13, 29)], edge, 0.7)
    pen.line([(0, 11), (26, 11)], edge, 0.7)


def _tree(pen: Pen, _fill: Colour) -> None:
    leaf = (92, 158, 88)
    edge = darker(leaf, 0.3)
    pen.box((14.5, 24, 19.5, 41), _TRUNK, 1, darker(_TRUNK, 0.3), 0.8)
    crown = ((9, 20, 9), (25, 20, 9), (17, 10, 10.5), (17, 21, 9))
    for x, y, radius in crown:
        pen.ellipse(x, y, radius, radius, edge)
    for x, y, radius in crown:
        pen.ellipse(x, y, radius - 1, radius - 1, leaf)
    pen.ellipse(14, 8.5, 5, 4.5, lighter(leaf, 0.16))


def _sun(pen: Pen, _fill: Colour) -> None:
    gold = (253, 206, 72)
    for i in range(12):
        angle = math.radians(30 * i)
        across, down = math.cos(angle), math.sin(angle)
        ray = [(15 + 10 * across, 15 + 10 * down), (15 + 15 * across, 15 + 15 * down)]
        pen.line(ray, (250, 186, 60), 2)
    pen.ellipse(15, 15, 10, 10, gold, (240, 170, 50), 1)
    pen.ellipse(13.4, 13, 5.5, 5.5, lighter(gold, 0.3))


def _cloud(pen: Pen, _fill: Colour) -> None:
    puffs = ((9, 14, 8), (18, 9, 9), (28, 13, 8.5), (18, 15, 8))
    for x, y, radius in puffs:
        pen.ellipse(x, y, radius, radius, (176, 198, 216))
    for x, y, radius in puffs:
        pen.ellipse(x, y - 0.2, radius - 1, radius - 1, (255, 255, 255))


_THINGS: dict[str, tuple[Callable[[Pen, Colour], None], float, float]] = {
    "house": (_house, 36, 38),
    "car": (_car, 38, 25),
    "tent": (_tent, 36, 31),
    "flower": (_flower, 26, 37),
    "umbrella": (_umbrella, 36, 38),
    "balloon": (_balloon, 28, 37),
    "kite": (_kite, 26, 39),
    "tree": (_tree, 34, 41),
    "sun": (_sun, 30, 30),
    "cloud": (_cloud, 37, 23),
}


@kept
def _thing(noun: str, colour: str | None, unit: float) -> Image.Image:
    painter, width, height = _THINGS[noun]
    fill = FILLS[colour] if colour else INK
    return stamp((width, height), unit * _SCALE, lambda pen: painter(pen, fill))


_LANDS: tuple[tuple[tuple[Colour, Colour], Colour, Colour, Colour], ...] = (
    (((176, 216, 240), (233, 245, 248)), (196, 224, 190), (172, 210, 160), (230, 222, 206)),
    (((196, 222, 246), (252, 240, 228)), (208, 222, 214), (186, 212, 176), (224, 220, 214)),
    (((204, 214, 244), (248, 234, 240)), (206, 212, 226), (184, 208, 182), (232, 224, 214)),
)
"""Sky from top to bottom, far hills, near meadow, path."""


@kept
def _land(hills: int, size: int) -> Image.Image:
    sky, far, near, path = _LANDS[hills]
    canvas = gradient((size, size), *sky)
    side = size * FINE
    pen = Pen((side, side), side / UNITS)
    shift = (0, 22, -18)[hills]
    pen.ellipse(24 + shift, 98, 58, 36, far)
    pen.ellipse(96 + shift, 102, 52, 32, darker(far, 0.03))
    pen.box((-2, 84, 114, 114), near)
    pen.ellipse(56, 86, 90, 6, near)
    pen.box((-2, 95, 114, 108), path)
    pen.line([(-2, 95), (114, 95)], darker(path, 0.1), 0.8)
    pen.line([(-2, 108), (114, 108)], darker(path, 0.1), 0.8)
    layer = pen.image.resize((size, size), Image.Resampling.BOX)
    canvas.paste(layer, mask=layer)
    return canvas


def paint(scene: Street, size: int) -> Image.Image:
    """Draw a street."""
    unit = size / UNITS
    canvas = _land(scene.hills, size).copy()
    for spot in scene.spots:
        image = _thing(spot.noun, spot.colour, unit)
        height = _THINGS[spot.noun][2] * _SCALE
        y = _SKY_LINE if spot.place.startswith("sky") else GROUND_LINE + 2 - height / 2
        paste(canvas, image, _PLACES[spot.place] * unit, y * unit)
    return canvas
