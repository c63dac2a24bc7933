"""The figures of an evaluation, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from vlreward.evaluate.benchmarks import Benchmark
    from vlreward.evaluate.summary import Share, Summary


def summary_table(summary: Summary, benchmark: Benchmark) -> RenderableType:
    """Overall, the groups with their bars, rankings of more than two, the baselines, and what to know of them."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in ("", "items", "right", "95 % interval", "", "blanked"):
        table.add_column(name, justify="left" if name == "" else "right", no_wrap=name != "")
    _add(table, benchmark.overall, summary.n, summary.accuracy, summary.interval, summary.baselines.blank, style="bold")
    if summary.all_right:
        together = summary.all_right
        _add(table, f"{benchmark.overall}+", together.n, together.accuracy, together.interval, None, style="bold")
    if summary.macro is not None:
        name = benchmark.macro or f"mean of each {benchmark.grouping[0]}"
        _add(table, name, None, summary.macro, None, None, style="bold")
    for name, share in summary.groups.items():
        items = _items(share.n, summary.counts_expected.get(name))
        _add(table, name, items, share.accuracy, share.interval, _blank(summary.blank_groups.get(name)))
    several = [_best_of_n_table(summary)] if summary.best_of_n else []
    lines = [Text(line, style="dim") for line in _lines(summary, benchmark)]
    warnings = [Text(f"warning: {line}", style="yellow") for line in summary.warnings]
    title = Text(f"{summary.model or 'unknown model'} on {benchmark.name}", style="bold")
    # Items that are missing come before any figure of those that are not.
    first = 1 if summary.unusable else 0
    published = [_published_table(benchmark)] if benchmark.published else []
    return Group(*warnings[:first], title, table, *several, *published, *lines, *warnings[first:])


def _best_of_n_table(summary: Summary) -> Table:
    """Of rankings of more than two responses, overall and by group."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in ("best of N", "rankings", "best first", "95 % interval", "at random", "blanked", "τ"):
        table.add_column(name, justify="left" if name == "best of N" else "right", no_wrap=name != "best of N")
    shares = {"all": summary.best_of_n} | {name: share.best_of_n for name, share in summary.groups.items()}
    for name, found in shares.items():
        if found is not None:
            table.add_row(
                Text(name),
                f"{found.n:,}",
                _percent(found.accuracy),
                _ends(found.interval),
                _percent(found.chance),
                "" if found.blank is None else _percent(found.blank),
                f"{found.tau:+.2f}",
            )
    return table


def _published_table(benchmark: Benchmark) -> Table:
    """What papers say of other systems, in percent."""
    from rich import box
    from rich.table import Table

    names = list(dict.fromkeys(name for entry in benchmark.published for name in entry.figures))
    titles = {"overall": benchmark.overall, "macro": benchmark.macro or "macro"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(f"published, % ({', '.join(dict.fromkeys(entry.source for entry in benchmark.published))})")
    for name in names:
        table.add_column(titles.get(name, name), justify="right")
    for entry in benchmark.published:
        table.add_row(entry.system, *(f"{100 * entry.figures[name]:.1f}" for name in names))
    return table


def _items(n: int, expected: int | None) -> str:
    return f"{n:,}" if expected in (None, n) else f"{n:,} of {expected:,}"


def _add(
    table: Table,
    name: str,
    n: int | str | None,
    accuracy: float,
    interval: tuple[float, float] | None,
    blank: float | None,
    *,
    style: str = "",
) -> None:
    from rich.bar import Bar
    from rich.text import Text

    table.add_row(
        Text(name),
        "" if n is None else n if isinstance(n, str) else f"{n:,}",
        _percent(accuracy),
        _ends(interval),
        Bar(size=1.0, begin=0.0, end=accuracy, width=8, color="green"),
        "" if blank is None else _percent(blank),
        style=style,
    )


def _blank(share: Share | None) -> float | None:
    return None if share is None else share.accuracy


def _ends(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{100 * interval[0]:.1f} – {100 * interval[1]:.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _lines(summary: Summary, benchmark: Benchmark) -> list[str]:
    baselines = summary.baselines
    words = [f"the longer response (in characters) {_percent(baselines.longer)}"]
    if baselines.first is not None:
        words.append(f"the first response {_percent(baselines.first)}")
    if baselines.blank is not None:
        words.append(f"this model with pictures blanked {_percent(baselines.blank)}, of the items that have some")
    repeated = [f"{summary.repeated_ids:,} ids stand for several items."] if summary.repeated_ids else []
    return [
        *repeated,
        f"Without looking: {'; '.join(words)}.",
        f"Ties: {benchmark.tie_rule}. Items: {benchmark.fields}; {benchmark.source}; licence: {benchmark.licence}.",
    ]
