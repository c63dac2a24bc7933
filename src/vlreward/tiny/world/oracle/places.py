"""Sentences about a street and about a robot's table."""

from __future__ import annotations

import re

from ..combinations import STREET_NOUNS, Pair
from ..scenes import STREET_PLACES, Street, Table, TableThing
from .reading import COLOUR, TABLE_NOUN, verdict

_THING = re.compile(rf"\b(?:({COLOUR}) )?({'|'.join(STREET_NOUNS)}|tree|sun|cloud)\b")
_PLACE = re.compile(r"\b(?:(in the sky|up) )?(?:on the (left|right)|in the (middle))\b")


def described(scene: Street, text: str) -> bool:
    """Whether a description names everything, in its colour and place, and nothing else."""
    things = _THING.findall(text)
    places = [f"{'sky ' if high else ''}{side or middle}" for high, side, middle in _PLACE.findall(text)]
    if len(things) != len(places) or not all(place in STREET_PLACES for place in places):
        return False
    said = sorted((place, noun, colour) for (colour, noun), place in zip(things, places, strict=True))
    return said == sorted((spot.place, spot.noun, spot.colour or "") for spot in scene.spots)


_PAIR = rf"({COLOUR}) ({TABLE_NOUN})"
_COMMANDS = (
    re.compile(rf"(?:put|place|move) the {_PAIR} (in)(?:to)? the (bowl|box|basket)"),
    re.compile(rf"(?:put|place|move) the {_PAIR} (on)(?:to)? the ({COLOUR} {TABLE_NOUN})"),
    re.compile(rf"(?:push|move|slide) the {_PAIR} (to) the (left|right)"),
    re.compile(rf"(?:pick up|lift|take) the {_PAIR}()()"),
)
_REPORT = re.compile(
    rf"the {_PAIR} (?:is )?(?:(in) the (bowl|box|basket|gripper)|(on) the ({COLOUR} {TABLE_NOUN})"
    r"|further (to) the (left|right))"
)
_NOTHING = re.compile(r"nothing has (?:moved|changed)|as it was before|did not move a thing")


def done(before: Table, after: Table, question: str, text: str) -> bool:
    """Whether it is said rightly what happened, and whether that was the command."""
    wanted = _wanted(question)
    happened = _happened(before, after)
    said: tuple[Pair, str] | None = None
    report = _REPORT.search(text)
    if report:
        said = Pair(report[1], report[2]), report[4] or report[6] or report[8]
    elif not _NOTHING.search(text):
        return False
    return said == happened and verdict(text) == (happened == wanted)


def _wanted(question: str) -> tuple[Pair, str] | None:
    for command in _COMMANDS:
        found = command.search(question)
        if found:
            return Pair(found[1], found[2]), found[4] or "gripper"
    return None


def _happened(before: Table, after: Table) -> tuple[Pair, str] | None:
    """Which thing is elsewhere, and where."""
    old = {thing.pair: thing for thing in before.things}
    changed = [thing for thing in after.things if thing != old[thing.pair]]
    if len(changed) != 1:
        return None
    thing = changed[0]
    if thing.held:
        return thing.pair, "gripper"
    if thing.inside:
        return thing.pair, thing.inside
    below = [other for other in after.things if _rests_on(thing, other)]
    if below:
        return thing.pair, str(below[0].pair)
    return thing.pair, "left" if thing.x < old[thing.pair].x else "right"


def _rests_on(thing: TableThing, other: TableThing) -> bool:
    return thing.pair != other.pair and thing.x == other.x and thing.y < other.y
