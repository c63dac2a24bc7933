"""Two models side by side, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from vlreward.evaluate.comparison import PairedComparison, ScoresComparison
    from vlreward.evaluate.report.compare import Finding, Findings, ReportsComparison


def comparison_table(comparison: ReportsComparison) -> RenderableType:
    """Every benchmark with its groups, then the audits."""
    from rich.console import Group
    from rich.text import Text

    return Group(
        Text(f"A: {comparison.first}\nB: {comparison.second}", style="bold"),
        *(Text(f"warning: {warning}", style="yellow") for warning in comparison.warnings),
        *(_benchmark(title, found) for title, found in comparison.benchmarks.items()),
        *([_audits(comparison)] if comparison.audits else []),
        Text(_FOOTNOTE, style="dim"),
    )


_FOOTNOTE = (
    "Differences are B minus A on the same items, in percentage points, with 95 % intervals over clusters; p is "
    "McNemar's, where items stand alone. Among many groups, some differ by chance. Audits stand side by side."
)


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", no_wrap=bool(i))
    return table


def _benchmark(title: str, found: ScoresComparison) -> Table:
    from rich.text import Text

    table = _table(title, "", "items", "A, %", "B, %", "B − A", "95 % interval", "p")
    table.add_row("overall", *_cells(found.overall), style="bold")
    for label, groups in found.groups.items():
        for name, group in groups.items():
            table.add_row(Text(f"{label}: {name}"), *_cells(group))
    return table


def _cells(paired: PairedComparison) -> Iterator[str]:
    yield f"{paired.n:,}"
    yield f"{100 * paired.first:.1f}"
    yield f"{100 * paired.second:.1f}"
    yield f"{100 * paired.difference:+.1f}"
    yield "" if paired.interval is None else " – ".join(f"{100 * end:+.1f}" for end in paired.interval)
    yield "" if paired.mcnemar is None else f"{paired.mcnemar:.3f}" if paired.mcnemar >= 0.001 else "< 0.001"


def _audits(comparison: ReportsComparison) -> Table:
    from rich.text import Text

    table = _table("audits", "", "A", "", "B", "")
    for found in comparison.audits:
        sides = [cell for side in (found.first, found.second) for cell in (_effect(side, found), side.verdict)]
        table.add_row(Text(f"{found.audit}: {found.variant}"), *sides)
    return table


def _effect(side: Finding, found: Findings) -> str:
    if side.effect is None:
        return ""
    return f"{side.effect:+.2f}" if found.is_shift else f"{100 * side.effect:.1f} %"
