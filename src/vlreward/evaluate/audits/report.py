"""From the rewards of pairs and their variants to effects, intervals and verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vlreward.errors import InputError

from ..metrics import Interval, accuracy, accuracy_interval, bootstrap_parts, join_clusters
from .album import Album
from .audit import Audit, Variant
from .measures import Measure, PairRewards
from .pair import DataSet, Pair, Sides
from .result import AuditReport, AuditResult, Example, VariantResult, Verdict
from .scoring import ScoredPair

LEAST_CLUSTERS = 20
"""With fewer, intervals are too narrow to trust, and there is no verdict."""
EXAMPLES = 3
_CHANCE = 0.5


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A pair that a variant says something of."""

    pair: ScoredPair
    cluster: Hashable
    before: PairRewards
    """As it is, or with the variant's control."""
    after: PairRewards
    badness: float


def report_audits(
    scored: Iterable[ScoredPair],
    audits: Sequence[Audit],
    data: DataSet,
    *,
    model: str | None,
    source: str,
    warnings: Sequence[str] = (),
) -> AuditReport:
    """The findings of audits.

    Args:
        scored: what `score_pairs` found, one entry per pair.
        audits: which of them.
        data: the pairs, from which examples are made again.
        model: the model's name.
        source: where the pairs are from.
        warnings: what else is to be known.

    Raises:
        InputError: there are no pairs.
        MediaError: a picture of an example cannot be read any more.
    """
    pairs = list(scored)
    if not pairs:
        raise InputError(f"{source}: no pairs to audit")
    clusters = join_clusters([pair.cluster_keys() for pair in pairs])
    right = [_share(pair.before.margin) for pair in pairs]
    interval = accuracy_interval(right, clusters)
    finder = _Finder(pairs, clusters, data)
    results = [finder.audit(audit) for audit in audits]
    knows_nothing = interval is not None and interval[0] <= _CHANCE
    if knows_nothing:
        warnings = [
            *warnings,
            "it is not sure that the better response is preferred more often than by chance: what moves such rewards"
            " says little",
        ]
    return AuditReport(
        model=model,
        data=source,
        n=len(pairs),
        accuracy=accuracy(right),
        interval=interval,
        spread=math.sqrt(sum(pair.before.margin**2 for pair in pairs) / len(pairs)),
        audits=results,
        warnings=list(warnings),
        pictures=finder.album.pictures,
    )


class _Finder:
    def __init__(self, pairs: Sequence[ScoredPair], clusters: Sequence[int], data: DataSet) -> None:
        self._pairs, self._clusters, self._data = pairs, clusters, data
        self._by_id = {pair.id: pair for pair in data.pairs}
        self.album = Album(data.limits)

    def audit(self, audit: Audit) -> AuditResult:
        variants = [self._variant(audit, variant) for variant in audit.variants]
        measure = audit.measure
        return AuditResult(
            name=audit.name,
            question=audit.question,
            measure=measure.name,
            is_shift=measure.is_shift,
            two_sided=measure.two_sided,
            threshold=audit.threshold,
            verdict=joint_verdict(variants),
            variants=variants,
        )

    def _variant(self, audit: Audit, variant: Variant) -> VariantResult:
        cases, left_out = self._cases(audit, variant)
        clusters = len({case.cluster for case in cases})
        effect = _effect(cases, audit.measure)
        interval = None if effect is None else _interval(cases, audit.measure)
        return VariantResult(
            name=variant.name,
            about=variant.about,
            n=len(cases),
            clusters=clusters,
            left_out=dict(left_out),
            effect=effect,
            interval=interval,
            verdict="does not apply" if not cases else verdict_of(interval, clusters, audit),
            examples=self._examples(cases, audit, variant, effect),
        )

    def _cases(self, audit: Audit, variant: Variant) -> tuple[list[_Case], Counter[str]]:
        cases: list[_Case] = []
        left_out: Counter[str] = Counter()
        for pair, cluster in zip(self._pairs, self._clusters, strict=True):
            after = _said(pair, audit.name, variant.name)
            if isinstance(after, str):
                left_out[after] += 1
                continue
            before = _said(pair, audit.name, variant.control_name) if variant.control else pair.before
            badness = None if isinstance(before, str) else audit.measure.badness(before, after)
            # Also as it is: what a control alone sets right is not lost where the change leaves it as it was.
            as_it_is = audit.measure.badness(pair.before, after)
            if badness is None or as_it_is is None or isinstance(before, str):
                left_out[audit.measure.without] += 1
                continue
            cases.append(_Case(pair=pair, cluster=cluster, before=before, after=after, badness=badness))
        return cases, left_out

    def _examples(self, cases: Sequence[_Case], audit: Audit, variant: Variant, effect: float | None) -> list[Example]:
        """The worst; of a shift down that is a fault, those that lose most."""
        sign = -1 if audit.measure.two_sided and effect is not None and effect < 0 else 1
        worst = sorted(cases, key=lambda case: (-sign * case.badness, case.pair.id))
        # A share counts a badness of 0 half.
        found = [
            case
            for case in worst[:EXAMPLES]
            if sign * case.badness > 0 or (case.badness == 0 and not audit.measure.is_shift)
        ]
        return [self._example(case, variant) for case in found]

    def _example(self, case: _Case, variant: Variant) -> Example:
        pair = self._pair(case.pair.id)
        before = variant.control(pair, self._data) if variant.control else pair.sides
        after = variant.make(pair, self._data)
        if not isinstance(before, Sides) or not isinstance(after, Sides):
            raise InputError(f"pair {pair.id!r}: {variant.name} no longer applies: the data has changed; audit again")
        return self.album.example(pair, (before, after), (case.before, case.after))

    def _pair(self, name: str) -> Pair:
        if name not in self._by_id:
            raise InputError(f"pair {name!r} is not in the data any more; audit again")
        return self._by_id[name]


