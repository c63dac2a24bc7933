"""Coloured shapes."""

from __future__ import annotations

import math

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from ..scenes import UNITS, Shapes
from .grounds import plain
from .kept import kept
from .palette import FILLS, darker, lighter
from .pen import Point, cast, fineness, gradient, paste


def _regular(n: int, radius: float, start: float) -> list[Point]:
    steps = [start + 2 * math.pi * i / n for i in range(n)]
    return [(radius * math.cos(t), radius * math.sin(t)) for t in steps]


def _star() -> list[Point]:
    outer, inner = _regular(5, 0.54, -math.pi / 2), _regular(5, 0.245, -math.pi / 2 + math.pi / 5)
    return [(x, y + 0.04) for pair in zip(outer, inner, strict=True) for x, y in pair]


def _heart() -> list[Point]:
    steps = [2 * math.pi * i / 120 for i in range(120)]
    across = [16 * math.sin(t) ** 3 for t in steps]
    up = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in steps]
    return [(x / 33, -(y + 2.5) / 30) for x, y in zip(across, up, strict=True)]


def _moon() -> list[Point]:
    """A crescent: around the left of one circle, and back along the left of another that cuts it."""
    radius, cut, apart = 0.53, 0.47, 0.27
    x = (radius**2 - cut**2 + apart**2) / (2 * apart)
    tip = math.atan2(math.sqrt(radius**2 - x**2), x)
    back = math.atan2(math.sqrt(radius**2 - x**2), x - apart)
    outer = [tip + (2 * math.pi - 2 * tip) * i / 60 for i in range(61)]
    inner = [2 * math.pi - back - (2 * math.pi - 2 * back) * i / 60 for i in range(61)]
    points = [(radius * math.cos(t), radius * math.sin(t)) for t in outer]
    points += [(apart + cut * math.cos(t), cut * math.sin(t)) for t in inner]
    turn = math.radians(-25)
    turned = [(x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)) for x, y in points]
    return [(x + 0.09, y - 0.03) for x, y in turned]


OUTLINES: dict[str, list[Point]] = {
    "circle": _regular(96, 0.48, 0.0),
    "square": [(-0.43, -0.43), (0.43, -0.43), (0.43, 0.43), (-0.43, 0.43)],
    "triangle": [(0.0, -0.47), (0.52, 0.42), (-0.52, 0.42)],
    "star": _star(),
    "heart": _heart(),
    "moon": _moon(),
    "diamond": [(0.0, -0.54), (0.4, 0.0), (0.0, 0.54), (-0.4, 0.0)],
}
"""Corners around the centre, for a size of one."""

_ROUNDING = {"circle": 0.0, "heart": 0.012, "moon": 0.02}


def _mask(noun: str, side: int, scale: float) -> Image.Image:
    """The shape in white on black, its corners slightly rounded by blurring and cutting at half."""
    mask = Image.new("L", (side, side))
    middle = side / 2
    ImageDraw.Draw(mask).polygon([(middle + x * scale, middle + y * scale) for x, y in OUTLINES[noun]], fill=255)
    rounding = _ROUNDING.get(noun, 0.04)
    if rounding:
        mask = mask.filter(ImageFilter.GaussianBlur(rounding * scale)).point(_CUT)
    return mask


_CUT = [255 if value > 127 else 0 for value in range(256)]


def _shrunk(mask: Image.Image, pixels: int) -> Image.Image:
    """The mask without a band of even width: what stays white however it is moved by so many pixels."""
    shrunk = mask
    for step in range(_DIRECTIONS):
        angle = 2 * math.pi * step / _DIRECTIONS
        moved = ImageChops.offset(mask, round(pixels * math.cos(angle)), round(pixels * math.sin(angle)))
        shrunk = ImageChops.darker(shrunk, moved)
    return shrunk


_DIRECTIONS = 16


@kept
def shape(noun: str, colour: str, pixels: int) -> Image.Image:
    """A shape of ``pixels`` across with outline and shadow, RGBA, in a margin of a quarter."""
    side = pixels + 2 * math.ceil(pixels / 4)
    fine = fineness(pixels)
    mask = _mask(noun, side * fine, pixels * fine)
    inner = _shrunk(mask, max(1, round(fine * max(1.0, pixels / 28) * 0.9)))
    fill = FILLS[colour]
    body = gradient(mask.size, lighter(fill, 0.16), darker(fill, 0.05))
    image = Image.new("RGB", mask.size, darker(fill, 0.36))
    image.paste(body, mask=inner)
    image.putalpha(mask)
    reduced = image.resize((side, side), Image.Resampling.BOX)
    return cast(reduced, max(1.0, pixels / 28), 0.3)


def paint(scene: Shapes, size: int) -> Image.Image:
    """Draw a scene of shapes."""
    unit = size / UNITS
    canvas = plain(scene.ground, size).copy()
    for thing in scene.things:
        image = shape(thing.pair.noun, thing.pair.colour, round(thing.size * unit))
        paste(canvas, image, thing.x * unit, thing.y * unit)
    return canvas
