"""Answers to questions without a picture."""

from __future__ import annotations

import re

from ..families.text_only import DAYS, KINDS, MORE_NAMES, NAMES, OPPOSITES
from .reading import digits, equations_hold, numbers

_ALL_KINDS = {word: kind for kind, words in KINDS.items() for word in words}


def answered(question: str, text: str) -> bool:
    """Whether an answer is right."""
    if "taller" in question:
        return _ordered(question, text)
    if "opposite" in question:
        asked = re.findall(r"opposite of (\w+)", question)[0]
        answer = next(b if a == asked else a for a, b in OPPOSITES if asked in (a, b))
        return _words(text, [w for pair in OPPOSITES for w in pair]) - {asked} == {answer}
    if "day" in question:
        asked = next(day for day in DAYS if day in question)
        return _words(text, DAYS) - {asked} == {DAYS[(DAYS.index(asked) + 1) % 7]}
    if "reverse" in question or "backwards" in question:
        asked_words = re.findall(r"\w+", question.rpartition(":")[2])
        return re.findall(r"\w+", text.rpartition(":")[2]) == asked_words[::-1]
    if "fruit:" in question or re.search(r"an? (animal|fruit|tool)\b", question):
        kind = re.findall(r"animal|fruit|tool", question)[0]
        shown = [word for word in _words(question, list(_ALL_KINDS)) if _ALL_KINDS[word] == kind]
        return _words(text, list(_ALL_KINDS)) == set(shown)
    return _calculated(question, digits(text))


def _words(text: str, known: tuple[str, ...] | list[str]) -> set[str]:
    return set(re.findall(r"\w+", text)) & set(known)


def _ordered(question: str, text: str) -> bool:
    facts = re.findall(r"(\w+) is taller than (\w+)", question)
    taller, shorter = {a for a, _ in facts}, {b for _, b in facts}
    truth = taller - shorter if "tallest" in question else shorter - taller
    return _words(text, NAMES + MORE_NAMES) == truth


def _calculated(question: str, text: str) -> bool:
    one, other = numbers(question)
    sign = "-" if re.search(r"\d - \d", question) else "+"
    truth = one - other if sign == "-" else one + other
    said = numbers(text)
    if "without" in text or not said or not equations_hold(text, sign, (one, other)):
        return False
    if len(said) == 1:
        return said == [truth]
    return set(said) <= {one, other, truth} and truth in said
