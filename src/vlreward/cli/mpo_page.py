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

from .mpo_figure import course_figure

if TYPE_CHECKING:
    from vlreward.policy.gold import Gold
    from vlreward.policy.pairs import ScoredGroup

SAMPLES = 12
"""Prompts that are shown with the answers before and after."""
_SIDE, _LONGEST = 320, 2000


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
            figures=_joined(_figures(report)),
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
<div class="figures">{figures}</div>
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


# The figures.


def _figures(report: dict[str, Any]) -> Iterator[Markup]:
    """What was seen while training, where it was watched, and the checkpoints."""
    yield from _figure(report["watched"], f"while training, {{:,}} held-out prompts; {_LEGEND}")
    yield from _figure(report["over_training"], f"checkpoints, all {{:,}} held-out prompts; {_LEGEND}")


_LEGEND = "right answers with 95 % intervals (line and dots, left axis), mean reward (dashed, right axis), and length"


def _figure(course: Sequence[dict[str, Any]], words: str) -> Iterator[Markup]:
    if course:
        said = words.format(course[0]["prompts"])
        figure = Markup("<figure>{}<figcaption>{}.</figcaption></figure>")
        yield figure.format(course_figure(course, said), said[:1].upper() + said[1:])


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
