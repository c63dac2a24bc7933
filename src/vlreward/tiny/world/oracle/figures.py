"""Sentences about signs, charts and dice, and a teacher's about a pupil's work."""

from __future__ import annotations

import re

from ..scenes import Chart, Dice, Grid, Pie, Sign
from .reading import COLOUR, OPERATIONS, digits, equations, equations_hold, numbers, results


def read(scene: Sign, question: str, text: str) -> bool:
    """Whether the word or the letter is read rightly."""
    said = re.findall(r"\b[A-Z]+\b", text)
    truth = scene.word
    if re.search(r"\bletter\b", question):
        truth = truth[0] if "first" in question else truth[-1]
    return said == [truth]


def charted(scene: Chart, question: str, text: str) -> bool:
    """Whether an answer about a chart is right, with every step."""
    text = digits(text)
    values = {bar.colour: bar.value for bar in scene.bars}
    asked = re.findall(rf"\b({COLOUR}) bar", question)
    if not asked:
        return _extreme(values, question, text)
    if len(asked) == 1:
        named = set(re.findall(rf"\b({COLOUR})\b", text))
        return named <= set(asked) and numbers(text) == [values[asked[0]]]
    sign = "-" if re.search(r"minus|difference|taller", question) else "+"
    operands = values[asked[0]], values[asked[1]]
    said = {colour: int(n) for colour, n in re.findall(rf"\b({COLOUR})(?: bar)?(?: is| shows)? (\d+)", text)}
    steps = all(values.get(colour) == n for colour, n in said.items())
    found = results(text)
    right = bool(found) and set(found) == {OPERATIONS[sign](*operands)}
    return steps and right and equations_hold(text, sign, operands)


def _extreme(values: dict[str, int], question: str, text: str) -> bool:
    best = max(values.values()) if "tallest" in question else min(values.values())
    said = re.findall(rf"\b({COLOUR})\b", text)
    if len(said) != 1 or values.get(said[0]) != best or list(values.values()).count(best) != 1:
        return False
    return all(number == best for number in numbers(text))


def thrown(scene: Dice, text: str) -> bool:
    """Whether the dice are read and added rightly."""
    text = digits(text)
    values = {die.colour: die.value for die in scene.dice}
    said = re.findall(rf"\b({COLOUR})(?: die shows)? (\d+)", text)
    said += [(colour, n) for n, colour in re.findall(rf"(\d+) on the ({COLOUR}) die", text)]
    left, right = (die.value for die in scene.dice)
    found = results(text)
    steps = all(values.get(colour) == int(n) for colour, n in said) and equations_hold(text, "+", (left, right), True)
    return steps and bool(found) and set(found) == {left + right}


_PRAISE = re.compile(r"\b(well done|that is right|right answer|correct|all right)\b")
_ROWS = re.compile(r"(?:there are (\d+) rows|i see (\d+) rows|rows where there are (\d+))")
_IN_A_ROW = re.compile(r"(?:each row has (\d+)|i see (\d+) dots in a row|dots in a row where there are (\d+))")
_FILLED = re.compile(
    r"(?:(\d+) parts? (?:is|are) filled|i see (\d+) filled|filled parts? where there (?:is|are) (\d+))"
)
_PARTS = re.compile(r"(?:circle has (\d+) parts|i see (\d+) parts in all|parts in all where there are (\d+))")


def taught(scene: Grid | Pie | Chart, question: str, text: str) -> bool:
    """Whether a teacher's feedback fits the figure and what the pupil wrote."""
    truth, work, points = _lesson(scene, question, text)
    if work is None:
        return False
    if _PRAISE.search(text):
        return truth == work and not any(points) and _solutions(scene, text) <= {truth}
    if sum(map(len, points)) != 1 or truth == work:
        return False
    at = 0 if points[0] else 1
    return points[at] == [truth[at]] and truth[at] != work[at] and _solutions(scene, text) <= {truth}


def _lesson(
    scene: Grid | Pie | Chart, question: str, text: str
) -> tuple[tuple[int, int], tuple[int, int] | None, tuple[list[int], list[int]]]:
    """What the figure shows, what the pupil wrote, and which numbers the feedback corrects, first and second."""
    if isinstance(scene, Chart):
        first, second = re.findall(rf"\b({COLOUR}) bar", question)[:2]
        values = {bar.colour: bar.value for bar in scene.bars}
        truth = values[first], values[second]
        points = _bar_points(first, text), _bar_points(second, text)
    else:
        truth = (scene.rows, scene.columns) if isinstance(scene, Grid) else (scene.filled, scene.parts)
        patterns = (_ROWS, _IN_A_ROW) if isinstance(scene, Grid) else (_FILLED, _PARTS)
        points = _points(patterns[0], text), _points(patterns[1], text)
    written = _solutions(scene, question)
    return truth, written.pop() if len(written) == 1 else None, points


def _points(pattern: re.Pattern[str], text: str) -> list[int]:
    return [int(value) for found in pattern.findall(text) for value in found if value]


def _bar_points(colour: str, text: str) -> list[int]:
    pattern = rf"(?:{colour} bar (?:is|reaches) (\d+)|i read (\d+) at the {colour} bar)"
    return _points(re.compile(pattern), text)


def _solutions(scene: Grid | Pie | Chart, text: str) -> set[tuple[int, int]]:
    """The operands of what is calculated; a calculation that is wrong counts as one that nobody made."""
    if isinstance(scene, Pie):
        return {(int(a), int(b)) for a, b in re.findall(r"(\d+)/(\d+)", text)}
    sign = "x" if isinstance(scene, Grid) else "+"
    return {
        (a, b) if used == sign and OPERATIONS[used](a, b) == result else (-1, -1)
        for a, used, b, result in equations(text)
    }
