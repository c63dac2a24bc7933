"""Editing a picture: the instruction and the picture are the prompt, the edited picture is the response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..chance import Chance
from ..combinations import Pair, Split, pairs, recoloured, reshaped
from ..draft import Answer, Draft, Family
from ..layout import QUARTERS, ground, thing
from ..scenes import Shapes, Thing
from ..wording import Voice, a, listed, voices

_SIZE = 32


def make(chance: Chance, split: Split) -> Draft:
    """Recolour, take away, add or move one thing."""
    kind = chance.choice((_recolour, _remove, _add, _move))
    count = 2 if kind in (_add, _move) else chance.whole(2, 3)
    chosen = chance.sample(pairs(split), count)
    places = chance.shuffled(tuple(QUARTERS))
    things = tuple(thing(chance, pair, *QUARTERS[place], _SIZE) for pair, place in zip(chosen, places, strict=False))
    before = Shapes(ground(chance), things)
    instruction, results = kind(chance, split, before, places[count:])
    speakers = voices(chance, len(results))
    worded = chance.coin()
    answers = [_answer(after, voice, worded) for (after, _), voice in zip(results, speakers, strict=True)]
    wrong = tuple((answer, fault) for answer, (_, fault) in zip(answers[1:], results[1:], strict=True))
    prompt: Answer = (before, instruction)
    shown = chance.choice(results)[0]
    question = chance.choice(("what has changed?", "what did you change?", "which change was made?"))
    lesson: tuple[Answer, ...] = (prompt, (shown,), (question,), (changes(before, shown, Voice(chance.key())),))
    return Draft(prompt, answers[0], wrong, lesson=lesson)


_WORDS = ("here it is.", "here is the picture.", "done.", "this is the new picture.", "so it is now.")


def _answer(after: Shapes, voice: Voice, worded: bool) -> Answer:
    """The picture, perhaps with a few words that say nothing about it."""
    return (voice.pick(_WORDS), after) if worded else (after,)


def _with(before: Shapes, old: Thing | None, new: Thing | None) -> Shapes:
    """One thing put in the place of another; nothing stands for taking away or adding."""
    things = [new if other is old else other for other in before.things] if old else [*before.things, new]
    return replace(before, things=tuple(item for item in things if item is not None))


def _painted(one: Thing, pair: Pair) -> Thing:
    return replace(one, pair=pair)


def _extra(chance: Chance, split: Split, after: Shapes, spared: Thing) -> Shapes:
    """Another thing changed as well: gone, or in another colour."""
    other = chance.choice([item for item in after.things if item != spared])
    if chance.coin():
        return _with(after, other, None)
    return _with(after, other, _painted(other, _fresh(chance, recoloured(split, other.pair), after)))


def _fresh(chance: Chance, options: Sequence[Pair], scene: Shapes) -> Pair:
    """One of the pairs that is not in the picture, as long as there is one."""
    shown = {item.pair for item in scene.things}
    return chance.choice([pair for pair in options if pair not in shown] or list(options))


_RECOLOUR = (
    "make the {old} {colour}.",
    "paint the {old} {colour}.",
    "change the {old} to {colour}.",
    "turn the {old} {colour}.",
)


def _recolour(
    chance: Chance, split: Split, before: Shapes, _free: Sequence[str]
) -> tuple[str, list[tuple[Shapes, str]]]:
    target, other, *_ = chance.shuffled(before.things)
    pair = _fresh(chance, recoloured(split, target.pair), before)
    new = _painted(target, pair)
    others = [p for p in recoloured(split, other.pair) if p.colour == pair.colour] or recoloured(split, other.pair)
    third = [p for p in recoloured(split, target.pair) if p != pair] or reshaped(split, target.pair)
    right = _with(before, target, new)
    results = [
        (right, ""),
        (_with(before, other, _painted(other, _fresh(chance, others, before))), "object"),
        (_with(before, target, _painted(target, _fresh(chance, third, before))), "attribute"),
        (before, "no change"),
        (_extra(chance, split, right, new), "extra change"),
    ]
    return chance.choice(_RECOLOUR).format(old=target.pair, colour=pair.colour), results


_REMOVE = ("remove the {old}.", "take the {old} away.", "take away the {old}.", "delete the {old}.")


def _remove(chance: Chance, split: Split, before: Shapes, _free: Sequence[str]) -> tuple[str, list[tuple[Shapes, str]]]:
    target, other, *_ = chance.shuffled(before.things)
    pair = _fresh(chance, recoloured(split, target.pair), before)
    right = _with(before, target, None)
    results = [
        (right, ""),
        (_with(before, other, None), "object"),
        (_with(before, target, _painted(target, pair)), "attribute"),
        (before, "no change"),
        (_extra(chance, split, right, target), "extra change"),
    ]
    return chance.choice(_REMOVE).format(old=target.pair), results


_ADD = ("add {new} in the {place}.", "put {new} in the {place}.", "draw {new} in the {place}.")


def _add(chance: Chance, split: Split, before: Shapes, free: Sequence[str]) -> tuple[str, list[tuple[Shapes, str]]]:
    shown = {item.pair for item in before.things}
    pair = chance.choice([pair for pair in pairs(split) if pair not in shown])
    new = thing(chance, pair, *QUARTERS[free[0]], _SIZE)
    x, y = QUARTERS[free[1]]
    right = _with(before, None, new)
    results = [
        (right, ""),
        (_with(before, None, _painted(new, _fresh(chance, reshaped(split, pair), before))), "object"),
        (_with(before, None, _painted(new, _fresh(chance, recoloured(split, pair), before))), "attribute"),
        (_with(before, None, replace(new, x=x, y=y)), "relation"),
        (before, "no change"),
        (_extra(chance, split, right, new), "extra change"),
    ]
    return chance.choice(_ADD).format(new=a(str(pair)), place=free[0]), results


_MOVE = ("move the {old} to the {place}.", "put the {old} in the {place}.", "shift the {old} to the {place}.")


def _move(chance: Chance, split: Split, before: Shapes, free: Sequence[str]) -> tuple[str, list[tuple[Shapes, str]]]:
    target, other = chance.shuffled(before.things)
    x, y = QUARTERS[free[0]]
    elsewhere_x, elsewhere_y = QUARTERS[free[1]]
    new = replace(target, x=x, y=y)
    right = _with(before, target, new)
    results = [
        (right, ""),
        (_with(before, other, replace(other, x=x, y=y)), "object"),
        (_with(before, target, replace(target, x=elsewhere_x, y=elsewhere_y)), "relation"),
        (before, "no change"),
        (_extra(chance, split, right, new), "extra change"),
    ]
    return chance.choice(_MOVE).format(old=target.pair, place=free[0]), results


def place_of(one: Thing) -> str:
    """The quarter of the picture that a thing is in."""
    return f"{'top' if one.y < 56 else 'bottom'} {'left' if one.x < 56 else 'right'}"


def changes(before: Shapes, after: Shapes, voice: Voice) -> str:
    """What differs between two pictures, in words."""
    old = {item for item in before.things if item not in after.things}
    new = [item for item in after.things if item not in before.things]
    told = []
    for item in sorted(old, key=lambda item: (item.x, item.y)):
        moved = [other for other in new if other.pair == item.pair]
        painted = [other for other in new if (other.x, other.y) == (item.x, item.y)]
        if moved:
            told.append(voice.say(_MOVED, thing=item.pair, place=place_of(moved[0])))
        elif painted:
            told.append(voice.say(_PAINTED, old=item.pair, new=a(str(painted[0].pair))))
        else:
            told.append(voice.say(_GONE, thing=item.pair))
        new = [other for other in new if other not in moved + painted]
    told += [voice.say(_ADDED, thing=a(str(item.pair)), place=place_of(item)) for item in new]
    return f"{listed(told)}." if told else voice.pick(_UNCHANGED)


_MOVED = ("the {thing} is in the {place} now", "the {thing} has moved to the {place}")
_PAINTED = ("the {old} is {new} now", "the {old} has become {new}")
_GONE = ("the {thing} is gone", "the {thing} is not there any more")
_ADDED = ("there is {thing} in the {place} now", "{thing} is new in the {place}")
_UNCHANGED = ("nothing has changed.", "nothing. the picture is as it was.")

FAMILY = Family("editing", "image editing", make)
