"""Letters and digits in the one font that comes with Pillow, drawn one by one.

One by one, because kerning and layout depend on what Pillow was built with, and because the glyphs can be kept.
"""

from __future__ import annotations

import functools

from PIL import Image, ImageDraw, ImageFont

from .palette import Colour


@functools.lru_cache(maxsize=64)
def font(pixels: int) -> ImageFont.FreeTypeFont:
    """The font that Pillow carries, of this size."""
    loaded = ImageFont.load_default(pixels)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType, which its own font needs")
    return loaded


@functools.lru_cache(maxsize=2048)
def glyph(character: str, pixels: int, stroke: int) -> tuple[Image.Image, int]:
    """A character's mask, as high as the line, and how far to go on to the next one, in pixels."""
    face = font(pixels)
    left, _, right, _ = face.getbbox(character, stroke_width=stroke)
    advance = max(1, round(right - left))
    mask = Image.new("L", (advance, round(pixels * 1.3) + 2 * stroke))
    ImageDraw.Draw(mask).text((-left, 0), character, fill=255, font=face, stroke_width=stroke)
    return mask, advance


def width_of(text: str, pixels: int, *, stroke: int = 0, spacing: int = 1) -> int:
    """Width of a line in pixels."""
    return sum(glyph(character, pixels, stroke)[1] for character in text) + spacing * (len(text) - 1)


def write(
    canvas: Image.Image,
    text: str,
    centre: tuple[float, float],
    pixels: int,
    colour: Colour,
    *,
    stroke: int = 0,
    spacing: int = 1,
) -> None:
    """Write capitals or digits around a point, in pixels."""
    x = round(centre[0] - width_of(text, pixels, stroke=stroke, spacing=spacing) / 2)
    # The middle of a capital, from the top of its line.
    y = round(centre[1] - _middle(pixels, stroke))
    for character in text:
        mask, advance = glyph(character, pixels, stroke)
        canvas.paste(colour, (x, y, x + mask.width, y + mask.height), mask)
        x += advance + spacing


@functools.lru_cache(maxsize=64)
def _middle(pixels: int, stroke: int) -> float:
    _, top, _, bottom = font(pixels).getbbox("H", stroke_width=stroke)
    return (top + bottom) / 2
