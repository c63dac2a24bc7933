"""A page with an example of every family, for people."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image as PILImage
from PIL import ImageDraw, ImageFilter

from vlreward.errors import ConfigError
from vlreward.types import Message, Response, Text

from .chance import Chance
from .combinations import Split
from .families import FAMILIES
from .item import Item
from .paint import render
from .paint.letters import font
from .paint.palette import Colour
from .scenes import Scene
from .world import World

SHOWN = (*FAMILIES, "robotics")
"""Unless told: every family once, and one of them twice, which makes the rows even."""

_PAGE: Colour = (246, 245, 250)
_CARD: Colour = (255, 255, 255)
_LINE: Colour = (226, 225, 234)
_INK: Colour = (44, 48, 66)
_FAINT: Colour = (134, 138, 156)
_RIGHT: Colour = (28, 132, 84)
_WRONG: Colour = (204, 62, 58)
_TINTS: dict[Colour, Colour] = {_RIGHT: (236, 248, 241), _WRONG: (253, 240, 238)}

WIDTH, LEAST_HEIGHT, GAP, INSET = 744, 286, 26, 22
"""Of a card, and of the space around and inside it, in pixels."""
_ALONE, _PAIRED, _ANSWER_PICTURE = 242, 170, 128
"""Sides of a prompt's only picture, of one of two, and of a picture that is an answer."""
_QUESTION_SIZE, _ANSWER_SIZE, _NOTE_SIZE = 21, 19, 14
_ANSWER_STEP = 25
"""From one line of an answer to the next."""


def contact_sheet(
    seed: int = 0, split: Split = "train", families: Sequence[str] | None = None, columns: int = 2
) -> PILImage.Image:
    """Draw a page of cards: the picture, the question, the right answer in green and a wrong one in red.

    Args:
        seed: of the world that the examples are from. A card shows the first item of its family there, or the second
            where the family is named for the second time.
        split: ``train``, ``practice`` or ``heldout``.
        families: which, in this order; all unless told.
        columns: cards beside each other.

    Returns:
        A picture in mode RGB, 744 pixels wide for each column besides the gaps, as high as the cards need.

    Raises:
        ConfigError: an unknown family or split, or no column.
    """
    if columns < 1:
        raise ConfigError(f"a contact sheet needs 1 column or more, got {columns}")
    names = SHOWN if families is None else tuple(families)
    items = [World(seed, split, [name]).item(names[:i].count(name)) for i, name in enumerate(names)]
    cards = [_Card(item) for item in items]
    rows = [cards[start : start + columns] for start in range(0, len(cards), columns)]
    heights = [max(LEAST_HEIGHT, *(card.height for card in row)) for row in rows]
    page = PILImage.new("RGB", (columns * (WIDTH + GAP) + GAP, sum(heights) + GAP * (len(rows) + 1)), _PAGE)
    y = GAP
    for row, height in zip(rows, heights, strict=True):
        for column, card in enumerate(row):
            x = GAP + column * (WIDTH + GAP)
            _frame(page, (x, y), (WIDTH, height))
            page.paste(card.content.crop((0, 0, WIDTH, height)), (x, y), _round_mask((WIDTH, height), 16))
        y += height + GAP
    return page


def _frame(page: PILImage.Image, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """A soft shadow and a thin line for a card."""
    border = GAP // 2
    around = (size[0] + 2 * border, size[1] + 2 * border)
    shadow = PILImage.new("L", around)
    shadow.paste(_round_mask(size, 16), (border, border + 3))
    shadow = shadow.filter(ImageFilter.GaussianBlur(6)).point([value // 9 for value in range(256)])
    left, top = corner[0] - border, corner[1] - border
    page.paste((60, 60, 110), (left, top, left + around[0], top + around[1]), shadow)
    page.paste(_LINE, (corner[0] - 1, corner[1] - 1), _round_mask((size[0] + 2, size[1] + 2), 17))


def _round_mask(size: tuple[int, int], radius: int) -> PILImage.Image:
    mask = PILImage.new("L", (size[0] * 4, size[1] * 4))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] * 4 - 1, size[1] * 4 - 1), radius * 4, 255)
    return mask.resize(size, PILImage.Resampling.BOX)


