"""Describing a street for someone who cannot see it: nothing may be made up, and nothing left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..chance import Chance
from ..combinations import GROUND_NOUNS, SKY_NOUNS, STREET_NOUNS, Pair, Split, pairs, recoloured
from ..draft import Draft, Family, text_draft
from ..scenes import STREET_PLACES, Spot, Street
from ..wording import Voice, a, listed, voices

PLAIN = {"ground": ("tree",), "sky": ("sun", "cloud")}
_HILLS = 3
_FEWEST, _MOST = 2, 4
_TRIES = 12


def make(chance: Chance, split: Split) -> Draft:
    """Describe everything; wrong descriptions have one thing too many, too few, changed or elsewhere."""
    spots: tuple[Spot, ...] = ()
    for place in chance.sample(STREET_PLACES, chance.whole(_FEWEST, _MOST)):
        spots = (*spots, _spot(chance, split, place, spots))
    wrong: list[tuple[tuple[Spot, ...], str]] = []
    if len(spots) < _MOST:
        place = chance.choice([place for place in STREET_PLACES if place not in {spot.place for spot in spots}])
        wrong.append(((*spots, _spot(chance, split, place, spots)), "hallucination"))
    if len(spots) > _FEWEST:
        lost = chance.choice(spots)
        wrong.append((tuple(spot for spot in spots if spot is not lost), "omission"))
    for change, fault in ((_recoloured, "attribute"), (_moved, "relation"), (_replaced, "object")):
        changed = change(chance, split, spots)
        if changed:
            wrong.append((changed, fault))
    first, *rest = voices(chance, len(wrong) + 1)
    said = [(describe(facts, voice), fault) for (facts, fault), voice in zip(wrong, rest, strict=True)]
    scene = Street(chance.below(_HILLS), spots)
    return text_draft((scene, chance.choice(_PROMPTS)), describe(spots, first), said)


def zone(place: str) -> str:
    """Sky or ground."""
    return "sky" if place.startswith("sky") else "ground"


def _spot(chance: Chance, split: Split, place: str, others: Sequence[Spot]) -> Spot:
    """Something for a place, of a kind that is nowhere else in the picture."""
    there = zone(place)
    taken = {spot.noun for spot in others}
    nouns = [*(SKY_NOUNS if there == "sky" else GROUND_NOUNS), *PLAIN[there]]
    noun = chance.choice([noun for noun in nouns if noun not in taken])
    if noun not in STREET_NOUNS:
        return Spot(place, noun)
    colours = [pair.colour for pair in pairs(split, STREET_NOUNS) if pair.noun == noun]
    return Spot(place, noun, chance.choice(colours))


def _recoloured(chance: Chance, split: Split, spots: Sequence[Spot]) -> tuple[Spot, ...] | None:
    coloured = [spot for spot in spots if spot.colour]
    if not coloured:
        return None
    old = chance.choice(coloured)
    new = chance.choice(recoloured(split, Pair(str(old.colour), old.noun), STREET_NOUNS))
    return tuple(replace(spot, colour=new.colour) if spot is old else spot for spot in spots)


def _moved(chance: Chance, _split: Split, spots: Sequence[Spot]) -> tuple[Spot, ...]:
    """One thing in another place on the ground or in the sky; what was there changes places with it."""
    old = chance.choice(spots)
    place = chance.choice([p for p in STREET_PLACES if p != old.place and zone(p) == zone(old.place)])
    swap = {old.place: place, place: old.place}
    return tuple(replace(spot, place=swap.get(spot.place, spot.place)) for spot in spots)


def _replaced(chance: Chance, split: Split, spots: Sequence[Spot]) -> tuple[Spot, ...] | None:
    for _ in range(_TRIES):
        old = chance.choice(spots)
        new = _spot(chance, split, old.place, spots)
        if new.noun != old.noun:
            return tuple(new if spot is old else spot for spot in spots)
    return None


_PROMPTS = (
    "i cannot see. what is in this picture, and where?",
    "describe everything in the picture for someone who cannot see it.",
    "tell a blind person all that is here.",
    "say what is where in this picture, and leave nothing out.",
)
_PLACES = {
    "left": ("on the left",),
    "middle": ("in the middle",),
    "right": ("on the right",),
    "sky left": ("in the sky on the left", "up on the left"),
    "sky right": ("in the sky on the right", "up on the right"),
}
_FRAMES = (
    "{things}.",
    "you have {things}.",
    "the picture shows {things}.",
    "this is a street with {things}.",
    "there is {things}.",
)
_SENTENCES = ("there is {thing} {place}.", "{place} there is {thing}.", "{thing} is {place}.", "{place}: {thing}.")
_ENDS = ("", "", " there is nothing else.", " that is all.")


def describe(spots: Sequence[Spot], voice: Voice) -> str:
    """A description of all these things, in one sentence or in one for each."""
    named = [
        (a(f"{spot.colour} {spot.noun}" if spot.colour else spot.noun), voice.pick(_PLACES[spot.place]))
        for spot in voice.shuffled(spots)
    ]
    if voice.coin():
        text = voice.say(_FRAMES, things=listed([f"{thing} {place}" for thing, place in named]))
    else:
        template = voice.pick(_SENTENCES)
        text = " ".join(template.format(thing=thing, place=place) for thing, place in named)
    return text + voice.pick(_ENDS)


FAMILY = Family("accessibility", "accessibility", make)
