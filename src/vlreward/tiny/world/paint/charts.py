"""Bar charts."""

from __future__ import annotations

from PIL import Image, ImageDraw

from ..scenes import CHART_TOP, UNITS, Chart
from .grounds import FINE, card
from .kept import kept
from .letters import write
from .palette import FILLS, INK, darker, lighter, mix
from .pen import gradient

_LEFT, _RIGHT, _BASE, _STEP = 20.0, 102.0, 98.0, 13.6
"""The axes, and the height of one step on the value axis, in units."""


@kept
def _axes(ground: int, size: int) -> Image.Image:
    unit = size / UNITS
    large = card(ground, size).resize((size * FINE, size * FINE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(large)
    scale = unit * FINE
    for value in range(CHART_TOP + 1):
        y = (_BASE - value * _STEP) * scale
        shade = mix(INK, (255, 255, 255), 0.45 if value == 0 else 0.86)
        draw.line([(_LEFT * scale, y), (_RIGHT * scale, y)], shade, max(1, round((1.1 if value == 0 else 0.7) * scale)))
    canvas = large.resize((size, size), Image.Resampling.BOX)
    for value in range(CHART_TOP + 1):
        write(
            canvas,
            str(value),
            (13 * unit, (_BASE - value * _STEP) * unit),
            round(9.5 * unit),
            mix(INK, (255,) * 3, 0.2),
        )
    return canvas


@kept
def _bar(colour: str, width: int, height: int, unit: float) -> Image.Image:
    """A bar with a round top and square foot."""
    fine = FINE
    fill = FILLS[colour]
    big = (width * fine, height * fine)
    body = gradient(big, lighter(fill, 0.14), darker(fill, 0.04))
    edge = max(1, round(0.9 * unit * fine))
    radius = 2.6 * unit * fine
    mask = Image.new("L", big)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, big[0] - 1, big[1] + 2 * radius), radius, 255)
    image = Image.new("RGB", big, darker(fill, 0.32))
    inner = Image.new("L", big)
    ImageDraw.Draw(inner).rounded_rectangle((edge, edge, big[0] - 1 - edge, big[1] + 2 * radius), radius - edge, 255)
    image.paste(body, mask=inner)
    image.putalpha(mask)
    return image.resize((width, height), Image.Resampling.BOX)


def paint(scene: Chart, size: int) -> Image.Image:
    """Draw a chart."""
    unit = size / UNITS
    canvas = _axes(scene.ground, size).copy()
    pitch = scene.room / len(scene.bars)
    width = min(20.0, pitch * 0.72)
    bottom = round(_BASE * unit)
    for i, bar in enumerate(scene.bars):
        middle = (_LEFT + 1 + scene.start + pitch * (i + 0.5)) * unit
        top = round((_BASE - bar.value * _STEP) * unit)
        image = _bar(bar.colour, round(width * unit), bottom - top, unit)
        canvas.paste(image, (round(middle - image.width / 2), top), image)
    return canvas
