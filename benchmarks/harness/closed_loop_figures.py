"""The closed loop as a table and as figures: SVG with its own colours, which fits light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlreward.cli.mpo_figure import course_figure
from vlreward.evaluate.report.figures import Plot

_STYLE = (
    "<style>text{font:11px system-ui,sans-serif;fill:#6b7078}.axis,.note{fill:#4a4e55}.grid{stroke:#8884}"
    ".ideal{stroke:#8a8f96;stroke-width:1.5;stroke-dasharray:5 4;fill:none}"
    ".series{stroke:#0072b2;stroke-width:2;fill:none}.point{fill:#0072b2}.whisker{stroke:#4a4e55;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){text{fill:#a3a9b0}.axis,.note{fill:#e0e2e4}.series{stroke:#56b4e9}"
    ".point{fill:#56b4e9}.whisker{stroke:#e0e2e4}}</style>"
)
_NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'
_HEADS = ("", "right, %", "gain, points", "95 %", "by seed", "characters", "cut off, %", "minutes a seed")


def table(result: Mapping[str, Any]) -> str:
    """The rows in Markdown, then how good each reward is."""
    lines = [f"| {' | '.join(_HEADS)} |", "|---|" + "---:|" * (len(_HEADS) - 1)]
    lines += [f"| {' | '.join(_cells(row))} |" for row in result["rows"]]
    lines += ["", "| reward | tells right from wrong, % | 95 % | prompts |", "|---|---:|---:|---:|"]
    for name, found in result["reward_accuracy"].items():
        cells = (name, f"{100 * found['accuracy']:.1f}", _ends(found["interval"]), f"{found['prompts']:,}")
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    lines += [
        f"- {found['what']}: {100 * found['gain']:+.1f} points ({_ends(found['interval'], '+.1f')})"
        for found in result["compared"]
    ]
    lines += [f"- {words}: {'yes' if holds else 'NO'}" for words, holds in result["shown"].items()]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[str, Any]) -> Sequence[str]:
    gains = row["gain_by_seed"] or ()
    seconds = row["seconds_by_seed"]
    return (
        row["name"],
        f"{100 * row['accuracy']:.1f}",
        "" if row["gain"] is None else f"{100 * row['gain']:+.1f}",
        _ends(row["gain_interval"], "+.1f"),
        ", ".join(f"{100 * gain:+.1f}" for gain in gains),
        f"{row['length']:.0f}",
        f"{100 * row['unfinished']:.1f}",
        f"{sum(seconds) / len(seconds) / 60:.1f}",
    )


def _ends(interval: Sequence[float] | None, form: str = ".1f") -> str:
    return "" if interval is None else f"{100 * interval[0]:{form}} to {100 * interval[1]:{form}}"


def gain_figure(result: Mapping[str, Any]) -> str:
    """What MPO gains with each reward, by how well that reward tells the policy's right answers from wrong ones."""
    rows = {row["reward"]: row for row in result["rows"] if row["method"] == "mpo"}
    names = [name for name in result["reward_accuracy"] if name in rows]
    ends = [end for name in names for end in (rows[name]["gain_interval"] or (rows[name]["gain"],) * 2)]
    low, high = min(*ends, -0.02), max(*ends, 0.02)
    room = 0.06 * (high - low)
    plot = Plot(
        label="Gain of answer accuracy through MPO, by the accuracy of the reward",
        x=(0.45, 1.02),
        y=(low - room, high + room),
        width=560,
        height=320,
    )
    ticks = [i / 20 for i in range(-20, 21) if low - room <= i / 20 <= high + room]
    plot.axes(
        [(i / 10, f"{10 * i}") for i in range(5, 11)],
        [(tick, f"{100 * tick:+.0f}" if tick else "0") for tick in ticks],
        ("the reward tells right answers from wrong ones, %", "gain through MPO, points"),
    )
    plot.line("ideal", (0.45, 0.0), (1.02, 0.0))
    for name in names:
        row, place = rows[name], result["reward_accuracy"][name]
        x, y = place["accuracy"], row["gain"]
        if row["gain_interval"] is not None:
            plot.line("whisker", (x, row["gain_interval"][0]), (x, row["gain_interval"][1]))
        if place["interval"] is not None:
            plot.line("whisker", (place["interval"][0], y), (place["interval"][1], y))
        plot.dot("point", x, y, 5)
        side, anchor = (-9, "end") if x > 0.9 else (9, "start")
        plot.text(name, plot.left(x) + side, plot.top(y) - 8, anchor, "note")
    return _alone(str(plot.svg()))


def training_figure(course: Sequence[dict[str, Any]], label: str) -> str:
    """Gold accuracy, reward and length over training."""
    return _alone(str(course_figure(course, label)))


def _alone(svg: str) -> str:
    """As a file of its own."""
    head, bracket, rest = svg.partition(">")
    return head.replace("<svg", f"<svg {_NAMESPACE}", 1) + bracket + _STYLE + rest + "\n"
