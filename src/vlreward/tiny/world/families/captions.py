"""Captions: what is there, how many, in which colour and size, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..chance import Chance
from ..combinations import Pair, Split, pairs, recoloured, reshaped
from ..draft import Draft, Family, text_draft
from ..layout import INVERSE, ground, scattered
from ..scenes import BIG, SMALL, Shapes, Thing
from ..wording import Voice, a, listed, plural, voices

_PROMPTS = (
    "describe the picture.",
    "write a caption for this picture.",
    "what is in the picture?",
    "what do you see?",
    "say what the picture shows.",
)
_FRAMES = (
    "{things}.",
    "there {verb} {things}.",
    "the picture shows {things}.",
    "i see {things}.",
    "this is a picture of {things}.",
    "in the picture there {verb} {things}.",
)
_MOST = 5
_WRONG = 4
_TRIES = 12


@dataclass(frozen=True)
class _Group:
    count: int
    pair: Pair


def make(chance: Chance, split: Split) -> Draft:
    """A caption of groups of shapes, or of two shapes of some size beside each other."""
    return _groups(chance, split) if chance.coin() else _two(chance, split)


_COUNTS: dict[int, list[tuple[int, ...]]] = {
    2: [(i, j) for i in (1, 2, 3) for j in (1, 2, 3) if i + j <= _MOST],
    3: [(i, j, k) for i in (1, 2, 3) for j in (1, 2, 3) for k in (1, 2, 3) if i + j + k <= _MOST],
}


def _groups(chance: Chance, split: Split) -> Draft:
    size = chance.whole(2, 3)
    chosen = chance.sample(pairs(split), size)
    groups = [_Group(n, pair) for n, pair in zip(chance.choice(_COUNTS[size]), chosen, strict=True)]
    told = chance.sample(range(size), chance.whole(1, size))
    alike = chance.coin()
    captions: list[tuple[list[_Group], str]] = []
    # In the held-out world a shape has two colours only, and both may be in the picture: then more of the others.
    seen: set[tuple[int, _Group]] = set()
    for fault in ("attribute", "object", "number", *["hallucination"] * _TRIES):
        if len(captions) == _WRONG:
            break
        altered = _altered(chance, split, groups, told, fault)
        if altered and altered not in seen:
            seen.add(altered)
            index, group = altered
            shown = told if alike else _told_with(chance, index, size)
            captions.append(([group if i == index else groups[i] for i in shown], fault))
    speakers = voices(chance, len(captions) + 1, 1.0 if alike else 0.0)
    right = _list_groups([groups[i] for i in told], speakers[0])
    wrong = [(_list_groups(said, voice), fault) for (said, fault), voice in zip(captions, speakers[1:], strict=True)]
    scene = scattered(chance, [group.pair for group in groups for _ in range(group.count)])
    return text_draft((scene, chance.choice(_PROMPTS)), right, wrong)


def _told_with(chance: Chance, index: int, size: int) -> list[int]:
    """Which groups another caption speaks of: as many as may be, this one among them.

    With the group drawn from those that the right caption speaks of, right and wrong captions are then equally long on
    average, and either could be the right one of another picture.
    """
    others = [i for i in range(size) if i != index]
    return chance.shuffled([index, *chance.sample(others, chance.whole(1, size) - 1)])


def _altered(
    chance: Chance, split: Split, groups: Sequence[_Group], told: Sequence[int], fault: str
) -> tuple[int, _Group] | None:
    """One of the told groups with one fact changed, so that the picture has no such group."""
    for _ in range(_TRIES):
        index = chance.choice(told)
        old = groups[index]
        others = [group for group in groups if group is not old]
        if fault == "number":
            new = replace(old, count=chance.choice([n for n in (1, 2, 3) if n != old.count]))
        else:
            new = replace(old, pair=_other_pair(chance, split, old.pair, fault))
        total = new.count + sum(group.count for group in others)
        if total <= _MOST and all(new.pair != group.pair for group in others):
            return index, new
    return None


def _other_pair(chance: Chance, split: Split, pair: Pair, fault: str) -> Pair:
    if fault == "attribute":
        return chance.choice(recoloured(split, pair))
    if fault == "object":
        return chance.choice(reshaped(split, pair))
    return chance.choice([new for new in pairs(split) if new.colour != pair.colour and new.noun != pair.noun])


def _list_groups(groups: Sequence[_Group], voice: Voice) -> str:
    ordered = voice.shuffled(groups)
    article = voice.coin()
    phrases = []
    for group in ordered:
        name = f"{group.pair.colour} {plural(group.pair.noun, group.count)}"
        phrases.append(a(name) if article and group.count == 1 else f"{voice.number(group.count)} {name}")
    verb = "is" if ordered[0].count == 1 else "are"
    return voice.say(_FRAMES, things=listed(phrases), verb=verb)


@dataclass(frozen=True)
class _Two:
    """Two things: the first is ``relation`` the second."""

    pairs: tuple[Pair, Pair]
    big: tuple[bool, bool]
    relation: str


def _two(chance: Chance, split: Split) -> Draft:
    one, other = chance.sample(pairs(split), 2)
    relation = chance.choice(tuple(INVERSE))
    truth = _Two((one, other), (chance.coin(), chance.coin()), relation)
    sized = chance.coin(0.6)
    wrong: list[tuple[_Two, str]] = [(replace(truth, relation=INVERSE[relation]), "relation")]
    for fault in ("attribute", "object", "hallucination"):
        altered = _altered_two(chance, split, truth, fault)
        if altered:
            wrong.append((altered, fault))
    if sized:
        at = chance.below(2)
        sizes = (truth.big[0] != (at == 0), truth.big[1] != (at == 1))
        wrong.append((replace(truth, big=sizes), "attribute"))
    speakers = voices(chance, len(wrong) + 1)
    said = [(_tell_two(facts, sized, voice), fault) for (facts, fault), voice in zip(wrong, speakers[1:], strict=True)]
    return text_draft((_draw_two(chance, truth), chance.choice(_PROMPTS)), _tell_two(truth, sized, speakers[0]), said)


def _altered_two(chance: Chance, split: Split, truth: _Two, fault: str) -> _Two | None:
    for _ in range(_TRIES):
        at = chance.below(2)
        new = _other_pair(chance, split, truth.pairs[at], fault)
        if new not in truth.pairs:
            return replace(truth, pairs=(new, truth.pairs[1]) if at == 0 else (truth.pairs[0], new))
    return None


_BIG_WORDS, _SMALL_WORDS = ("big", "large"), ("small", "little")
_TWO_FRAMES = (
    "{one} is {place} {other}.",
    "there is {one} {place} {other}.",
    "the picture shows {one} {place} {other}.",
    "{one} {place} {other}.",
    "i see {one} {place} {other}.",
)


def _tell_two(facts: _Two, sized: bool, voice: Voice) -> str:
    big, small = voice.pick(_BIG_WORDS), voice.pick(_SMALL_WORDS)
    names = [
        a(f"{big if large else small} {pair}" if sized else str(pair))
        for pair, large in zip(facts.pairs, facts.big, strict=True)
    ]
    relation = facts.relation
    if voice.coin():
        names, relation = names[::-1], INVERSE[relation]
    return voice.say(_TWO_FRAMES, one=names[0], other=names[1], place=place_words(relation, voice))


def place_words(relation: str, voice: Voice) -> str:
    """A relation in words."""
    return voice.pick((relation, f"to the {relation}")) if relation.endswith("of") else relation


def _draw_two(chance: Chance, facts: _Two) -> Shapes:
    near, far = 31 + chance.whole(-4, 4), 81 + chance.whole(-4, 4)
    first_is_near = facts.relation in ("left of", "above")
    things = []
    for pair, big, is_near in zip(facts.pairs, facts.big, (first_is_near, not first_is_near), strict=True):
        along, across = near if is_near else far, 56 + chance.whole(-13, 13)
        x, y = (along, across) if facts.relation.endswith("of") else (across, along)
        things.append(Thing(pair, x, y, (BIG if big else SMALL) + chance.whole(-1, 1)))
    return Shapes(ground(chance), tuple(things))


FAMILY = Family("captions", "captioning", make)
