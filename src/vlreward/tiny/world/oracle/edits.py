"""Whether an edited picture is what the instruction asked for."""

from __future__ import annotations

import re
from typing import TypeAlias

from ..combinations import Pair
from ..scenes import Shapes, Thing
from .reading import COLOUR, SHAPE

_PAIR = rf"({COLOUR}) ({SHAPE})"
_RECOLOUR = re.compile(rf"(?:make|paint|change|turn) the {_PAIR}(?: to)? ({COLOUR})\b")
_REMOVE = re.compile(rf"(?:remove|delete|take|take away) the {_PAIR}")
_ADD = re.compile(rf"(?:add|put|draw) an? {_PAIR} in the (top|bottom) (left|right)")
_MOVE = re.compile(rf"(?:move|put|shift) the {_PAIR} (?:to|in) the (top|bottom) (left|right)")

_Content: TypeAlias = frozenset[tuple[Pair, str, str]]


def edited(before: Shapes, instruction: str, after: Shapes) -> bool:
    """Whether exactly what was asked for has changed, and nothing else."""
    content = _content(before)
    wanted: _Content | None = None
    if found := _RECOLOUR.search(instruction):
        old = _of(content, Pair(found[1], found[2]))
        wanted = content - old | {(Pair(found[3], found[2]), row, side) for _, row, side in old}
    elif found := _REMOVE.search(instruction):
        wanted = content - _of(content, Pair(found[1], found[2]))
    elif found := _ADD.search(instruction):
        wanted = content | {(Pair(found[1], found[2]), found[3], found[4])}
    elif found := _MOVE.search(instruction):
        pair = Pair(found[1], found[2])
        wanted = content - _of(content, pair) | {(pair, found[3], found[4])}
    return wanted is not None and wanted == _content(after) and before.ground == after.ground


def _of(content: _Content, pair: Pair) -> _Content:
    return frozenset(entry for entry in content if entry[0] == pair)


def _content(scene: Shapes) -> _Content:
    return frozenset((thing.pair, *_quarter(thing)) for thing in scene.things)


def _quarter(thing: Thing) -> tuple[str, str]:
    return "top" if thing.y < 56 else "bottom", "left" if thing.x < 56 else "right"
