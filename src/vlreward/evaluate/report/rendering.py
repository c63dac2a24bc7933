"""The page: one HTML file that loads nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image as PILImage

from vlreward import __version__

from ..audits.result import AuditResult, VariantResult, threshold_words, words
from ..metrics import Interval
from ..summary import Share
from .contents import Evaluation, Report
from .figures import curve_figure, margin_figure, reliability_figure

LONGEST = 4000
"""Characters of a text that are shown."""
_SMALLEST = 112
"""Pixels of the longer side below which a picture is enlarged."""
_SIGNS = {"pass": "✓", "fail": "✕", "cannot tell": "?", "does not apply": "–"}
"""A verdict is never said by its colour alone."""


def page(report: Report) -> str:
    """The report as HTML: styles, figures and pictures inside, no scripts, and a policy that forbids all requests.

    Everything that comes from data is escaped.
    """
    pictures = {name: _picture(uri) for name, uri in report.pictures.items()}
    return _environment().get_template("report.html").render(report=report, pictures=pictures, version=__version__)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("vlreward.evaluate.report", "templates"),
        # Of every file, whatever its name: nothing from data is ever meant to be markup.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "ends": _ends,
        "place": _place,
        "short": _short,
        "plain": _plain,
        "name": _name,
    }
    environment.globals |= {
        "reliability_figure": reliability_figure,
        "margin_figure": margin_figure,
        "curve_figure": curve_figure,
        "effect_words": words,
        "effect_track": _track,
        "verdict_words": _verdict_words,
        "sections": _sections,
        "published_names": _published_names,
        "own_figures": _own_figures,
        "figure_title": _figure_title,
        "signs": _SIGNS,
    }
    return environment


class _Picture(NamedTuple):
    uri: str
    width: int
    height: int


def _picture(uri: str) -> _Picture:
    """A picture and how large it is shown: as it is, but icons are enlarged."""
    with PILImage.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        width, height = image.size
    times = max(1, -(-_SMALLEST // max(width, height)))
    return _Picture(uri, times * width, times * height)


def _name(model: str | None) -> str:
    """What a model is called in a table: the last part of its folder or hub id."""
    return (model or "").rstrip("/").rpartition("/")[2] or "this model"


def _percent(share: float) -> str:
    # The space is one that no line breaks at.
    return f"{100 * share:.1f}\u00a0%"


def _ends(interval: Interval | None) -> str:
    """An interval of shares, in percent; empty where there is none."""
    return "" if interval is None else f"{100 * interval[0]:.1f} – {100 * interval[1]:.1f}"


def _place(share: float) -> str:
    """A share as a length in CSS."""
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


def _short(text: str) -> str:
    """A text, the end of a very long one cut off."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… ({len(text) - LONGEST:,} more characters)"


def _plain(value: Any) -> str:
    """A setting as people read it."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


class _Row(NamedTuple):
    """A group of items."""

    name: str
    share: Share
    expected: int | None
    """Items that it should have."""
    blank: float | None


def _sections(part: Evaluation) -> Iterator[tuple[str, list[_Row]]]:
    """The groups of an evaluation by label, tasks first: they say most of what a model is good for."""
    summary, (first, *others) = part.summary, part.about.grouping
    starts = {first: "", **{label: f"{label}: " for label in others}}
    for label in sorted(starts, key=lambda label: label != "task"):
        start = starts[label]
        # Tasks of one's own may have a colon in their names.
        beside = () if start else tuple(starts[label] for label in others)
        names = [name for name in summary.groups if name.startswith(start) and not name.startswith(beside)]
        rows = [
            _Row(
                name.removeprefix(start),
                summary.groups[name],
                summary.counts_expected.get(name),
                summary.blank_groups[name].accuracy if name in summary.blank_groups else None,
            )
            for name in names
        ]
        if rows:
            yield label, rows


def _published_names(part: Evaluation) -> list[str]:
    """The figures that papers give, in their order."""
    return list(dict.fromkeys(name for entry in part.published for name in entry.figures))


def _own_figures(part: Evaluation) -> Mapping[str, tuple[float, Interval | None]]:
    """This model's, by the same names."""
    summary = part.summary
    own: dict[str, tuple[float, Interval | None]] = {
        name: (share.accuracy, share.interval) for name, share in summary.groups.items()
    }
    own["overall"] = (summary.accuracy, summary.interval)
    if summary.macro is not None:
        own["macro"] = (summary.macro, None)
    return own


def _figure_title(part: Evaluation, name: str) -> str:
    """What a benchmark calls a figure."""
    return {"overall": part.about.overall, "macro": part.about.macro or "macro"}.get(name, name)


class _Track(NamedTuple):
    """Where on a line, from 0 to 1, an effect and what passes are drawn."""

    dot: float
    interval: Interval | None
    zone: Interval
    limits: tuple[float, ...]


def _track(audit: AuditResult, variant: VariantResult) -> _Track:
    """Shares from 0 to 1 as they are, shifts from -1 to 1 spread."""

    def at(effect: float) -> float:
        return (effect + 1) / 2 if audit.is_shift else effect

    low = -audit.threshold if audit.two_sided else -1.0 if audit.is_shift else 0.0
    ends = (audit.threshold, low) if audit.two_sided else (audit.threshold,)
    return _Track(
        dot=at(variant.effect or 0.0),
        interval=None if variant.interval is None else (at(variant.interval[0]), at(variant.interval[1])),
        zone=(at(low), at(audit.threshold)),
        limits=tuple(map(at, ends)),
    )


def _verdict_words(audit: AuditResult) -> str:
    """An audit's verdict in a sentence."""
    passes = f"{audit.measure[:1].upper()}{audit.measure[1:]}: {threshold_words(audit)} passes"
    if audit.verdict == "fail":
        effects = ", ".join(
            f"{variant.name} {words(variant.effect, audit)}"
            for variant in audit.variants
            if variant.verdict == "fail" and variant.effect is not None
        )
        return f"Fails. {passes}; {effects}."
    if audit.verdict == "pass":
        return f"Passes. {passes}, and every variant with enough pairs is there, interval and all."
    if audit.verdict == "cannot tell":
        return f"Cannot tell. {passes}; there are too few pairs, or an interval reaches over it."
    return "Does not apply: no pair has what is changed here."
