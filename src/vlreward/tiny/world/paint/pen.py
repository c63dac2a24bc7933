"""Drawing with smooth edges: larger than asked for, then reduced.

What is drawn once (a red star of 28 pixels, a street without its houses) is kept, and pictures are pasted together from
it: that is what makes hundreds of pictures a second possible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .palette import SHADOW, Colour

Point: TypeAlias = tuple[float, float]


class Pen:
    """Draws in units, at ``scale`` pixels each, on a canvas of its own with the origin ``margin`` units inside."""

    def __init__(self, size: tuple[int, int], scale: float, margin: float = 0.0) -> None:
        self.image = Image.new("RGBA", size, (0, 0, 0, 0))
        self.scale = scale
        self.margin = margin
        self._draw = ImageDraw.Draw(self.image)

    def _at(self, points: Sequence[Point]) -> list[Point]:
        return [((x + self.margin) * self.scale, (y + self.margin) * self.scale) for x, y in points]

    def _width(self, units: float) -> int:
        return max(1, round(units * self.scale))

    def polygon(self, points: Sequence[Point], fill: Colour, edge: Colour | None = None, width: float = 1.0) -> None:
        """A closed shape."""
        placed = self._at(points)
        self._draw.polygon(placed, fill=fill)
        if edge is not None:
            self._draw.line([*placed, placed[0], placed[1]], fill=edge, width=self._width(width), joint="curve")

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Colour, edge: Colour | None = None, width: float = 1.0
    ) -> None:
        """An ellipse by its centre and half axes."""
        (x0, y0), (x1, y1) = self._at([(x - rx, y - ry), (x + rx, y + ry)])
        self._draw.ellipse((x0, y0, x1, y1), fill=fill, outline=edge, width=self._width(width) if edge else 0)

    def box(
        self,
        corners: tuple[float, float, float, float],
        fill: Colour,
        radius: float = 0.0,
        edge: Colour | None = None,
        width: float = 1.0,
    ) -> None:
        """A rectangle with round corners, by left, top, right and bottom."""
        (x0, y0), (x1, y1) = self._at([corners[:2], corners[2:]])
        edge_width = self._width(width) if edge else 0
        self._draw.rounded_rectangle((x0, y0, x1, y1), radius * self.scale, fill, edge, edge_width)

    def line(self, points: Sequence[Point], fill: Colour, width: float = 1.0) -> None:
        """A line through points."""
        self._draw.line(self._at(points), fill=fill, width=self._width(width), joint="curve")

    def wedge(self, centre: Point, radius: float, angles: tuple[float, float], fill: Colour) -> None:
        """A slice of a circle; angles in degrees, clockwise from three o'clock."""
        (x0, y0), (x1, y1) = self._at(
            [(centre[0] - radius, centre[1] - radius), (centre[0] + radius, centre[1] + radius)]
        )
        self._draw.pieslice((x0, y0, x1, y1), angles[0], angles[1], fill=fill)

    def half(self, x: float, y: float, rx: float, ry: float, fill: Colour, edge: Colour, *, upper: bool) -> None:
        """The upper or lower half of an ellipse around ``(x, y)``."""
        steps = [math.pi * i / 32 for i in range(33)]
        sign = -1 if upper else 1
        self.polygon([(x + rx * math.cos(t), y + sign * ry * math.sin(t)) for t in steps], fill, edge)


def fineness(pixels: float) -> int:
    """How many times larger to draw: large things need less to look smooth."""
    return 6 if pixels <= 64 else 3


def stamp(
    size: tuple[float, float], unit: float, paint: Callable[[Pen], None], *, shadow: float = 0.22, margin: float = 4.0
) -> Image.Image:
    """Draw a thing with a soft shadow, to be pasted.

    Args:
        size: width and height in units.
        unit: pixels per unit.
        paint: draws with a pen whose origin is the thing's top left corner.
        shadow: how dark the shadow is, from 0 (none) to 1.
        margin: units around the thing, for the shadow and for what stands out.

    Returns:
        An RGBA picture of the thing with its margin.
    """
    width, height = (round((side + 2 * margin) * unit) for side in size)
    fine = fineness(max(width, height))
    pen = Pen((width * fine, height * fine), unit * fine, margin)
    paint(pen)
    return cast(pen.image.resize((width, height), Image.Resampling.BOX), unit, shadow)


def cast(image: Image.Image, unit: float, shadow: float) -> Image.Image:
    """The picture over its own soft shadow, down and to the right."""
    if not shadow:
        return image
    alpha = ImageChops.offset(image.getchannel("A"), round(0.6 * unit), max(1, round(1.1 * unit)))
    alpha = alpha.filter(ImageFilter.GaussianBlur(1.0 * unit)).point([round(value * shadow) for value in range(256)])
    under = Image.new("RGBA", image.size, (*SHADOW, 0))
    under.putalpha(alpha)
    return Image.alpha_composite(under, image)


def gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    """RGB from one colour at the top to another at the bottom."""
    rows = np.linspace(0.0, 1.0, size[1])[:, None]
    column = np.asarray(top) * (1 - rows) + np.asarray(bottom) * rows
    pixels = np.broadcast_to((column + 0.5).astype(np.uint8)[:, None, :], (size[1], size[0], 3))
    return Image.fromarray(np.ascontiguousarray(pixels))


def paste(canvas: Image.Image, image: Image.Image, x: float, y: float) -> None:
    """Put an RGBA picture onto a canvas by its centre, in pixels."""
    canvas.paste(image, (round(x - image.width / 2), round(y - image.height / 2)), image)
