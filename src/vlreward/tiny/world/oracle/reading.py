"""Finding statements in plain English: numbers, colours, things, places."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..combinations import COLOURS, MORE_COLOURS, SHAPES, TABLE_NOUNS, Pair
from ..wording import NUMBERS

COLOUR = f"(?:{'|'.join(COLOURS + MORE_COLOURS)})"
SHAPE = f"(?:{'|'.join(SHAPES)})"
TABLE_NOUN = f"(?:{'|'.join(TABLE_NOUNS)})"

_NUMBER_WORD = re.compile(rf"\b({'|'.join(NUMBERS)})\b")
_PAIR = re.compile(rf"\b({COLOUR}) ({SHAPE})\b")
_EQUATION = re.compile(r"(\d+) ([-+x]) (\d+) = (\d+)")
_VERDICT = re.compile(r"\b(yes|no)\b")

OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "x": lambda a, b: a * b,
}


def digits(text: str) -> str:
    """The text in lower case with its number words as digits."""
    return _NUMBER_WORD.sub(lambda match: str(NUMBERS.index(match[1])), text.lower())


def numbers(text: str) -> list[int]:
    """All numbers in a text of digits."""
    return [int(found) for found in re.findall(r"\d+", text)]


def pairs_in(text: str) -> list[Pair]:
    """Every coloured shape that is spoken of, in order."""
    return [Pair(*found) for found in _PAIR.findall(text)]


def verdict(text: str) -> bool | None:
    """Yes or no, or neither, or both."""
    found = set(_VERDICT.findall(text))
    return None if len(found) != 1 else "yes" in found


def equations(text: str) -> list[tuple[int, str, int, int]]:
    """What is calculated: first number, sign, second number, result."""
    return [(int(a), sign, int(b), int(result)) for a, sign, b, result in _EQUATION.findall(text)]


def equations_hold(text: str, sign: str, operands: tuple[int, int], either_order: bool = False) -> bool:
    """Whether everything that is calculated is this calculation, and calculated well."""
    allowed = {operands, operands[::-1]} if either_order else {operands}
    return all(
        used == sign and (a, b) in allowed and OPERATIONS[sign](a, b) == result
        for a, used, b, result in equations(text)
    )


def results(text: str) -> list[int]:
    """What a text gives as its result: after an equals sign or "is", or the only number there is."""
    found = re.findall(r"(?:= |(?:difference|sum|answer|it|result) is |makes )(\d+)", text)
    found += re.findall(r"(\d+) (?:in all|more\b)", text)
    every = numbers(text)
    return [int(value) for value in found] or (every if len(every) == 1 else [])
