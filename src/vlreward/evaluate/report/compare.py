"""Two models side by side, by their reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlreward.data.rows import Row
from vlreward.errors import InputError

from ..audits.result import Verdict
from ..benchmarks import benchmark_of
from ..comparison import ScoresComparison, compare_scores
from ..metrics import Interval
from ..scores import ItemScores, parse_scores
from .contents import FORM


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one variant of an audit did to one model."""

    effect: float | None
    interval: Interval | None
    """95 %."""
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Findings:
    """One variant of an audit and two models, which need not have been audited on the same pairs."""

    audit: str
    variant: str
    measure: str
    is_shift: bool
    threshold: float
    first: Finding
    second: Finding


@dataclass(frozen=True, kw_only=True)
class ReportsComparison:
    """Two models by their reports."""

    first: str
    """The model's name, as its report has it."""
    second: str
    benchmarks: Mapping[str, ScoresComparison]
    """By the benchmark's title, item by item, groups by label."""
    audits: Sequence[Findings]
    """Side by side; there is no test of their difference."""
    warnings: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON says it."""
        return asdict(self)


def compare_reports(first: str | Path, second: str | Path) -> ReportsComparison:
    """Compare two models by what `vlreward report` wrote of them as JSON.

    Benchmarks are compared by `compare_scores`, with each one's own tie rule and clusters. Every item counts the same,
    also where a benchmark weighs its groups.

    Raises:
        InputError: a file is no report, or the reports have neither a benchmark nor an audit in common.
    """
    one, other = _read(Path(first)), _read(Path(second))
    found = {
        title: _compare(title, one.parts[title], other.parts[title]) for title in one.parts if title in other.parts
    }
    audits = list(_side_by_side(one.values, other.values))
    if not found and not audits:
        raise InputError(
            f"{first} and {second}: no benchmark and no audit in common; report both models on the same data"
        )
    return ReportsComparison(
        first=one.name, second=other.name, benchmarks=found, audits=audits, warnings=list(_warnings(one, other, found))
    )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One benchmark in a report."""

    benchmark: str
    items: Sequence[ItemScores]
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A report's JSON."""

    path: Path
    values: Mapping[str, Any]
    parts: Mapping[str, _Part]

    @property
    def name(self) -> str:
        return self.values["model"] or "unknown model"


def _read(path: Path) -> _Read:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: no report of vlreward ({error})") from error
    if not isinstance(values, dict) or "report" not in values:
        raise InputError(f"{path}: no report of vlreward; give the .json that vlreward report writes beside the page")
    if values["report"] != FORM:
        raise InputError(f"{path}: a report of form {values['report']!r}, not {FORM}; write it again with this version")
    try:
        parts = {part["title"]: _part(part, path) for part in values["evaluations"]}
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not as vlreward report wrote it ({error!r}); write it again") from error
    return _Read(path=path, values=values, parts=parts)


def _part(part: Mapping[str, Any], path: Path) -> _Part:
    items = [
        parse_scores(Row(where=f"{path}: {part['title']}: item {number}", number=number, data=values))
        for number, values in enumerate(part["items"], start=1)
    ]
    return _Part(benchmark=part["summary"]["benchmark"], items=items, settings=part["settings"])


def _compare(title: str, first: _Part, second: _Part) -> ScoresComparison:
    benchmark = benchmark_of(first.benchmark)
    try:
        return compare_scores(
            first.items, second.items, shared=benchmark.shared, grouping=benchmark.grouping, judge=benchmark.judge
        )
    except InputError as error:
        raise InputError(f"{title}: {error}") from error


def _side_by_side(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Findings]:
    others = _variants(second)
    for name, (audit, variant) in _variants(first).items():
        if name in others:
            yield Findings(
                audit=audit["name"],
                variant=variant["name"],
                measure=audit["measure"],
                is_shift=audit["is_shift"],
                threshold=audit["threshold"],
                first=_finding(variant),
                second=_finding(others[name][1]),
            )


def _variants(values: Mapping[str, Any]) -> dict[tuple[str, str, str], tuple[Any, Any]]:
    """By data, audit and variant."""
    return {
        (part["data"], audit["name"], variant["name"]): (audit, variant)
        for part in values["audits"]
        for audit in part["audits"]
        for variant in audit["variants"]
    }


def _finding(variant: Mapping[str, Any]) -> Finding:
    interval = variant["interval"]
    return Finding(
        effect=variant["effect"], interval=None if interval is None else tuple(interval), verdict=variant["verdict"]
    )


def _warnings(first: _Read, second: _Read, found: Mapping[str, ScoresComparison]) -> Iterator[str]:
    for read in (first, second):
        yield from (f"{read.path}: {line}" for line in read.values["missing"])
    checkpoints = {read.values["checkpoint"] for read in (first, second)}
    if len(checkpoints) == 1 and None not in checkpoints:
        yield "both reports are of the same checkpoint"
    for title, comparison in found.items():
        alone = len(comparison.only_in_first) + len(comparison.only_in_second)
        if alone:
            yield f"{title}: {alone:,} items are in one of the reports only, and count nowhere"
        ours, theirs = first.parts[title].settings, second.parts[title].settings
        for name in dict.fromkeys([*ours, *theirs]):
            if ours.get(name) != theirs.get(name):
                yield f"{title}: run with {name} {ours.get(name)!r} and {theirs.get(name)!r}"
    for read, other in ((first, second), (second, first)):
        for title in read.parts.keys() - other.parts.keys():
            yield f"{title}: only in {read.path}"
