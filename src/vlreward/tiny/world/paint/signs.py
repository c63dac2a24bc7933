"""Signs with a word on them."""

from __future__ import annotations

from PIL import Image

from ..scenes import UNITS, Sign
from .grounds import FINE
from .kept import kept
from .letters import width_of, write
from .palette import Colour, darker, lighter
from .pen import Pen, cast, gradient

STYLES = 4
MIDDLES = (46, 50, 54, 62)
"""Where the word stands, by style."""
_WOOD: Colour = (214, 160, 102)
_LETTERS: tuple[Colour, ...] = ((84, 50, 26), (255, 255, 255), (250, 247, 236), (70, 52, 64))
_LETTER_SIZE = 27
_ROOM = 90
"""Width for the word, in units: longer ones are written smaller."""


def _board(pen: Pen) -> None:
    """A wooden board on two posts, on a meadow."""
    _meadow(pen)
    for post in (30, 76):
        pen.box((post, 58, post + 7, 101), darker(_WOOD, 0.3), 2)
    pen.box((5, 27, 107, 66), _WOOD, 5, darker(_WOOD, 0.42), 1.6)
    for y in (37.5, 56):
        pen.line([(8, y), (104, y)], darker(_WOOD, 0.12), 0.7)
    for x in (33.5, 79.5):
        for y in (31.5, 61.5):
            pen.ellipse(x, y, 1.3, 1.3, darker(_WOOD, 0.45))


def _meadow(pen: Pen) -> None:
    pen.ellipse(20, 112, 70, 28, (158, 205, 134))
    pen.ellipse(92, 116, 66, 30, (134, 190, 116))
    for x, y, petal in ((14, 100, (255, 255, 255)), (50, 105, (250, 214, 90)), (98, 98, (255, 255, 255))):
        for dx, dy in ((-1.3, 0), (1.3, 0), (0, -1.3), (0, 1.3)):
            pen.ellipse(x + dx, y + dy, 1.2, 1.2, petal)
        pen.ellipse(x, y, 0.9, 0.9, (245, 180, 60))


def _plate(pen: Pen) -> None:
    """An enamel street plate on a pale brick wall."""
    for row in range(10):
        for column in range(-1, 6):
            x, y = column * 24 + (row % 2) * 12, row * 12
            tint = ((244, 228, 214), (240, 222, 207), (247, 233, 221))[(row * 2 + column) % 3]
            pen.box((x + 0.6, y + 0.6, x + 23.4, y + 11.4), tint, 1.2)
    pen.box((5, 30, 107, 70), (44, 98, 176), 6, (30, 68, 128), 1.4)
    pen.box((7.5, 32.5, 104.5, 67.5), (44, 98, 176), 4, (255, 255, 255), 1.1)
    for x in (11, 101):
        pen.ellipse(x, 36.5, 1.1, 1.1, (225, 232, 242))


def _chalkboard(pen: Pen) -> None:
    """A chalkboard on an easel."""
    for x0, x1 in ((34, 20), (78, 92)):
        pen.line([(x0, 80), (x1, 110)], darker(_WOOD, 0.25), 4)
    pen.line([(56, 12), (56, 22)], darker(_WOOD, 0.25), 4)
    pen.box((4, 20, 108, 87), _WOOD, 4, darker(_WOOD, 0.4), 1.2)
    pen.box((8.5, 24.5, 103.5, 82.5), (50, 82, 72), 2, (40, 64, 58), 1)
    pen.line([(30, 74), (82, 74)], (120, 150, 138), 0.9)
    pen.box((70, 84, 80, 86.5), (255, 255, 255), 1)
    pen.box((60, 84, 67, 86.5), (246, 170, 178), 1)


def _shop(pen: Pen) -> None:
    """A shop front: an awning above a name board."""
    pen.box((-1, 16, 113, 113), (250, 236, 216))
    pen.box((3, 44, 109, 80), (255, 250, 240), 4, (150, 120, 110), 1.3)
    for i in range(7):
        stripe = (226, 92, 84) if i % 2 == 0 else (255, 246, 238)
        pen.ellipse(8 + i * 16, 33, 8, 6, stripe)
        pen.box((i * 16, 8, i * 16 + 16, 33), stripe)
    pen.line([(-1, 8), (113, 8)], (180, 64, 60), 1.6)
    for x in (8, 62):
        pen.box((x, 87, x + 42, 113), (188, 222, 232), 2, (150, 120, 110), 1.4)
        pen.line([(x + 8, 110), (x + 20, 90)], (222, 240, 246), 2)


_PAINTERS = (_board, _plate, _chalkboard, _shop)
_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((190, 224, 243), (236, 246, 246)),
    ((250, 240, 230), (250, 240, 230)),
    ((246, 240, 230), (232, 220, 204)),
    ((206, 228, 240), (236, 242, 244)),
)


@kept
def _empty(style: int, size: int) -> Image.Image:
    side = size * FINE
    pen = Pen((side, side), side / UNITS)
    _PAINTERS[style](pen)
    layer = cast(pen.image.resize((size, size), Image.Resampling.BOX), size / UNITS, 0.25)
    canvas = gradient((size, size), *_SKIES[style])
    canvas.paste(layer, mask=layer)
    return canvas


def paint(scene: Sign, size: int) -> Image.Image:
    """Draw a sign and its word."""
    unit = size / UNITS
    canvas = _empty(scene.style, size).copy()
    stroke, spacing = max(1, round(0.55 * unit)), round(1.6 * unit)
    pixels = round(_LETTER_SIZE * unit)
    wide = width_of(scene.word, pixels, stroke=stroke, spacing=spacing)
    if wide > _ROOM * unit:
        pixels = int(pixels * _ROOM * unit / wide)
    middle = (UNITS / 2 * unit, (MIDDLES[scene.style] + scene.drop) * unit)
    colour = _LETTERS[scene.style]
    if scene.style == 1:
        write(canvas, scene.word, (middle[0] + 0.8 * unit, middle[1] + 0.8 * unit), pixels, (30, 68, 128),
              stroke=stroke, spacing=spacing)  # fmt: skip
    elif scene.style == 0:
        write(canvas, scene.word, (middle[0], middle[1] + 0.7 * unit), pixels, lighter(_WOOD, 0.35),
              stroke=stroke, spacing=spacing)  # fmt: skip
    write(canvas, scene.word, middle, pixels, colour, stroke=stroke, spacing=spacing)
    return canvas
