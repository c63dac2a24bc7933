"""The numbers that are logged of an evaluation while a model trains; all else that it found goes to a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlreward.evaluate.audits.result import AuditReport
    from vlreward.evaluate.benchmarks import Benchmark
    from vlreward.evaluate.scores import ItemScores
    from vlreward.evaluate.summary import Summary


def benchmark_figures(benchmark: Benchmark, scores: Sequence[ItemScores], summary: Summary) -> dict[str, float]:
    """What is logged of a benchmark.

    Returns:
        ``accuracy`` and, where groups have a mean, ``macro``; where there are pictures, ``blank_accuracy`` without them
        and ``blind_gap``, how much more is right with them, on the same items; ``margin``, the mean over comparisons,
        and ``length_correlation`` of margins with the difference in length, where both vary; ``reward_mean`` and
        ``reward_spread`` over all responses.
    """
    from vlreward.evaluate.fit import comparison_margins

    figures = {"accuracy": summary.accuracy}
    if summary.macro is not None:
        figures["macro"] = summary.macro
    blank = summary.baselines.blank
    if blank is not None:
        seeing = [benchmark.judge(item.rewards, item.ranks, item.labels) for item in scores if item.blank is not None]
        figures |= {"blank_accuracy": blank, "blind_gap": fmean(seeing) - blank}
    margins = [margin for item in scores for margin in comparison_margins(item.rewards, item.ranks)]
    longer = [more for item in scores for more in comparison_margins(item.lengths, item.ranks)]
    rewards = [reward for item in scores for reward in item.rewards]
    figures["margin"] = fmean(margins)
    correlation = _correlation(margins, longer)
    if correlation is not None:
        figures["length_correlation"] = correlation
    return figures | {"reward_mean": fmean(rewards), "reward_spread": pstdev(rewards)}


def _correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Pearson's; None where one of them does not vary."""
    spread = pstdev(first) * pstdev(second)
    if not spread > 0:
        return None
    one, other = fmean(first), fmean(second)
    product = math.fsum((a - one) * (b - other) for a, b in zip(first, second, strict=True)) / len(first)
    return product / spread


def audit_figures(report: AuditReport) -> dict[str, float]:
    """What is logged of audits: the accuracy on their pairs as they are, and the effect of each variant that has one,
    as ``NAME_VARIANT``: a share from 0 to 1, or a shift in spreads of the margin."""
    effects = {
        f"{audit.name}_{variant.name.replace(' ', '_')}": variant.effect
        for audit in report.audits
        for variant in audit.variants
        if variant.effect is not None
    }
    return {"accuracy": report.accuracy, **effects}
