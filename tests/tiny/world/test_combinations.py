"""What is held out is nowhere in training, and its parts are."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest

from vlreward.tiny.world.combinations import (
    CHART_SIZES,
    COLOURS,
    DICE,
    GRIDS,
    HELDOUT_DICE,
    HELDOUT_GRIDS,
    HELDOUT_PIES,
    MORE_COLOURS,
    PIES,
    SHAPES,
    STREET_NOUNS,
    TABLE_NOUNS,
    Pair,
    Split,
    pairs,
)
from vlreward.tiny.world.draft import Draft
from vlreward.tiny.world.scenes import Chart, Dice, Grid, Pie, Scene, Shapes, Sign, Street, Table
from vlreward.tiny.world.words import WORDS, near_words

from .reading import all_answers, drafts, scenes_of, words_of

NOUNS = (SHAPES, STREET_NOUNS, TABLE_NOUNS)
Combination = tuple[object, ...]


def shown(scene: Scene) -> set[Combination]:
    """The combinations that a scene shows."""
    match scene:
        case Shapes():
            return {thing.pair for thing in scene.things}
        case Table():
            return {thing.pair for thing in scene.things}
        case Street():
            return {Pair(spot.colour, spot.noun) for spot in scene.spots if spot.colour}
        case Chart():
            return {("bars", len(scene.bars))}
        case Dice():
            return {("dice", *(die.value for die in scene.dice))}
        case Grid():
            return {("grid", scene.rows, scene.columns)}
        case Pie():
            return {("pie", scene.filled, scene.parts)}
        case Sign():
            return {("sign", scene.word)}
    raise AssertionError(scene)


def spoken(text: str) -> set[Combination]:
    """The combinations that words speak of."""
    nouns = "|".join(itertools.chain(*NOUNS))
    found: set[Combination] = {Pair(*pair) for pair in re.findall(rf"\b({'|'.join(COLOURS)}) ({nouns})s?\b", text)}
    found |= {("grid", int(a), int(b)) for a, b in re.findall(r"(\d+) x (\d+)", text)}
    found |= {("pie", int(a), int(b)) for a, b in re.findall(r"(\d+)/(\d+)", text)}
    found |= {("sign", word) for word in re.findall(r"\b[A-Z]{2,}\b", text)}
    return found


def combinations_of(draft: Draft) -> set[Combination]:
    found: set[Combination] = set()
    for answer in all_answers(draft):
        found |= spoken(words_of(answer))
        for scene in scenes_of(answer):
            found |= shown(scene)
    return found


FAMILIES = (
    "captions", "counting", "relations", "signs", "charts", "reasoning", "robotics", "editing", "accessibility",
    "education",
)  # fmt: skip


def heldout() -> set[Combination]:
    """All that is held out and can be listed."""
    found: set[Combination] = {pair for nouns in NOUNS for pair in pairs("heldout", nouns)}
    found |= {("bars", size) for size in CHART_SIZES["heldout"]}
    found |= {("dice", *throw) for throw in HELDOUT_DICE}
    found |= {("grid", *grid) for grid in HELDOUT_GRIDS} | {("pie", *pie) for pie in HELDOUT_PIES}
    return found | {("sign", word) for word in WORDS["heldout"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_training_never_sees_or_says_what_is_held_out(family: str) -> None:
    secret = heldout()
    splits: tuple[Split, ...] = ("train", "practice")
    for split in splits:
        for draft in drafts(family, split, 1500):
            assert not combinations_of(draft) & secret, draft


@pytest.mark.parametrize("nouns", NOUNS)
def test_practice_has_more_colours_of_everything(nouns: tuple[str, ...]) -> None:
    practised = set(pairs("practice", nouns))
    assert practised - set(pairs("train", nouns)) == {Pair(colour, noun) for colour in MORE_COLOURS for noun in nouns}
    assert set(pairs("train", nouns)) < practised
    assert not practised & set(pairs("heldout", nouns))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_held_out_item_has_something_that_training_never_saw(family: str) -> None:
    trained = set().union(*(combinations_of(draft) for draft in drafts(family, "train", 2500)))
    for draft in drafts(family, "heldout", 500):
        assert combinations_of(draft) - trained, draft


@pytest.mark.parametrize("nouns", NOUNS)
def test_pairs_are_split_evenly(nouns: tuple[str, ...]) -> None:
    train, held = set(pairs("train", nouns)), set(pairs("heldout", nouns))
    assert not train & held
    assert len(train | held) == len(COLOURS) * len(nouns)
    assert set(Counter(pair.noun for pair in held).values()) == {2}
    assert {pair.colour for pair in train} == set(COLOURS)
    if len(nouns) == len(COLOURS):
        assert set(Counter(pair.colour for pair in held).values()) == {2}


def test_parts_of_what_is_held_out_are_in_training() -> None:
    for held, every in ((HELDOUT_DICE, DICE), (HELDOUT_GRIDS, GRIDS), (HELDOUT_PIES, PIES)):
        assert held < set(every)
        seen = set(every) - held
        for side in (0, 1):
            assert {numbers[side] for numbers in held} <= {numbers[side] for numbers in seen}
    letters = {(place, letter) for word in WORDS["train"] for place, letter in enumerate(word)}
    assert {(place, letter) for word in WORDS["heldout"] for place, letter in enumerate(word)} <= letters
    low, high = min(CHART_SIZES["train"]), max(CHART_SIZES["train"])
    assert all(low < size < high for size in CHART_SIZES["heldout"])


def test_words_are_short_and_in_one_split() -> None:
    every = WORDS["train"] + WORDS["heldout"]
    assert len(set(every)) == len(every)
    assert all(3 <= len(word) <= 5 and word.isalpha() and word.isupper() and "Q" not in word for word in every)
    splits: tuple[Split, Split] = ("train", "heldout")
    for split in splits:
        near = {word for both in near_words(split) for word in both}
        assert len(near) > 0.9 * len(WORDS[split])


def test_the_vocabulary_is_small() -> None:
    words: Counter[str] = Counter()
    for family in (*FAMILIES, "text"):
        for split in ("train", "heldout"):
            for draft in drafts(family, split, 400):
                for answer in all_answers(draft):
                    words.update(re.findall(r"[a-z]+|[A-Z]|\d|[^\w\s]", words_of(answer)))
    assert len(words) < 450
    assert {word for word in words if word.isupper()} == set("ABCDEFGHIJKLMNOPRSTUVWXYZ")
