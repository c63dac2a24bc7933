"""Backdrops."""

from __future__ import annotations

from PIL import Image, ImageFilter

from ..scenes import UNITS
from .kept import kept
from .palette import GROUNDS, PAPER, SHADOW, darker, lighter, mix
from .pen import Pen, gradient

FINE = 3
"""How many times larger backdrops are drawn."""

_BLOBS = (
    ((10, 104, 34), (100, 10, 26)),
    ((104, 100, 38), (4, 22, 22)),
    ((56, 128, 46), (14, -2, 24)),
    ((-6, 60, 28), (112, 34, 22)),
    ((88, 118, 34), (30, -10, 28)),
    ((8, 8, 26), (106, 88, 30)),
)
"""Two faint circles per backdrop: x, y and radius."""


@kept
def plain(ground: int, size: int) -> Image.Image:
    """A soft pale backdrop with two large circles, hardly there. Not to be drawn on: take a copy."""
    top, bottom = GROUNDS[ground]
    canvas = gradient((size, size), top, bottom)
    side = size * FINE
    pen = Pen((side, side), side / UNITS)
    for (x, y, radius), tint in zip(_BLOBS[ground], (darker(bottom, 0.022), lighter(top, 0.5)), strict=True):
        pen.ellipse(x, y, radius, radius, tint)
    layer = pen.image.resize((size, size), Image.Resampling.BOX)
    canvas.paste(layer, mask=layer)
    return canvas


@kept
def card(ground: int, size: int) -> Image.Image:
    """A backdrop with a white card on it, for charts."""
    canvas = plain(ground, size).copy()
    side = size * FINE
    unit = side / UNITS
    corners = (5, 5, 107, 107)
    under = Pen((side, side), unit)
    under.box((5, 6.5, 107, 108.5), SHADOW, 7)
    alpha = under.image.getchannel("A").filter(ImageFilter.GaussianBlur(1.6 * unit)).point([v // 6 for v in range(256)])
    shadow = Image.new("RGBA", (side, side), (*SHADOW, 0))
    shadow.putalpha(alpha)
    over = Pen((side, side), unit)
    over.box(corners, PAPER, 7)
    layer = Image.alpha_composite(shadow, over.image).resize((size, size), Image.Resampling.BOX)
    canvas.paste(layer, mask=layer)
    return canvas


@kept
def paper(size: int) -> Image.Image:
    """Squared paper of a school book, with a margin line."""
    side = size * FINE
    pen = Pen((side, side), side / UNITS)
    sheet, rule = (253, 252, 247), (226, 236, 243)
    pen.box((-1, -1, 113, 113), sheet)
    for at in range(8, UNITS, 8):
        pen.line([(at, 0), (at, UNITS)], rule, 0.5)
        pen.line([(0, at), (UNITS, at)], rule, 0.5)
    pen.line([(8, 0), (8, UNITS)], mix((240, 150, 150), sheet, 0.45), 0.8)
    return pen.image.resize((size, size), Image.Resampling.BOX).convert("RGB")
