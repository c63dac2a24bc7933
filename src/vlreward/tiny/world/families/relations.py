"""Where things are: to the left, to the right, above or below each other, and in the corners."""

from __future__ import annotations

from ..chance import Chance
from ..combinations import Pair, Split, pairs, recoloured, reshaped
from ..draft import Draft, Family, posed, text_draft
from ..layout import QUARTERS, STEPS, ground, in_cells, thing
from ..scenes import Shapes
from ..wording import Voice, a, voices
from .captions import place_words


def make(chance: Chance, split: Split) -> Draft:
    """One of three questions: where something is, whether it is somewhere, or what is somewhere."""
    kind = chance.below(4)
    if kind == 0:
        return _where(chance, split)
    return _whether(chance, split) if kind == 1 else _what(chance, split)


_WHERE_PROMPTS = (
    "where is the {one}, seen from the {other}?",
    "where is the {one}: left of, right of, above or below the {other}?",
    "in which direction from the {other} is the {one}?",
)
_WHERE_ANSWERS = (
    "the {one} is {place} the {other}.",
    "it is {place} the {other}.",
    "{place} the {other}.",
    "{place} it.",
    "the {one} is {place} it.",
)


def _where(chance: Chance, split: Split) -> Draft:
    one, other = chance.sample(pairs(split), 2)

    def say(relation: str, voice: Voice) -> str:
        return voice.say(_WHERE_ANSWERS, one=one, other=other, place=place_words(relation, voice))

    relation, right, wrong = posed(chance, tuple(STEPS), say, lambda *_: "relation")
    prompt = chance.choice(_WHERE_PROMPTS).format(one=one, other=other)
    return text_draft((_draw(chance, split, one, other, relation), prompt), right, wrong, relation.split()[0])


_WHETHER_PROMPTS = (
    "is the {one} {place} the {other}?",
    "look at the {one}. is it {place} the {other}?",
    "true or not: the {one} is {place} the {other}?",
)


def _whether(chance: Chance, split: Split) -> Draft:
    one, other = chance.sample(pairs(split), 2)
    asked = chance.choice(tuple(STEPS))

    def say(relation: str, voice: Voice) -> str:
        fact = voice.say(_WHERE_ANSWERS[:2], one=one, other=other, place=place_words(relation, voice))
        return f"yes, {fact}" if relation == asked else f"no, {fact}"

    relation, right, wrong = posed(chance, tuple(STEPS), say, lambda *_: "relation")
    voice = Voice(chance.key())
    prompt = chance.choice(_WHETHER_PROMPTS).format(one=one, other=other, place=place_words(asked, voice))
    key = "yes" if relation == asked else "no"
    return text_draft((_draw(chance, split, one, other, relation), prompt), right, wrong, key)


def _draw(chance: Chance, split: Split, one: Pair, other: Pair, relation: str) -> Shapes:
    """The two in one row or column, and perhaps a third thing elsewhere."""
    dx, dy = STEPS[relation]
    reach = chance.whole(1, 2)
    column = chance.choice([c for c in range(3) if 0 <= c + dx * reach <= 2])
    row = chance.choice([r for r in range(3) if 0 <= r + dy * reach <= 2])
    cells = [(column + dx * reach, row + dy * reach), (column, row)]
    shown = [one, other]
    if chance.coin():
        free = [(c, r) for c in range(3) for r in range(3) if c != column and r != row and (c, r) not in cells]
        shown.append(chance.choice([pair for pair in pairs(split) if pair not in (one, other)]))
        cells.append(chance.choice(free))
    return in_cells(chance, shown, cells)


_AROUND_PROMPTS = (
    "what is {place} the {middle}?",
    "which shape is {place} the {middle}?",
    "name the shape {place} the {middle}.",
)
_CORNER_PROMPTS = (
    "what is in the {corner} corner?",
    "which shape is in the {corner} corner?",
    "what is at the {corner}?",
)
_WHAT_ANSWERS = ("{a_thing}.", "it is {a_thing}.", "the {thing}.", "that is {a_thing}.", "there is {a_thing} there.")


def _what(chance: Chance, split: Split) -> Draft:
    around = chance.coin()
    middle, *shown = chance.sample(pairs(split), 5)
    places = tuple(STEPS) if around else tuple(QUARTERS)
    shown = shown[: chance.whole(3, 4)]
    asked, *others = chance.sample(places, len(shown))

    def say(pair: Pair, voice: Voice) -> str:
        return voice.say(_WHAT_ANSWERS, a_thing=a(str(pair)), thing=pair)

    truth = shown[0]
    in_view = {middle, *shown} if around else set(shown)
    wrong = [(shown[1], "relation")]
    for options, fault in (
        (pairs(split), "hallucination"),
        (recoloured(split, truth), "attribute"),
        (reshaped(split, truth), "object"),
    ):
        absent = [pair for pair in options if pair not in in_view]
        if absent:
            wrong.append((chance.choice(absent), fault))
    if len(wrong) < 4:
        wrong.append((shown[2], "relation"))
    speakers = voices(chance, len(wrong) + 1)
    said = [(say(pair, voice), fault) for (pair, fault), voice in zip(wrong, speakers[1:], strict=True)]
    cells = [asked, *others]
    scene = _draw_around(chance, middle, shown, cells) if around else _draw_corners(chance, shown, cells)
    templates = _AROUND_PROMPTS if around else _CORNER_PROMPTS
    place = place_words(asked, Voice(chance.key()))
    prompt = chance.choice(templates).format(place=place, middle=middle, corner=asked)
    return text_draft((scene, prompt), say(truth, speakers[0]), said, str(truth))


def _draw_around(chance: Chance, middle: Pair, shown: list[Pair], places: list[str]) -> Shapes:
    cells = [(1 + STEPS[place][0], 1 + STEPS[place][1]) for place in places]
    return in_cells(chance, [middle, *shown], [(1, 1), *cells])


def _draw_corners(chance: Chance, shown: list[Pair], places: list[str]) -> Shapes:
    things = [thing(chance, pair, *QUARTERS[place], 32) for pair, place in zip(shown, places, strict=True)]
    return Shapes(ground(chance), tuple(things))


FAMILY = Family("relations", "visual question answering", make)
