"""Counting shapes, by shape, by colour, or by both."""

from __future__ import annotations

from collections.abc import Sequence

from ..chance import Chance
from ..combinations import SHAPES, Pair, Split, pairs, palette
from ..draft import Draft, Family, posed, text_draft
from ..layout import scattered
from ..numbers import Numbers, readings, window
from ..wording import Voice, plural

_MOST = 6
_PROMPTS = (
    "how many {things} are there?",
    "how many {things} do you see?",
    "count the {things}.",
    "how many {things} are in the picture?",
)
_ANSWERS = (
    "{number}.",
    "there {verb} {number} {things}.",
    "i count {number} {things}.",
    "{number} {things}.",
    "i see {number} {things} in the picture.",
    "the picture has {number} {things}.",
)


def make(chance: Chance, split: Split) -> Draft:
    """Count one kind of thing, or one kind in two colours."""
    return _in_two_colours(chance, split) if chance.coin(0.3) else _one_kind(chance, split)


def _one_kind(chance: Chance, split: Split) -> Draft:
    by = chance.choice(("shape", "colour", "both"))
    asked = chance.choice(pairs(split))
    name = {"shape": asked.noun, "colour": f"{asked.colour} shape", "both": str(asked)}[by]

    def matches(pair: Pair) -> bool:
        return (by == "colour" or pair.noun == asked.noun) and (by == "shape" or pair.colour == asked.colour)

    def say(count: int, voice: Voice) -> str:
        number = voice.pick(("no", "zero", "0")) if count == 0 else voice.number(count)
        verb = "is" if count == 1 else "are"
        if count == 0 and voice.coin():
            return voice.say(("none.", "there are none."))
        # "no." alone would be another answer.
        templates = _ANSWERS[1:] if number == "no" else _ANSWERS
        return voice.say(templates, number=number, things=plural(name, count), verb=verb)

    count, right, wrong = posed(chance, window(chance, 0, 5), say, _count_fault)
    those = [chance.choice([pair for pair in pairs(split) if matches(pair)]) for _ in range(count)]
    others = _others(chance, [pair for pair in pairs(split) if not matches(pair)], _MOST - count)
    prompt = chance.choice(_PROMPTS).format(things=plural(name, 2))
    return text_draft((scattered(chance, those + others), prompt), right, wrong, str(count))


def _others(chance: Chance, options: Sequence[Pair], room: int) -> list[Pair]:
    return [chance.choice(options) for _ in range(chance.whole(1, min(3, room)))]


def _count_fault(truth: int, said: int) -> str:
    if said == 0:
        return "omission"
    return "hallucination" if truth == 0 else "number"


_SPLITS = [(i, j) for i in range(1, 5) for j in range(1, 5) if i + j <= 5]
_TWO_PROMPTS = (
    "how many {things} are there, and in which colours?",
    "count the {things} of each colour.",
    "how many {things} do you see, and what colours are they?",
)
_TWO_ANSWERS = (
    "there are {total} {things}: {parts}.",
    "{total} {things}: {parts}.",
    "i count {total} {things}, {parts}.",
    "{parts}, so {total} {things}.",
)


def _in_two_colours(chance: Chance, split: Split) -> Draft:
    noun = chance.choice(SHAPES)
    one, other = chance.sample([colour for colour in palette(split) if Pair(colour, noun) in pairs(split)], 2)

    def say(counts: Numbers, voice: Voice) -> str:
        parts = voice.shuffled([f"{voice.number(n)} {colour}" for n, colour in zip(counts, (one, other), strict=True)])
        total = voice.number(sum(counts))
        return voice.say(_TWO_ANSWERS, total=total, things=plural(noun, 2), parts=" and ".join(parts))

    def fault(truth: Numbers, said: Numbers) -> str:
        return "step" if sum(truth) == sum(said) else "number"

    counts, right, wrong = posed(chance, readings(chance, _SPLITS), say, fault)
    those = [Pair(one, noun)] * counts[0] + [Pair(other, noun)] * counts[1]
    others = _others(chance, [pair for pair in pairs(split) if pair.noun != noun], _MOST - len(those))
    prompt = chance.choice(_TWO_PROMPTS).format(things=plural(noun, 2))
    return text_draft((scattered(chance, those + others), prompt), right, wrong, str(sum(counts)))


FAMILY = Family("counting", "visual question answering", make)