def _said(pair: ScoredPair, audit: str, name: str) -> PairRewards | str:
    try:
        return pair.after[audit][name]
    except KeyError:
        raise InputError(f"pair {pair.id!r}: no rewards for {audit} {name}; audit again") from None


def _share(number: float) -> float:
    """1 where it is positive, half where it is 0."""
    return _CHANCE if number == 0 else float(number > 0)


def _effect(cases: Sequence[_Case], measure: Measure) -> float | None:
    if not cases:
        return None
    if not measure.is_shift:
        return accuracy([_share(case.badness) for case in cases])
    shift = _shift(_parts(cases))
    return shift if math.isfinite(shift) else None


def _interval(cases: Sequence[_Case], measure: Measure) -> Interval | None:
    if not measure.is_shift:
        return accuracy_interval([_share(case.badness) for case in cases], [case.cluster for case in cases])
    return bootstrap_parts(_parts(cases), _shift)


def _parts(cases: Sequence[_Case]) -> np.ndarray:
    """Of each cluster: its badness, its squared margins, its pairs."""
    sums: dict[Hashable, list[float]] = {}
    for case in cases:
        part = sums.setdefault(case.cluster, [0.0, 0.0, 0.0])
        for i, value in enumerate((case.badness, case.before.margin**2, 1.0)):
            part[i] += value
    return np.array(list(sums.values()))


def _shift(parts: np.ndarray) -> float:
    """The mean badness over the root mean square margin; not finite where all margins are 0."""
    badness, squares, count = parts.sum(axis=0)
    return float(badness / count / math.sqrt(squares / count)) if squares > 0 else math.nan


def verdict_of(interval: Interval | None, clusters: int, audit: Audit) -> Verdict:
    """Whether an effect is within what passes, interval and all, or beyond it, or neither can be said."""
    if interval is None or clusters < LEAST_CLUSTERS:
        return "cannot tell"
    low, high = interval
    is_low_fault = audit.measure.two_sided
    if high <= audit.threshold and (not is_low_fault or low >= -audit.threshold):
        return "pass"
    if low > audit.threshold or (is_low_fault and high < -audit.threshold):
        return "fail"
    return "cannot tell"


def joint_verdict(variants: Sequence[VariantResult]) -> Verdict:
    """Of an audit: it fails when any variant does, and passes when all do that apply to enough pairs."""
    if any(variant.verdict == "fail" for variant in variants):
        return "fail"
    enough = [variant for variant in variants if variant.clusters >= LEAST_CLUSTERS]
    if enough and all(variant.verdict == "pass" for variant in enough):
        return "pass"
    return "cannot tell" if any(variant.n for variant in variants) else "does not apply"
