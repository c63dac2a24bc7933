"""What a report says: plain data for the page and for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vlreward import __version__

from ..audits.result import AuditReport, Shown
from ..benchmarks.benchmark import Published
from ..calibration import CalibrationFigures
from ..curves import CurvePoint
from ..fit import CalibrationFit
from ..scores import ItemScores
from ..summary import Summary
from .margins import MarginHistogram

FORM = 1
"""Of the JSON; another number is another form."""


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """An item whose better response gets less than a worse one."""

    id: str
    where: str
    """Its place in the data."""
    labels: Mapping[str, str]
    margin: float
    """Reward of the better response minus that of the other; negative."""
    better: Shown
    preferred: Shown
    blank: tuple[float, float] | None
    """Rewards of both with the pictures blanked; None where there are none."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What a benchmark says of itself."""

    source: str
    licence: str
    fields: str
    tie_rule: str
    overall: str
    """What it calls the share over all items."""
    macro: str | None
    """What it calls the mean over the groups of the first label."""
    grouping: Sequence[str]
    """The labels that items are grouped by."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model on one benchmark."""

    title: str
    """The benchmark, and the file where it is one's own."""
    about: About
    summary: Summary
    published: Sequence[Published]
    """What papers say of other systems."""
    margins: MarginHistogram
    calibration: CalibrationFigures
    """Of σ(margin) over all comparisons."""
    fit: CalibrationFit | None
    """A temperature from one half of the items, tested on the other; None where none could be fitted."""
    unfitted: str | None
    """Why not."""
    curve: Sequence[CurvePoint]
    """Best of N, of the items with more than two responses; empty where there are none."""
    worst: Sequence[WorstCase]
    """The worst first."""
    unshown: str | None
    """Why no items are shown, where some are wrong."""
    settings: Mapping[str, Any]
    """How the model was run."""
    items: Sequence[ItemScores]

    def to_dict(self) -> dict[str, Any]:
        """As JSON says it."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Audited:
    """Audits of a model on some pairs."""

    findings: AuditReport
    unusable: int
    """Pairs that are left out because they cannot be used; where there are some, the first warning says so."""
    settings: Mapping[str, Any]
    """How the model was run."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON says it; the pictures are the report's."""
        findings = {name: value for name, value in self.findings.to_dict().items() if name != "pictures"}
        return {**findings, "unusable": self.unusable, "settings": dict(self.settings)}


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was found out about one model."""

    model: str | None
    """As it was named."""
    checkpoint: str | None
    """The fingerprint of its folder."""
    evaluations: Sequence[Evaluation]
    audits: Sequence[Audited]
    pictures: Mapping[str, str]
    """Data URIs of the pictures in worst cases and in the audits' examples, by name."""

    @property
    def missing(self) -> list[str]:
        """What could not be used, where going on without was allowed."""
        return [f"{name}: {lines[0]}" for name, lines, is_missing in self._warned if is_missing]

    @property
    def notes(self) -> list[str]:
        """Other warnings."""
        return [f"{name}: {line}" for name, lines, is_missing in self._warned for line in lines[is_missing:]]

    @property
    def _warned(self) -> list[tuple[str, Sequence[str], bool]]:
        """Each part's name and warnings, and whether the first of these is about what is missing."""
        parts = [(part.title, part.summary.warnings, part.summary.unusable > 0) for part in self.evaluations]
        return parts + [
            (f"audits on {part.findings.data}", part.findings.warnings, part.unusable > 0) for part in self.audits
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON says it: what is missing first, and every picture once."""
        return {
            "report": FORM,
            "missing": self.missing,
            "warnings": self.notes,
            "model": self.model,
            "checkpoint": self.checkpoint,
            "vlreward": __version__,
            "evaluations": [part.to_dict() for part in self.evaluations],
            "audits": [part.to_dict() for part in self.audits],
            "pictures": dict(self.pictures),
        }
