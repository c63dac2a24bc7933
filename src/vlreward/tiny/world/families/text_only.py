"""Questions without a picture: sums, stories, order, opposites, kinds of things, and doing as one is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..chance import Chance
from ..combinations import Split
from ..draft import Draft, Family, text_draft
from ..wording import a, plural, voices

NAMES = ("ann", "ben", "cleo", "dan", "eva", "finn", "gus", "ida")
MORE_NAMES = (
    "jan", "kim", "leo", "mia", "ned", "olga", "paul", "rosa", "sam", "tina", "uma", "vera", "will", "yuri", "zoe",
    "anton", "bella", "carl", "dora", "emil", "fay", "greta", "hugo", "iris", "jonas", "klara", "lars", "mona", "nils",
)  # fmt: skip
"""In practice also these."""
TOP: dict[Split, int] = {"train": 9, "practice": 14, "heldout": 9}
"""The largest number of a sum."""
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("old", "young"), ("day", "night"), ("fast", "slow"),
    ("open", "closed"), ("wet", "dry"), ("full", "empty"), ("high", "low"), ("light", "dark"), ("soft", "hard"),
)  # fmt: skip
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
KINDS = {
    "animal": ("dog", "cat", "cow", "fox", "hen", "bee"),
    "fruit": ("apple", "pear", "plum", "lemon", "cherry", "fig"),
    "tool": ("hammer", "saw", "drill", "rake", "brush", "knife"),
}


def make(chance: Chance, split: Split) -> Draft:
    """One of seven kinds of question, five in the held-out world: words and days have nothing to hold out.

    Practice is of sums, stories and orders, with more numbers and names than tasks have: the few of these are soon
    known by heart, and what is held out of them is then guessed.
    """
    kinds: dict[Split, list[Callable[[Chance, Split], Draft]]] = {
        "train": [_sum, _story, _order, _kind, _backwards, _opposite, _day],
        "practice": [_sum, _story, _order, _order],
        "heldout": [_sum, _story, _order, _kind, _backwards],
    }
    return chance.choice(kinds[split])(chance, split)


def is_heldout(*places: int) -> bool:
    """Whether training never sees these together, by their places: about one in six."""
    return sum((i + 1) * place for i, place in enumerate(places)) % 6 == 0


def _drawn(chance: Chance, split: Split, options: Sequence[str], count: int) -> list[str]:
    """Some of the options in an order that the split has."""
    while True:
        chosen = chance.sample(options, count)
        if is_heldout(*map(options.index, chosen)) == (split == "heldout"):
            return chosen


def _two_numbers(chance: Chance, split: Split) -> tuple[int, int]:
    while True:
        one, other = chance.whole(1, TOP[split]), chance.whole(1, TOP[split])
        if is_heldout(one, other) == (split == "heldout"):
            return one, other


def _misses(chance: Chance, result: int) -> list[int]:
    """Three other results, on either side of the right one as it comes."""
    start = chance.whole(max(0, result - 3), result)
    return [value for value in range(start, start + 4) if value != result]


_SUM_PROMPTS = ("what is {a} {sign} {b}?", "calculate {a} {sign} {b}.", "how much is {a} {sign} {b}?")
_SUM_ANSWERS = ("{a} {sign} {b} = {result}.", "{result}.", "it is {result}.", "the answer is {result}.")


def _sum(chance: Chance, split: Split) -> Draft:
    one, other = _two_numbers(chance, split)
    sign, result = "+", one + other
    if chance.coin():
        one, sign, result = one + other, "-", one
    values = [result, *_misses(chance, result)]
    said = [
        voice.say(_SUM_ANSWERS, a=one, b=other, sign=sign, result=value)
        for value, voice in zip(values, voices(chance, 4), strict=True)
    ]
    prompt = chance.choice(_SUM_PROMPTS).format(a=one, b=other, sign=sign)
    return text_draft((prompt,), said[0], [(text, "number") for text in said[1:]], str(result))


_GOODS = ("apple", "pear", "plum", "lemon", "fig")
_STORIES = (
    "{name} has {a} {goods} and gets {b} more. how many {goods} has {name} now?",
    "there are {a} {goods} in a bag. {name} puts in {b} more. how many {goods} are in the bag?",
)
_STORY_ANSWERS = (
    "{a} + {b} = {result}, so {result} {goods}.",
    "there are {a} + {b} = {result} {goods}.",
    "{a} and {b} more make {result} {goods}.",
    "{result} {goods}: {a} + {b} = {result}.",
)
_STORY_SLIPS = (
    "{a} - {b} = {result}, so {result} {goods}.",
    "there are {a} - {b} = {result} {goods}.",
    "{a} without {b} makes {result} {goods}.",
    "{result} {goods}: {a} - {b} = {result}.",
)


def _story(chance: Chance, split: Split) -> Draft:
    one, other = _two_numbers(chance, split)
    goods, result = plural(chance.choice(_GOODS), 2), one + other
    miss, second = chance.sample(_misses(chance, result), 2)
    speakers = voices(chance, 4)
    facts = [
        (one, other, result, "number"),
        (one, other, miss, "number"),
        (one, other, second, "number"),
        (one, other - 1, result - 1, "step") if other > 1 else (one + 1, other, result + 1, "step"),
    ]
    said = [
        (voice.say(_STORY_ANSWERS, a=i, b=j, result=value, goods=goods), fault)
        for (i, j, value, fault), voice in zip(facts, speakers, strict=True)
    ]
    if one > other:
        text = speakers[-1].say(_STORY_SLIPS, a=one, b=other, result=one - other, goods=goods)
        said.append((text, "step"))
    prompt = chance.choice(_STORIES).format(name=chance.choice(NAMES), a=one, b=other, goods=goods)
    return text_draft((prompt,), said[0][0], said[1:], str(result))


_ORDER_PROMPTS = ("{facts} who is the {most}?", "{facts} which of them is the {most}?")
_ORDER_ANSWERS = ("{name}.", "{name} is the {most}.", "the {most} is {name}.", "it is {name}.")


def _order(chance: Chance, split: Split) -> Draft:
    names = NAMES + MORE_NAMES if split == "practice" else NAMES
    tall, middle, short = _drawn(chance, split, names, 3)
    facts = chance.shuffled([f"{tall} is taller than {middle}.", f"{middle} is taller than {short}."])
    most, name = ("tallest", tall) if chance.coin() else ("shortest", short)
    absent = chance.choice([other for other in names if other not in (tall, middle, short)])
    others = [(other, "relation") for other in (tall, middle, short) if other != name] + [(absent, "hallucination")]
    first, *rest = voices(chance, 4)
    wrong = [
        (voice.say(_ORDER_ANSWERS, name=other, most=most), fault)
        for (other, fault), voice in zip(others, rest, strict=True)
    ]
    prompt = chance.choice(_ORDER_PROMPTS).format(facts=" ".join(facts), most=most)
    return text_draft((prompt,), first.say(_ORDER_ANSWERS, name=name, most=most), wrong, name)


_OPPOSITE_PROMPTS = (
    "what is the opposite of {word}?",
    "which word is the opposite of {word}?",
    "name the opposite of {word}.",
)
_OPPOSITE_ANSWERS = ("{answer}.", "the opposite of {word} is {answer}.", "it is {answer}.")


def _opposite(chance: Chance, _split: Split) -> Draft:
    pair = chance.choice(OPPOSITES)
    word, answer = pair if chance.coin() else pair[::-1]
    others = chance.sample([w for other in OPPOSITES if other != pair for w in other], 3)
    return _known(chance, (_OPPOSITE_PROMPTS, _OPPOSITE_ANSWERS), [answer, *others], {"word": word})


_DAY_PROMPTS = ("which day comes after {word}?", "which is the day after {word}?")
_DAY_ANSWERS = ("{answer}.", "it is {answer}.", "{answer} comes after {word}.")


def _day(chance: Chance, _split: Split) -> Draft:
    at = chance.below(7)
    answer = DAYS[(at + 1) % 7]
    others = chance.sample([day for day in DAYS if day != answer], 3)
    return _known(chance, (_DAY_PROMPTS, _DAY_ANSWERS), [answer, *others], {"word": DAYS[at]})


def _known(
    chance: Chance, templates: tuple[Sequence[str], Sequence[str]], answers: Sequence[str], facts: dict[str, str]
) -> Draft:
    """A question of knowledge: the first answer is right."""
    said = [
        voice.say(templates[1], answer=answer, **facts)
        for answer, voice in zip(answers, voices(chance, len(answers)), strict=True)
    ]
    prompt = chance.choice(templates[0]).format(**facts)
    return text_draft((prompt,), said[0], [(text, "word") for text in said[1:]], answers[0])


_KIND_PROMPTS = ("which of these is {kind}: {words}?", "{words}: which one is {kind}?", "find {kind} among {words}.")
_KIND_ANSWERS = ("the {answer}.", "{answer}.", "the {answer} is {kind}.", "it is the {answer}.")


def _kind(chance: Chance, split: Split) -> Draft:
    kind, other, third = chance.shuffled(tuple(KINDS))
    while True:
        answer, one, two = chance.choice(KINDS[kind]), chance.choice(KINDS[other]), chance.choice(KINDS[third])
        places = (KINDS[kind].index(answer), KINDS[other].index(one), KINDS[third].index(two))
        if is_heldout(*places) == (split == "heldout"):
            break
    absent = chance.choice([word for word in KINDS[kind] if word != answer])
    words = ", ".join(chance.shuffled((answer, one, two)))
    facts = [(answer, ""), (one, "object"), (two, "object"), (absent, "hallucination")]
    said = [
        (voice.say(_KIND_ANSWERS, answer=word, kind=a(kind)), fault)
        for (word, fault), voice in zip(facts, voices(chance, 4), strict=True)
    ]
    prompt = chance.choice(_KIND_PROMPTS).format(kind=a(kind), words=words)
    return text_draft((prompt,), said[0][0], said[1:], answer)


_BACKWARDS_PROMPTS = (
    "say these words in reverse order: {words}.",
    "write these words backwards, the last one first: {words}.",
)
_BACKWARDS_ANSWERS = ("{words}.", "in reverse order: {words}.", "here they are: {words}.")


def _backwards(chance: Chance, split: Split) -> Draft:
    first, second, third = _drawn(chance, split, [word for words in KINDS.values() for word in words[:3]], 3)
    orders = [(third, second, first), (first, second, third), (second, first, third), (third, first, second)]
    said = [
        voice.say(_BACKWARDS_ANSWERS, words=", ".join(words))
        for words, voice in zip(orders, voices(chance, 4), strict=True)
    ]
    prompt = chance.choice(_BACKWARDS_PROMPTS).format(words=f"{first}, {second}, {third}")
    return text_draft((prompt,), said[0], [(text, "relation") for text in said[1:]], ", ".join(orders[0]))


FAMILY = Family("text", "text", make, sees=False)
