"""How a fact is put into words: plain lower-case English, with paraphrases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from .chance import Chance

T = TypeVar("T")

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


class Voice:
    """The wording of one response: which paraphrase, and numbers in words or in digits."""

    def __init__(self, key: int) -> None:
        self._chance = Chance("voice", key)
        self._digits = self._chance.coin()

    def pick(self, options: Sequence[T]) -> T:
        """One of the paraphrases."""
        return self._chance.choice(options)

    def say(self, templates: Sequence[str], /, **facts: object) -> str:
        """One of the paraphrases, filled in."""
        return self._chance.choice(templates).format(**facts)

    def coin(self) -> bool:
        """Either way of saying it."""
        return self._chance.coin()

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The order in which things are named."""
        return self._chance.shuffled(options)

    def chance(self) -> Chance:
        """The stream that this voice draws from."""
        return self._chance

    def number(self, value: int) -> str:
        """A number, in the manner of this voice."""
        return str(value) if self._digits or value >= len(NUMBERS) else NUMBERS[value]


def voices(chance: Chance, count: int, shared: float = 0.5) -> list[Voice]:
    """A voice for every response of an item.

    With probability ``shared`` they all speak alike, so that a fact is the only difference; otherwise each has its own
    way, and its own length, whether it is right or wrong.
    """
    if chance.coin(shared):
        key = chance.key()
        return [Voice(key) for _ in range(count)]
    return [Voice(chance.key()) for _ in range(count)]


def a(phrase: str) -> str:
    """With the indefinite article; there is only one sun."""
    if phrase == "sun":
        return "the sun"
    return f"an {phrase}" if phrase[0] in "aeio" or phrase.startswith("umb") else f"a {phrase}"


def plural(noun: str, count: int) -> str:
    """The noun for so many."""
    return noun if count == 1 else f"{noun}s"


def listed(phrases: Sequence[str]) -> str:
    """``x``, ``x and y``, or ``x, y and z``."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
