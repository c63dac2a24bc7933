"""Several steps over what is seen: read two things, then add or compare."""

from __future__ import annotations

import operator

from ..chance import Chance
from ..combinations import DICE, HELDOUT_DICE, SHAPES, Pair, Split, pairs, palette
from ..draft import Draft, Family, posed, text_draft
from ..layout import ground, scattered
from ..numbers import Numbers, readings, with_different_results
from ..scenes import SMALL, Dice, Die, Shapes, Thing
from ..wording import Voice, a, plural


def make(chance: Chance, split: Split) -> Draft:
    """One of four kinds of task."""
    return chance.choice((_dice, _how_many_more, _which_more, _same_colour))(chance, split)


_DICE_PROMPTS = (
    "what do the two dice add up to?",
    "what is the sum of the dice?",
    "add the numbers on the dice.",
    "how many points do the dice show in all?",
)
_RESULTS = ("{result}.", "it is {result}.", "the answer is {result}.", "that makes {result}.")
_DICE_STEPS = (
    "the {one} die shows {a} and the {other} die shows {b}, so the sum is {result}.",
    "the {one} die shows {a}, the {other} die shows {b}. {a} + {b} = {result}.",
    "{a} + {b} = {result}, with {a} on the {one} die.",
    "the sum is {result}: {a} on the {one} die and {b} on the {other} die.",
    "{one} {a}, {other} {b}, {result} in all.",
)


def _dice(chance: Chance, split: Split) -> Draft:
    one, other = chance.sample(palette(split), 2)
    allowed = [throw for throw in DICE if (throw in HELDOUT_DICE) == (split == "heldout")]
    with_steps = chance.coin(0.6)
    candidates = readings(chance, allowed) if with_steps else with_different_results(chance, allowed, operator.add)

    def say(throw: Numbers, voice: Voice) -> str:
        left, right, total = map(voice.number, (*throw, sum(throw)))
        first, second = (one, left), (other, right)
        if voice.coin():
            first, second = second, first
        templates = _DICE_STEPS if with_steps else _RESULTS
        return voice.say(templates, one=first[0], a=first[1], other=second[0], b=second[1], result=total)

    def fault(truth: Numbers, said: Numbers) -> str:
        return "step" if sum(truth) == sum(said) else "number"

    throw, right, wrong = posed(chance, candidates, say, fault)
    dice = tuple(
        Die(colour, value, x + chance.whole(-3, 3), 56 + chance.whole(-14, 14), 4 * chance.whole(-3, 3))
        for colour, value, x in zip((one, other), throw, (30, 82), strict=True)
    )
    scene = Dice(ground(chance), dice)
    return text_draft((scene, chance.choice(_DICE_PROMPTS)), right, wrong, str(sum(throw)))


_MORE_COUNTS = [(i, j) for i in range(2, 6) for j in range(1, 4) if i > j and i + j <= 6]
_MORE_PROMPTS = (
    "how many more {ones} than {others} are there?",
    "there are more {ones} than {others}. how many more?",
    "by how many are there more {ones} than {others}?",
)
_MORE_STEPS = (
    "there are {a} {ones} and {b} {others}, so {result} more.",
    "{a} {ones} and {b} {others}: {a} - {b} = {result}.",
    "{result} more: there are {a} {ones} and {b} {others}.",
    "i count {a} {ones} and {b} {others}. {a} - {b} = {result}.",
)


def _how_many_more(chance: Chance, split: Split) -> Draft:
    one, other = chance.sample(SHAPES, 2)
    with_steps = chance.coin(0.6)
    candidates = (
        readings(chance, _MORE_COUNTS) if with_steps else with_different_results(chance, _MORE_COUNTS, operator.sub)
    )

    def say(counts: Numbers, voice: Voice) -> str:
        first, second, result = map(voice.number, (*counts, counts[0] - counts[1]))
        ones, others = plural(one, counts[0]), plural(other, counts[1])
        templates = _MORE_STEPS if with_steps else _RESULTS
        return voice.say(templates, ones=ones, others=others, a=first, b=second, result=result)

    def fault(truth: Numbers, said: Numbers) -> str:
        return "step" if truth[0] - truth[1] == said[0] - said[1] else "number"

    counts, right, wrong = posed(chance, candidates, say, fault)
    shown = [
        chance.choice([pair for pair in pairs(split) if pair.noun == noun])
        for noun, count in zip((one, other), counts, strict=True)
        for _ in range(count)
    ]
    prompt = chance.choice(_MORE_PROMPTS).format(ones=plural(one, 2), others=plural(other, 2))
    return text_draft((scattered(chance, shown), prompt), right, wrong, str(counts[0] - counts[1]))


