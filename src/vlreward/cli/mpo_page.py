"""The report of a loop as a page: one HTML file that loads nothing, in the style of ``vlreward report``."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from vlreward.policy.gold import Gold
    from vlreward.policy.pairs import ScoredGroup

SAMPLES = 12
"""Prompts that are shown with the answers before and after."""
_SIDE, _LONGEST = 320, 2000
_WIDTH, _HEIGHT, _EDGE = 640, 260, 48


def page(report: dict[str, Any], before: Path, after: Path, gold: Gold | None) -> str:
    """The report with its figure and some samples; everything that comes from data is escaped.

    Args:
        report: of `vlreward.cli.mpo_report.report_of`.
        before: folder of the answers of the policy as it was, and of their rewards.
        after: that of the finished one.
        gold: who knows which answers are right.
    """
    style = resources.files("vlreward.evaluate.report").joinpath("templates", "style.css").read_text(encoding="utf-8")
    return str(
        _PAGE.format(
            style=Markup(style),
            policy=report["recipe"]["policy"],
            reward=report["recipe"]["reward"],
            warnings=_joined(Markup('<p class="missing">{}</p>').format(text) for text in report["warnings"]),
            rows=_joined(_row(name, report[name]) for name in ("before", "after")),
            figure=_figure(report["over_training"]),
            pairs=_joined(_count(*entry) for entry in _counts(report["pairs"])),
            samples=_joined(_sample(*both, gold) for both in islice(_both(before, after), SAMPLES)),
        )
    )


_PAGE = Markup(
    """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{policy}: before and after</title><style>{style}</style></head><body>
<h1>{policy}, improved with {reward}</h1>
{warnings}
<table><thead><tr><th></th><th>right</th><th>95 % interval</th><th>reward</th><th>characters</th><th>cut off</th></tr>
</thead><tbody>{rows}</tbody></table>
<h2>Over training</h2>
<figure>{figure}<figcaption>Held-out answers that are right, with 95 % intervals (line and dots, left axis), and their
mean reward (dashed, right axis), by optimizer steps.</figcaption></figure>
<h2>Pairs</h2>
<dl>{pairs}</dl>
<h2>Answers before and after</h2>
{samples}
</body></html>
"""
)


def _joined(pieces: Iterator[Markup]) -> Markup:
    return Markup("").join(pieces)


def _row(name: str, figures: dict[str, Any]) -> Markup:
    ends = figures["accuracy_interval"]
    interval = "–" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"
    right = "–" if figures["accuracy"] is None else f"{100 * figures['accuracy']:.1f} %"
    cells = (
        right,
        interval,
        f"{figures['reward']:+.3f}",
        f"{figures['length']:.0f}",
        f"{100 * figures['unfinished']:.1f} %",
    )
    return Markup("<tr><th>{}</th>{}</tr>").format(name, _joined(Markup("<td>{}</td>").format(cell) for cell in cells))


def _counts(pairs: dict[str, Any]) -> Iterator[tuple[str, int]]:
    yield "prompts", pairs["groups"]
    yield "pairs", pairs["pairs"]
    yield "of them by right answers", pairs["by_key"]
    for reason, count in pairs["dropped"].items():
        yield f"prompts without a pair: {reason}", count
    for reason, count in pairs["left_out"].items():
        yield f"pairs left out: {reason}", count


def _count(name: str, count: int) -> Markup:
    return Markup("<dt>{}</dt><dd>{:,}</dd>").format(name, count)


# The figure.


def _figure(curve: Sequence[dict[str, Any]]) -> Markup:
    """Right answers and rewards by steps; only numbers and fixed words are drawn."""
    last = max(curve[-1]["step"], 1)
    rewards = [point["reward"] for point in curve]
    low, high = min(rewards), max(rewards)

    def left(point: dict[str, Any]) -> float:
        return _EDGE + (_WIDTH - 2 * _EDGE) * float(point["step"] / last)

    def top(share: float) -> float:
        return _HEIGHT - _EDGE - (_HEIGHT - 1.5 * _EDGE) * share

    marks = [_text(f"{25 * i} %", _EDGE - 6, top(i / 4) + 4, "end") for i in range(5)]
    marks += [_line("grid", _EDGE, top(i / 4), _WIDTH - _EDGE, top(i / 4)) for i in range(5)]
    marks += [_text(f"{point['step']}", left(point), _HEIGHT - _EDGE + 16) for point in curve]
    marks += [_text(f"{value:+.2f}", _WIDTH - _EDGE + 4, top(i) + 4, "start") for i, value in enumerate((low, high))]
    heights = [0.5 if high == low else (value - low) / (high - low) for value in rewards]
    marks.append(_path("ideal", [(left(point), top(height)) for point, height in zip(curve, heights, strict=True)]))
    known = [point for point in curve if point["accuracy"] is not None]
    marks.append(_path("series", [(left(point), top(point["accuracy"])) for point in known]))
    for point in known:
        if point["accuracy_interval"] is not None:
            low_end, high_end = point["accuracy_interval"]
            marks.append(_line("whisker", left(point), top(low_end), left(point), top(high_end)))
        dot = Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="4"/>')
        marks.append(dot.format(left(point), top(point["accuracy"])))
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="Right answers and reward over training">')
    return head.format(_WIDTH, _HEIGHT) + Markup("").join(marks) + Markup("</svg>")


def _text(words: str, left: float, top: float, anchor: str = "middle") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(left, top, anchor, words)


def _line(name: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    line = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
    return line.format(name, x1, y1, x2, y2)


def _path(name: str, points: Sequence[tuple[float, float]]) -> Markup:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<polyline class="{}" points="{}"/>').format(name, places)


# The samples.


def _both(before: Path, after: Path) -> Iterator[tuple[ScoredGroup, ScoredGroup]]:
    from vlreward.policy.prompts import read_scored

    first, second = (read_scored(place / "sampled.jsonl", place / "rewards.jsonl") for place in (before, after))
    return zip(first, second, strict=True)


def _sample(before: ScoredGroup, after: ScoredGroup, gold: Gold | None) -> Markup:
    """A prompt with its pictures, and the first answer to it before and after."""
    from vlreward.data.content import text_of
    from vlreward.types import Image

    messages = before.group.messages
    images = (part.source for message in messages for part in message.parts if isinstance(part, Image))
    sides = (_side(name, item, gold) for name, item in (("before", before), ("after", after)))
    case = Markup('<div class="case"><p>{}</p><p>{}</p><div class="sides">{}</div></div>')
    return case.format(_joined(map(_picture, images)), _short(text_of(messages)), _joined(sides))


def _side(name: str, item: ScoredGroup, gold: Gold | None) -> Markup:
    from vlreward.data.content import text_of

    known = None if gold is None else gold.right(item.group)
    verdict = "" if known is None else ", ✓ right" if known[0] else ", ✕ wrong"
    head = f"{name}: reward {item.rewards[0]:+.3f}{verdict}"
    text = _short(text_of(item.group.responses[0])) or "(nothing)"
    return Markup('<div><p class="soft">{}</p><p>{}</p></div>').format(head, text)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _picture(source: Any) -> Markup:
    """A small copy inside the page; words where the picture cannot be read here."""
    from vlreward.data.images import load_image
    from vlreward.errors import VLRewardError

    try:
        image = load_image(source)
    except VLRewardError:
        return Markup("(a picture that is not on this machine)")
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return Markup('<img alt="picture of the prompt" src="data:image/png;base64,{}">').format(data)