class _Card:
    """One item: its pictures to the left, its words to the right; drawn at once, on more room than it needs."""

    def __init__(self, item: Item) -> None:
        self.content = PILImage.new("RGB", (WIDTH, 3 * LEAST_HEIGHT), _CARD)
        self._draw = ImageDraw.Draw(self.content)
        self._item = item
        x, below_pictures = self._pictures()
        self.height = max(below_pictures, self._texts(x)) + INSET

    def _pictures(self) -> tuple[int, int]:
        """The prompt's pictures; where the words begin, and where the pictures end."""
        scenes = self._item.scenes
        x, y = INSET, INSET
        if not scenes:
            return x, y
        side = _ALONE if len(scenes) == 1 else _PAIRED
        y += (_ALONE - side) // 2
        for scene in scenes:
            self._picture(scene, (x, y), side)
            x += side + 10
        if len(scenes) == 2:
            for i, label in enumerate(("before", "after")):
                self._draw.text((INSET + i * (side + 10) + 2, y + side + 7), label, _FAINT, font(_NOTE_SIZE))
        return x + 14, y + side

    def _texts(self, x: int) -> int:
        """Question and answers; where they end."""
        item = self._item
        y = self._heading((x, INSET), item.family)
        for line in _wrapped(_words(item.messages), _QUESTION_SIZE, WIDTH - INSET - x):
            self._draw.text((x, y), line, _INK, font(_QUESTION_SIZE))
            y += round(_QUESTION_SIZE * 1.3)
        y += 12
        at = Chance("card", item.id, item.family).below(len(item.wrong))
        wrong = item.wrong[at]
        if item.answer_scenes:
            half = (WIDTH - INSET - x - 12) // 2
            self._pictured((x, y, half), item.right, 0, _RIGHT, "")
            return self._pictured((x + half + 12, y, half), wrong.response, 1 + at, _WRONG, wrong.fault)
        y = self._worded((x, y), _words(item.right), _RIGHT, "")
        # Without a picture there is room for more.
        for shown in (wrong,) if item.scenes else item.wrong[:3]:
            y = self._worded((x, y + 10), _words(shown.response), _WRONG, shown.fault)
        return y

    def _heading(self, place: tuple[int, int], text: str) -> int:
        x = float(place[0])
        face = font(_NOTE_SIZE - 1)
        for character in text.upper():
            self._draw.text((round(x), place[1]), character, _FAINT, face)
            x += face.getlength(character) + 1.2
        return place[1] + 25

    def _picture(self, scene: Scene, corner: tuple[int, int], side: int) -> None:
        self.content.paste(_LINE, (corner[0] - 1, corner[1] - 1), _round_mask((side + 2, side + 2), 11))
        self.content.paste(render(scene, side), corner, _round_mask((side, side), 10))

    def _worded(self, place: tuple[int, int], text: str, colour: Colour, fault: str) -> int:
        """An answer in words on its tint, with the kind of its fault; where it ends."""
        x, y = place
        width = WIDTH - INSET - x
        lines = _wrapped(text, _ANSWER_SIZE, width - 54)
        note = font(_NOTE_SIZE).getlength(fault)
        beside = 42 + font(_ANSWER_SIZE).getlength(lines[-1]) + note + 24 <= width
        height = len(lines) * _ANSWER_STEP + (12 if beside or not fault else 16 + _NOTE_SIZE)
        self.content.paste(_TINTS[colour], (x, y), _round_mask((width, height), 9))
        self._mark((x + 20, y + 18), colour)
        for i, line in enumerate(lines):
            self._draw.text((x + 42, y + 6 + i * _ANSWER_STEP), line, colour, font(_ANSWER_SIZE))
        self._draw.text((x + width - 12 - note, y + height - _NOTE_SIZE - 10), fault, _FAINT, font(_NOTE_SIZE))
        return y + height

    def _pictured(self, place: tuple[int, int, int], response: Response, which: int, colour: Colour, fault: str) -> int:
        """An answer that is a picture, perhaps with words below; where it ends."""
        x, y, width = place
        height = _ANSWER_PICTURE + (46 if _words(self._item.right) else 20)
        self.content.paste(_TINTS[colour], (x, y), _round_mask((width, height), 9))
        self._mark((x + 20, y + 22), colour)
        self._picture(self._item.answer_scenes[which], (x + 40, y + 10), _ANSWER_PICTURE)
        self._draw.text((x + 40, y + _ANSWER_PICTURE + 17), _words(response), colour, font(_NOTE_SIZE + 2))
        if fault:
            self._draw.text((x + 40, y + height + 6), fault, _FAINT, font(_NOTE_SIZE))
        return y + height + _NOTE_SIZE + 8

    def _mark(self, centre: tuple[int, int], colour: Colour) -> None:
        """A tick for right, a cross for wrong."""
        mark = PILImage.new("L", (96, 96))
        draw = ImageDraw.Draw(mark)
        if colour == _RIGHT:
            draw.line([(14, 52), (38, 76), (84, 22)], fill=255, width=14, joint="curve")
        else:
            draw.line([(20, 20), (76, 76)], fill=255, width=14)
            draw.line([(76, 20), (20, 76)], fill=255, width=14)
        small = mark.resize((20, 20), PILImage.Resampling.BOX)
        self.content.paste(colour, (centre[0] - 10, centre[1] - 10), small)


def _words(messages: Sequence[Message]) -> str:
    return " ".join(part.text for message in messages for part in message.parts if isinstance(part, Text))


def _wrapped(text: str, pixels: int, width: float) -> list[str]:
    """Lines that are no wider than so many pixels, unless a single word is."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font(pixels).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
