"""Drawing scenes with Pillow, at any size."""

from __future__ import annotations

from PIL import Image

from vlreward.errors import ConfigError

from ..scenes import UNITS, Chart, Dice, Grid, Pie, Scene, Shapes, Sign, Street
from . import charts, figures, shapes, signs, street, table

SMALLEST = 56
"""Pixels below which nothing can be told apart."""


def render(scene: Scene, size: int = UNITS) -> Image.Image:
    """Draw a scene.

    Args:
        scene: what is to be seen.
        size: pixels of a side. At 112, the size for the bundled model, everything that is asked about can be seen;
            larger is for people.

    Returns:
        An image of ``size`` × ``size`` pixels in mode RGB, of its own.

    Raises:
        ConfigError: ``size`` is less than 56.
    """
    if size < SMALLEST:
        raise ConfigError(f"pictures of {size} pixels are too small to see anything; use {SMALLEST} or more")
    match scene:
        case Shapes():
            return shapes.paint(scene, size)
        case Sign():
            return signs.paint(scene, size)
        case Chart():
            return charts.paint(scene, size)
        case Dice():
            return figures.paint_dice(scene, size)
        case Grid():
            return figures.paint_grid(scene, size)
        case Pie():
            return figures.paint_pie(scene, size)
        case Street():
            return street.paint(scene, size)
    return table.paint(scene, size)
