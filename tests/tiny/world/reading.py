"""What the tests of the world share: items without pictures, and their words."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from vlreward.tiny.world.chance import Chance
from vlreward.tiny.world.combinations import Split
from vlreward.tiny.world.draft import Answer, Clip, Draft
from vlreward.tiny.world.families import FAMILIES
from vlreward.tiny.world.scenes import Scene


@functools.cache
def draft(family: str, split: Split, index: int, seed: int = 5) -> Draft:
    """An item before its pictures are drawn, which is most of the time it takes."""
    return FAMILIES[family].make(Chance(seed, split, family, index), split)


def drafts(family: str, split: Split, count: int, start: int = 0, seed: int = 5) -> Iterator[Draft]:
    return (draft(family, split, index, seed) for index in range(start, start + count))


def words_of(answer: Answer) -> str:
    return " ".join(piece for piece in answer if isinstance(piece, str))


def scenes_of(answer: Answer) -> list[Scene]:
    found: list[Scene] = []
    for piece in answer:
        if isinstance(piece, Clip):
            found += piece.frames
        elif not isinstance(piece, str):
            found.append(piece)
    return found


def all_answers(item: Draft) -> list[Answer]:
    """Everything that an item shows or says, the prompt first."""
    return [item.prompt, item.right, *(answer for answer, _ in item.wrong), *item.lesson]


def tokens(text: str) -> list[str]:
    """Words, numbers and marks; capitals letter by letter."""
    found: list[str] = []
    for word in re.findall(r"[A-Za-z]+|\d+|[^\sA-Za-z\d]", text):
        found += list(word) if word.isupper() else [word]
    return found
