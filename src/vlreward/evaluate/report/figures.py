"""Figures as inline SVG: colours come from the page, so that one figure fits light and dark.

Written by hand rather than by a plotting library, whose SVG carries its own colours and fonts and is some fifty times
as large. Only numbers and fixed words are drawn; texts of the data never get here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from ..calibration import CalibrationFigures
from ..curves import CurvePoint
from .margins import MarginHistogram, round_up

_LEFT, _TOP, _RIGHT, _BOTTOM = 44, 12, 12, 40


@dataclass
class Plot:
    """A plot's data area and its axes, in the units of the data. Marks are drawn in the order in which they are asked
    for; the ``name`` of a mark is its CSS class, which the page gives a colour."""

    label: str
    """What the figure shows, for those who do not see it."""
    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 360
    height: int = 260
    marks: list[Markup] = field(default_factory=list)

    def left(self, value: float) -> float:
        """Pixels from the left of a value on the x axis."""
        return _LEFT + (self.width - _LEFT - _RIGHT) * _share(value, self.x)

    def top(self, value: float) -> float:
        """Pixels from the top of a value on the y axis."""
        return self.height - _BOTTOM - (self.height - _TOP - _BOTTOM) * _share(value, self.y)

    def line(self, name: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """A straight line."""
        (x1, y1), (x2, y2) = start, end
        self.marks.append(
            Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
                name, self.left(x1), self.top(y1), self.left(x2), self.top(y2)
            )
        )

    def path(self, name: str, points: Sequence[tuple[float, float]]) -> None:
        """A line through points."""
        places = " ".join(f"{self.left(x):.1f},{self.top(y):.1f}" for x, y in points)
        self.marks.append(Markup('<polyline class="{}" points="{}"/>').format(name, places))

    def dot(self, name: str, x: float, y: float, radius: float = 4) -> None:
        """A dot; its radius is in pixels."""
        self.marks.append(
            Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(
                name, self.left(x), self.top(y), radius
            )
        )

    def bar(self, name: str, x: tuple[float, float], height: float) -> None:
        """A bar that stands on 0."""
        left, right, top, foot = self.left(x[0]), self.left(x[1]), self.top(height), self.top(0)
        # A gap between bars, and a stump for a bar that would be less than a pixel.
        tall = max(foot - top, 1.0) if height else 0.0
        self.marks.append(
            Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                name, left + 0.5, foot - tall, max(right - left - 1, 0.5), tall
            )
        )

    def text(self, words: str, left: float, top: float, anchor: str = "middle", name: str = "") -> None:
        """Words at a place in pixels."""
        self.marks.append(
            Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
                name, left, top, anchor, words
            )
        )

    def axes(self, x: Sequence[tuple[float, str]], y: Sequence[tuple[float, str]], names: tuple[str, str]) -> None:
        """Ticks with their words, grid lines for the y axis, and what the axes are."""
        for value, words in y:
            self.line("grid", (self.x[0], value), (self.x[1], value))
            self.text(words, _LEFT - 6, self.top(value) + 4, "end")
        for value, words in x:
            self.text(words, self.left(value), self.height - _BOTTOM + 16)
        self.text(names[0], (_LEFT + self.width - _RIGHT) / 2, self.height - 6, name="axis")
        self.marks.append(
            Markup(
                '<text class="axis" transform="translate(11 {:.1f}) rotate(-90)" text-anchor="middle">{}</text>'
            ).format((self.height - _BOTTOM + _TOP) / 2, names[1])
        )

    def svg(self) -> Markup:
        """The whole figure."""
        head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            self.width, self.height, escape(self.label)
        )
        return head + Markup("").join(self.marks) + Markup("</svg>")


def _share(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return min(max((value - low) / (high - low), 0.0), 1.0)


def reliability_figure(figures: CalibrationFigures) -> Markup:
    """How often the model is right, by how sure it is; on the dashed line both are the same.

    Args:
        figures: its bins; the size of a dot says how many comparisons are in it.
    """
    plot = Plot(
        label=f"Reliability diagram: expected calibration error {100 * figures.ece:.1f} %", x=(0.5, 1.0), y=(0.0, 1.0)
    )
    plot.axes(
        [(value / 10, f"{10 * value}") for value in range(5, 11)],
        [(value / 4, f"{25 * value}") for value in range(5)],
        ("sure of it, %", "right, %"),
    )
    plot.line("ideal", (0.5, 0.5), (1.0, 1.0))
    most = max(item.n for item in figures.bins)
    for item in figures.bins:
        if item.interval is not None:
            plot.line("whisker", (item.confidence, item.interval[0]), (item.confidence, item.interval[1]))
    plot.path("series", [(item.confidence, item.right) for item in figures.bins])
    for item in figures.bins:
        plot.dot("point", item.confidence, item.right, 2.5 + 4 * (item.n / most) ** 0.5)
    return plot.svg()


def margin_figure(margins: MarginHistogram) -> Markup:
    """How much more the better response gets than the worse one; left of 0 the model is wrong."""
    low, high = margins.edges[0], margins.edges[-1]
    most = max(margins.counts)
    plot = Plot(
        label=f"Histogram of margins: {margins.wrong:,} of {margins.n:,} comparisons are left of 0, which is wrong",
        x=(low, high),
        y=(0, most * 1.08),
    )
    step = max(1, int(round_up(most / 5)))
    wide = round_up(high / 3)
    plot.axes(
        [(wide * i, f"{wide * i:+g}" if i else "0") for i in range(-3, 4) if wide * abs(i) <= high],
        [(value, f"{value:,}") for value in range(0, most + 1, step)],
        ("reward of the better minus the worse", "comparisons"),
    )
    for start, end, count in zip(margins.edges, margins.edges[1:], margins.counts, strict=False):
        plot.bar("wrong" if end <= 0 else "right", (start, end), count)
    plot.line("zero", (0, 0), (0, most * 1.08))
    plot.text("← wrong", plot.left(0) - 6, _TOP + 8, "end", "note")
    plot.text("right →", plot.left(0) + 6, _TOP + 8, "start", "note")
    return plot.svg()


def curve_figure(points: Sequence[CurvePoint]) -> Markup:
    """How often the chosen one of N responses is a best one, between chance and a choice that knows."""
    last = points[-1]
    plot = Plot(
        label=f"Best of N: of {last.n} responses the chosen one is a best one in {100 * last.selected:.1f} %, by chance"
        f" in {100 * last.random:.1f} %, at most in {100 * last.oracle:.1f} %",
        x=(1, last.n),
        y=(0.0, 1.0),
    )
    plot.axes(
        [(point.n, f"{point.n}") for point in points],
        [(value / 4, f"{25 * value}") for value in range(5)],
        ("N, responses to choose from", "a best one is chosen, %"),
    )
    plot.path("oracle", [(point.n, point.oracle) for point in points])
    plot.path("ideal", [(point.n, point.random) for point in points])
    plot.path("series", [(point.n, point.selected) for point in points])
    for point in points:
        if point.interval is not None:
            plot.line("whisker", (point.n, point.interval[0]), (point.n, point.interval[1]))
        plot.dot("point", point.n, point.selected)
    return plot.svg()
