"""The figure of a policy over its training, as inline SVG: only numbers and fixed words are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from markupsafe import Markup

_WIDTH, _EDGE, _TOP = 640, 48, 14
_PANELS = (200, 80)
"""Heights of the panel with right answers and rewards, and of the one with lengths below it."""
_GAP = 26
_MOST_LABELS = 9


def course_figure(course: Sequence[dict[str, Any]], label: str) -> Markup:
    """Right answers and rewards by steps, and below them how long the answers are.

    Args:
        course: at least one point, in the order of steps: ``step``, ``reward``, ``length``, ``accuracy`` and
            ``accuracy_interval``; the last two are None where nobody knows what is right.
        label: what the figure shows, for those who do not see it.
    """
    last = max(course[-1]["step"], 1)
    upper, lower = _TOP + _PANELS[0], _TOP + sum(_PANELS) + _GAP

    def left(point: dict[str, Any]) -> float:
        return _EDGE + (_WIDTH - 2 * _EDGE) * float(point["step"] / last)

    marks = [*_answers(course, left, upper), *_lengths(course, left, lower)]
    every = -(-len(course) // _MOST_LABELS)
    marks += [_text(f"{point['step']}", left(point), lower + 16) for point in course[::every]]
    marks.append(_text("optimizer steps", _WIDTH / 2, lower + 32, "middle", "axis"))
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, lower + 38, label)
    return head + Markup("").join(marks) + Markup("</svg>")


def _answers(
    course: Sequence[dict[str, Any]], left: Callable[[dict[str, Any]], float], foot: float
) -> Iterator[Markup]:
    """The upper panel: right answers on the left axis, from 0 to 100 %, and rewards on the right one."""

    def top(share: float) -> float:
        return foot - _PANELS[0] * share

    for i in range(5):
        yield _text(f"{25 * i} %", _EDGE - 6, top(i / 4) + 4, "end")
        yield _line("grid", _EDGE, top(i / 4), _WIDTH - _EDGE, top(i / 4))
    yield _text("right answers (line), reward (dashed)", _EDGE + 4, top(1.0) - 4, "start", "note")
    yield from _dashed(course, "reward", left, top, "+.2f")
    known = [point for point in course if point["accuracy"] is not None]
    yield _path("series", [(left(point), top(point["accuracy"])) for point in known])
    for point in known:
        if point["accuracy_interval"] is not None:
            low, high = point["accuracy_interval"]
            yield _line("whisker", left(point), top(low), left(point), top(high))
        dot = Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="4"/>')
        yield dot.format(left(point), top(point["accuracy"]))


def _lengths(
    course: Sequence[dict[str, Any]], left: Callable[[dict[str, Any]], float], foot: float
) -> Iterator[Markup]:
    """The lower panel: characters of an answer, from 0."""
    most: float = max(*(point["length"] for point in course), 1.0)

    def top(length: float) -> float:
        return foot - _PANELS[1] * length / most

    for value in (0.0, most):
        yield _text(f"{value:.0f}", _EDGE - 6, top(value) + 4, "end")
        yield _line("grid", _EDGE, top(value), _WIDTH - _EDGE, top(value))
    yield _path("series", [(left(point), top(point["length"])) for point in course])
    yield _text("characters", _EDGE + 4, top(most) - 4, "start", "note")


def _dashed(
    course: Sequence[dict[str, Any]],
    name: str,
    left: Callable[[dict[str, Any]], float],
    top: Callable[[float], float],
    form: str,
) -> Iterator[Markup]:
    """A figure from its least to its greatest value, which stand at the right."""
    values = [point[name] for point in course]
    low, high = min(values), max(values)
    heights = [0.5 if high == low else (value - low) / (high - low) for value in values]
    yield _path("ideal", [(left(point), top(height)) for point, height in zip(course, heights, strict=True)])
    for height, value in {0.0: low, 1.0: high}.items() if high > low else [(0.5, low)]:
        yield _text(f"{value:{form}}", _WIDTH - _EDGE + 4, top(height) + 4, "start")


def _text(words: str, left: float, top: float, anchor: str = "middle", name: str = "") -> Markup:
    text = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return text.format(name, left, top, anchor, words)


def _line(name: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    line = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
    return line.format(name, x1, y1, x2, y2)


def _path(name: str, points: Sequence[tuple[float, float]]) -> Markup:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<polyline class="{}" points="{}"/>').format(name, places)
