"""Sentences about pictures of shapes."""

from __future__ import annotations

import re

from ..combinations import Pair
from ..scenes import Shapes, Thing
from .reading import COLOUR, SHAPE, digits, equations_hold, numbers, pairs_in, results, verdict

_PHRASE = re.compile(rf"(?:\b(an?|\d+) )?(?:\b(big|large|small|little) )?\b({COLOUR}) ({SHAPE})s?\b")
_RELATION = re.compile(r"\b(left of|right of|above|below)\b")
_CORNER = re.compile(r"\b(top|bottom) (left|right)\b")
_BIG_FROM = 30
"""Units from which on a thing is called big."""


def count(scene: Shapes, colour: str | None = None, noun: str | None = None) -> int:
    """How many things have this colour and this shape, where they are given."""
    return sum(
        (colour is None or thing.pair.colour == colour) and (noun is None or thing.pair.noun == noun)
        for thing in scene.things
    )


def is_so(relation: str, one: Thing, other: Thing) -> bool:
    """Whether the first thing is so placed to the second; the longer way decides."""
    dx, dy = one.x - other.x, one.y - other.y
    if relation in ("left of", "right of"):
        return abs(dx) > abs(dy) and (dx < 0) == (relation == "left of")
    return abs(dy) > abs(dx) and (dy < 0) == (relation == "above")


def _only(scene: Shapes, pair: Pair) -> Thing | None:
    found = [thing for thing in scene.things if thing.pair == pair]
    return found[0] if len(found) == 1 else None


def caption(scene: Shapes, text: str) -> bool:
    """Whether all that a caption says is true, and that it says something."""
    text = digits(text)
    phrases = _PHRASE.findall(text)
    named = [Pair(colour, noun) for _, _, colour, noun in phrases]
    if not phrases or len(set(named)) != len(named):
        return False
    for (amount, size, colour, noun), pair in zip(phrases, named, strict=True):
        wanted = int(amount) if amount.isdigit() else 1
        if count(scene, colour, noun) != wanted:
            return False
        big = [thing.size >= _BIG_FROM for thing in scene.things if thing.pair == pair]
        if size and any(is_big != (size in ("big", "large")) for is_big in big):
            return False
    relations = _RELATION.findall(text)
    if not relations:
        return True
    things = [_only(scene, pair) for pair in named]
    if len(relations) != 1 or len(things) != 2 or things[0] is None or things[1] is None:
        return False
    return is_so(relations[0], things[0], things[1])


def counted(scene: Shapes, question: str, text: str) -> bool:
    """Whether a count is right, and the counts by colour if they were asked for."""
    text = digits(text)
    asked = re.search(rf"(?:({COLOUR}) )?({SHAPE}|shape)s", question)
    if asked is None:
        return False
    colour, noun = asked[1], None if asked[2] == "shape" else asked[2]
    truth = count(scene, colour, noun)
    if "colour" not in question:
        said = [0] if re.search(r"\b(no|none)\b", text) else numbers(text)
        return said == [truth]
    total = re.findall(rf"(\d+) {noun}s", text)
    parts = {name: int(n) for n, name in re.findall(rf"(\d+) ({COLOUR})\b", text)}
    shown = {thing.pair.colour for thing in scene.things if thing.pair.noun == noun}
    return (
        total == [str(truth)]
        and set(parts) == shown
        and all(count(scene, name, noun) == n for name, n in parts.items())
    )


def related(scene: Shapes, question: str, text: str) -> bool:
    """Whether an answer about places is right: where something is, whether it is there, or what is there."""
    asked = pairs_in(question)
    if "direction from" in question:
        asked.reverse()
    if len(asked) == 2:
        return _placed(scene, question, asked, text)
    said = pairs_in(text)
    if len(said) != 1:
        return False
    thing, middle = _only(scene, said[0]), _only(scene, asked[0]) if asked else None
    if thing is None:
        return False
    if middle is not None:
        relation = _RELATION.findall(question)[0]
        return is_so(relation, thing, middle)
    corner = _CORNER.findall(question)[0]
    is_there: bool = corner == ("top" if thing.y < 56 else "bottom", "left" if thing.x < 56 else "right")
    return is_there


def _placed(scene: Shapes, question: str, asked: list[Pair], text: str) -> bool:
    one, other = (_only(scene, pair) for pair in asked)
    relations = _RELATION.findall(text)
    if one is None or other is None or len(relations) != 1 or not is_so(relations[0], one, other):
        return False
    said = pairs_in(text)
    subject_first = not said or said == asked or (len(said) == 1 and _stands_right(text, said[0], asked))
    answer = verdict(text)
    if re.match(r"(is|look|true)\b", question):
        return subject_first and answer == (_RELATION.findall(question)[0] == relations[0])
    return subject_first and answer is None


def _stands_right(text: str, said: Pair, asked: list[Pair]) -> bool:
    """Whether the one thing named is the subject before "is", or what the place is compared to."""
    before = f"{said} is" in text
    return said == asked[0] if before else said == asked[1]


def more(scene: Shapes, question: str, text: str) -> bool:
    """Whether a comparison of counts is right, with every step."""
    text = digits(text)
    nouns = [noun for noun in re.findall(rf"({SHAPE})s", question)][:2]
    if len(nouns) == 2:
        truth = count(scene, noun=nouns[0]), count(scene, noun=nouns[1])
        said = {noun: int(n) for n, noun in re.findall(rf"(\d+) ({SHAPE})", text)}
        steps = all(count(scene, noun=noun) == n for noun, n in said.items())
        found = results(text)
        return steps and equations_hold(text, "-", truth) and bool(found) and set(found) == {truth[0] - truth[1]}
    colours: list[str] = re.findall(rf"\b({COLOUR})\b", question)[:2]
    if len(colours) != 2:
        return False
    counts = {colour: count(scene, colour=colour) for colour in colours}
    said = {colour: int(n) for n, colour in re.findall(rf"(\d+) ({COLOUR})", text)}
    most = max(colours, key=counts.__getitem__)
    winners: list[str] = re.findall(rf"(?:more |: )({COLOUR})\b", text)
    return winners == [most] and all(counts.get(str(colour)) == n for colour, n in said.items())


def ends_of_row(scene: Shapes, text: str) -> bool:
    """Whether the first and the last thing in a row are named rightly, and their colours rightly compared."""
    row = sorted(scene.things, key=lambda thing: thing.x)
    ends = [row[0].pair, row[-1].pair]
    return pairs_in(text) == ends and verdict(text) == (ends[0].colour == ends[1].colour)