_UNEQUAL = [(i, j) for i in range(1, 6) for j in range(1, 6) if i != j and i + j <= 6]
_WHICH_PROMPTS = (
    "are there more {one} shapes or more {other} shapes?",
    "which are more: the {one} shapes or the {other} shapes?",
    "is there more in {one} or more in {other}?",
)
_WHICH_STEPS = (
    "there are {a} {one} and {b} {other} shapes, so more {most} ones.",
    "more {most} shapes: {a} {one} and {b} {other}.",
    "i count {a} {one} and {b} {other}. there are more {most} ones.",
    "{a} {one}, {b} {other}: {most}.",
)


def _which_more(chance: Chance, split: Split) -> Draft:
    one, other = chance.sample(palette(split), 2)

    def say(counts: Numbers, voice: Voice) -> str:
        first, second = map(voice.number, counts)
        most = one if counts[0] > counts[1] else other
        return voice.say(_WHICH_STEPS, one=one, other=other, a=first, b=second, most=most)

    def fault(truth: Numbers, said: Numbers) -> str:
        return "step" if (truth[0] > truth[1]) == (said[0] > said[1]) else "number"

    counts, right, wrong = posed(chance, chance.sample(_UNEQUAL, 4), say, fault)
    shown = [
        chance.choice([pair for pair in pairs(split) if pair.colour == colour])
        for colour, count in zip((one, other), counts, strict=True)
        for _ in range(count)
    ]
    prompt = chance.choice(_WHICH_PROMPTS).format(one=one, other=other)
    return text_draft((scattered(chance, shown), prompt), right, wrong, one if counts[0] > counts[1] else other)


_ROW = (15, 42, 70, 97)
_SAME_PROMPTS = (
    "do the first and the last shape in the row have the same colour?",
    "is the first shape in the row of the same colour as the last one?",
    "compare the first shape with the last one: are they the same colour?",
)
_SAME_ANSWERS = (
    "the first is {one} and the last is {other}, so {verdict}.",
    "{verdict}: the first is {one} and the last is {other}.",
    "{verdict}, first comes {one} and last {other}.",
    "{verdict}, the row goes from {one} to {other}.",
)


def _same_colour(chance: Chance, split: Split) -> Draft:
    """Two colours that each end of the row may have, one of them shared: in one of four cases they agree."""
    options = {noun: [pair.colour for pair in pairs(split) if pair.noun == noun] for noun in SHAPES}
    shared = chance.choice(palette(split))
    one, other = chance.sample([noun for noun in SHAPES if shared in options[noun]], 2)
    first = chance.choice([colour for colour in options[one] if colour != shared])
    last = chance.choice([colour for colour in options[other] if colour not in (shared, first)])
    candidates = [(Pair(i, one), Pair(j, other)) for i in (shared, first) for j in (shared, last)]

    def say(ends: tuple[Pair, Pair], voice: Voice) -> str:
        verdict = "yes" if ends[0].colour == ends[1].colour else "no"
        return voice.say(_SAME_ANSWERS, one=a(str(ends[0])), other=a(str(ends[1])), verdict=verdict)

    def fault(truth: tuple[Pair, Pair], said: tuple[Pair, Pair]) -> str:
        agrees = (truth[0].colour == truth[1].colour) == (said[0].colour == said[1].colour)
        return "step" if agrees else "attribute"

    ends, right, wrong = posed(chance, candidates, say, fault)
    row = [ends[0], *(chance.choice(pairs(split)) for _ in range(2)), ends[1]]
    height = chance.whole(32, 80)
    things = tuple(
        Thing(pair, x + chance.whole(-1, 1), height + chance.whole(-4, 4), SMALL + chance.below(3))
        for pair, x in zip(row, _ROW, strict=True)
    )
    verdict = "yes" if ends[0].colour == ends[1].colour else "no"
    return text_draft((Shapes(ground(chance), things), chance.choice(_SAME_PROMPTS)), right, wrong, verdict)


FAMILY = Family("reasoning", "reasoning", make)
