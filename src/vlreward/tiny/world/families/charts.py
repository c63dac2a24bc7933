"""Bar charts: a value, the tallest or shortest bar, a difference, a sum."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from ..chance import Chance
from ..combinations import CHART_SIZES, COLOURS, Split, palette
from ..draft import Draft, Family, posed, text_draft
from ..layout import ground
from ..numbers import Numbers, readings, window, with_different_results
from ..scenes import CHART_TOP, Bar, Chart
from ..wording import Voice, voices

PAIRS = [(i, j) for i in range(1, CHART_TOP + 1) for j in range(1, CHART_TOP + 1)]


def make(chance: Chance, split: Split) -> Draft:
    """One of four questions about a chart."""
    colours = chance.sample(palette(split), chance.choice(CHART_SIZES[split]))
    return chance.choice((_value, _extreme, _difference, _total))(chance, colours)


def chart(chance: Chance, colours: Sequence[str], known: dict[str, int], low: int = 1, high: int = CHART_TOP) -> Chart:
    """A chart with these values, and others within limits."""
    bars = [Bar(colour, known.get(colour) or chance.whole(low, high)) for colour in colours]
    return Chart(ground(chance), tuple(chance.shuffled(bars)))


_VALUE_PROMPTS = (
    "what is the value of the {colour} bar?",
    "how tall is the {colour} bar?",
    "read the value of the {colour} bar.",
    "which number does the {colour} bar reach?",
)
_VALUE_ANSWERS = (
    "{number}.",
    "the {colour} bar is {number}.",
    "the value of the {colour} bar is {number}.",
    "it is {number}.",
    "the {colour} bar reaches {number}.",
)


def _value(chance: Chance, colours: Sequence[str]) -> Draft:
    colour = colours[0]

    def say(value: int, voice: Voice) -> str:
        return voice.say(_VALUE_ANSWERS, number=voice.number(value), colour=colour)

    value, right, wrong = posed(chance, window(chance, 1, CHART_TOP), say, lambda *_: "number")
    prompt = chance.choice(_VALUE_PROMPTS).format(colour=colour)
    return text_draft((chart(chance, colours, {colour: value}), prompt), right, wrong, str(value))


_EXTREME_PROMPTS = (
    "which bar is the {most}?",
    "what colour is the {most} bar?",
    "name the {most} bar.",
    "find the {most} bar.",
)
_EXTREME_ANSWERS = ("the {colour} bar.", "{colour}.", "the {most} bar is {colour}.", "the {colour} bar is the {most}.")
_EXTREME_WITH_VALUE = (
    "the {colour} bar is the {most}, at {number}.",
    "the {most} bar is {colour}, with a value of {number}.",
    "{colour}, at {number}.",
    "the {colour} bar, with a value of {number}.",
)


def _extreme(chance: Chance, colours: Sequence[str]) -> Draft:
    tallest, valued = chance.coin(), chance.coin()
    most = "tallest" if tallest else "shortest"
    best = chance.whole(3, CHART_TOP) if tallest else chance.whole(1, 4)
    misread = chance.choice([v for v in (range(3, CHART_TOP + 1) if tallest else range(1, 5)) if v != best])
    # A bar that is not there takes the place of a fourth one; any colour could have been in the chart.
    absent = [colour for colour in COLOURS if colour not in colours]
    candidates = chance.shuffled(colours)[:4] + chance.sample(absent, max(0, 4 - len(colours)))

    def say(fact: tuple[str, int], voice: Voice) -> str:
        templates = _EXTREME_WITH_VALUE if valued else _EXTREME_ANSWERS
        return voice.say(templates, colour=fact[0], most=most, number=voice.number(fact[1]))

    def fault(truth: tuple[str, int], said: tuple[str, int]) -> str:
        if said[0] not in colours:
            return "hallucination"
        return "object" if truth[0] != said[0] else "step"

    truth = candidates[0]
    facts = [(colour, best) for colour in candidates] + ([(truth, misread)] if valued else [])
    spoken = [say(fact, voice) for fact, voice in zip(facts, voices(chance, len(facts)), strict=True)]
    wrong = [(text, fault(facts[0], fact)) for fact, text in zip(facts[1:], spoken[1:], strict=True)]
    limits = (1, best - 1) if tallest else (best + 1, CHART_TOP)
    scene = chart(chance, colours, {truth: best}, *limits)
    prompt = chance.choice(_EXTREME_PROMPTS).format(most=most)
    return text_draft((scene, prompt), spoken[0], wrong, truth)


_DIFFERENCE_PROMPTS = (
    "how much taller is the {one} bar than the {other} bar?",
    "what is the difference of the {one} bar and the {other} bar?",
    "{one} bar minus {other} bar: what is the result?",
)
_TOTAL_PROMPTS = (
    "what do the {one} bar and the {other} bar add up to?",
    "what is the sum of the {one} bar and the {other} bar?",
    "{one} bar plus {other} bar: what is the result?",
)
_RESULT_ANSWERS = ("{result}.", "it is {result}.", "the {what} is {result}.", "the answer is {result}.")
_STEPS_ANSWERS = (
    "the {one} bar is {a} and the {other} bar is {b}, so the {what} is {result}.",
    "{one} is {a}, {other} is {b}, and {a} {sign} {b} = {result}.",
    "the {what} is {result}: the {one} bar is {a} and the {other} bar is {b}.",
    "the {one} bar shows {a}, the {other} bar shows {b}. {a} {sign} {b} = {result}.",
)


def _difference(chance: Chance, colours: Sequence[str]) -> Draft:
    return _calculated(chance, colours, [(i, j) for i, j in PAIRS if i > j], "difference")


def _total(chance: Chance, colours: Sequence[str]) -> Draft:
    return _calculated(chance, colours, PAIRS, "sum")


def _calculated(chance: Chance, colours: Sequence[str], allowed: Sequence[Numbers], what: str) -> Draft:
    """Two values and what comes of them: wrong answers misread a bar and calculate well, or the words would tell."""
    one, other = colours[:2]
    combine = operator.sub if what == "difference" else operator.add
    with_steps = chance.coin(0.6)
    candidates = readings(chance, allowed) if with_steps else with_different_results(chance, allowed, combine)

    def say(numbers: Numbers, voice: Voice) -> str:
        a, b = map(voice.number, numbers)
        result = voice.number(combine(*numbers))
        sign = "-" if what == "difference" else "+"
        templates = _STEPS_ANSWERS if with_steps else _RESULT_ANSWERS
        return voice.say(templates, one=one, other=other, a=a, b=b, sign=sign, result=result, what=what)

    def fault(truth: Numbers, said: Numbers) -> str:
        return "step" if combine(*truth) == combine(*said) else "number"

    numbers, right, wrong = posed(chance, candidates, say, fault)
    scene = chart(chance, colours, dict(zip((one, other), numbers, strict=True)))
    prompts = _DIFFERENCE_PROMPTS if what == "difference" else _TOTAL_PROMPTS
    prompt = chance.choice(prompts).format(one=one, other=other)
    return text_draft((scene, prompt), right, wrong, str(combine(*numbers)))


FAMILY = Family("charts", "visual question answering", make)
