"""The colours of the world."""

from __future__ import annotations

import colorsys
from typing import TypeAlias

from PIL import Image

Colour: TypeAlias = tuple[int, int, int]


def _hexadecimal(text: str) -> Colour:
    return int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16)


FILLS: dict[str, Colour] = {
    name: _hexadecimal(code)
    for name, code in {
        "red": "dd3f3a",
        "orange": "f58c28",
        "yellow": "fbd13f",
        "green": "45a85c",
        "blue": "3a7bd9",
        "purple": "8c55c2",
        "pink": "f59ac0",
        "black": "2b2b2f",
        "white": "ffffff",
        "grey": "8f8f93",
        "brown": "80502c",
        "cyan": "3fd3e8",
        "lime": "a9ea3c",
        "navy": "22306f",
    }.items()
}
"""What is called by these names, far enough apart to be told at 20 pixels."""

GROUNDS: tuple[tuple[Colour, Colour], ...] = tuple(
    (_hexadecimal(top), _hexadecimal(bottom))
    for top, bottom in (
        ("fdf9f0", "f3e8d6"),
        ("f3f8fb", "dce9f1"),
        ("f2f9f3", "dcecdf"),
        ("f8f4fc", "e6def0"),
        ("fdf4ee", "f5dfd2"),
        ("f7f7f5", "e4e4df"),
    )
)
"""Backdrops, from top to bottom: paler than anything that tasks speak of."""

INK: Colour = (52, 58, 74)
PAPER: Colour = (255, 255, 255)
SHADOW: Colour = (40, 44, 70)


def turned(colour: Colour, degrees: int) -> Colour:
    """The same colour at another hue."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in colour))
    red, green, blue = colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def turned_picture(picture: Image.Image, degrees: int) -> Image.Image:
    """A picture in mode RGB with all its hues turned."""
    hue, saturation, value = picture.convert("HSV").split()
    shift = round(degrees / 360 * 256)
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def named(colour: Colour) -> str:
    """The name that is nearest."""
    return min(FILLS, key=lambda name: sum((a - b) ** 2 for a, b in zip(colour, FILLS[name], strict=True)))


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """``one`` with a share of ``other`` in it."""
    return (
        round(one[0] + (other[0] - one[0]) * share),
        round(one[1] + (other[1] - one[1]) * share),
        round(one[2] + (other[2] - one[2]) * share),
    )


def lighter(colour: Colour, share: float) -> Colour:
    """A tint."""
    return mix(colour, (255, 255, 255), share)


def darker(colour: Colour, share: float) -> Colour:
    """A shade, towards a deep blue rather than black, which keeps it clean."""
    return mix(colour, (28, 22, 58), share)
