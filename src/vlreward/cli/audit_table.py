"""The findings of audits, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vlreward.evaluate.audits.result import AuditReport, AuditResult, Example, VariantResult

_COLOURS = {"pass": "green", "fail": "red", "cannot tell": "yellow", "does not apply": "dim"}
_LONGEST = 160


def report_table(report: AuditReport) -> RenderableType:
    """Every audit with its variants, and the worst pair of each variant that fails."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from vlreward.evaluate.audits.result import threshold_words

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in ("", "pairs", "effect", "95 % interval", "passes", "verdict"):
        table.add_column(name, justify="left" if name in ("", "verdict") else "right", no_wrap=name != "")
    for audit in report.audits:
        name = f"{audit.name}: {audit.measure}"
        table.add_row(Text(name), "", "", "", threshold_words(audit), _styled(audit.verdict), style="bold")
        for variant in audit.variants:
            table.add_row(*_cells(audit, variant))
    share = f"{100 * report.accuracy:.1f} %"
    if report.interval:
        share += f" ({100 * report.interval[0]:.1f} – {100 * report.interval[1]:.1f})"
    lines = [
        f"As they are, the better of {report.n:,} pairs is preferred in {share}; spread of margins {report.spread:.3g}."
    ]
    failed = [(audit, variant) for audit in report.audits for variant in audit.variants if variant.verdict == "fail"]
    worst = [line for audit, variant in failed for line in _worst(audit, variant)]
    return Group(
        # Pairs that are missing come before any figure of those that are not.
        *(Text(f"warning: {warning}", style="yellow") for warning in report.warnings),
        Text(f"{report.model or 'unknown model'} on {report.data}", style="bold"),
        table,
        *(Text(line, style="dim") for line in [*lines, *worst]),
    )


def _cells(audit: AuditResult, variant: VariantResult) -> list[RenderableType]:
    from rich.text import Text

    from vlreward.evaluate.audits.result import words

    if variant.effect is None:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in variant.left_out.items())
        name = Text(f"  {variant.name} ({reasons})" if reasons else f"  {variant.name}")
        return [name, f"{variant.n:,}", "", "", "", _styled(variant.verdict)]
    name = Text(f"  {variant.name}")
    ends = (
        ""
        if variant.interval is None
        else " – ".join(words(end, audit) for end in variant.interval).replace(" % –", " –")
    )
    return [name, f"{variant.n:,}", words(variant.effect, audit), ends, "", _styled(variant.verdict)]


def _styled(verdict: str) -> RenderableType:
    from rich.text import Text

    return Text(verdict, style=_COLOURS[verdict])


def _worst(audit: AuditResult, variant: VariantResult) -> list[str]:
    """The worst pair, in words; its pictures are in the JSON."""
    if not variant.examples:
        return []
    example: Example = variant.examples[0]
    sides = (("better", example.chosen), ("worse", example.rejected))
    where = f"{audit.name}, {variant.name} ({variant.about}), for example {example.where}"
    changes = (
        f"  {name} {side.before.reward:+.3f} → {side.after.reward:+.3f}: {_short(side.after.response, from_end=True)}"
        for name, side in sides
    )
    return ["", f"{where}: {_short(example.chosen.before.prompt)}", *changes]


def _short(text: str, *, from_end: bool = False) -> str:
    """What is added to a response mostly stands at its end."""
    text = " ".join(text.split())
    if len(text) <= _LONGEST:
        return text
    return "…" + text[1 - _LONGEST :].lstrip() if from_end else text[: _LONGEST - 1].rstrip() + "…"
