"""From the scores of a benchmark's items to what a report says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlreward.errors import InputError
from vlreward.model.calibration import bradley_terry
from vlreward.types import Group

from ..audits.album import Album
from ..audits.measures import PairRewards
from ..audits.pair import Pair
from ..benchmarks import Benchmark, Item, Unusable
from ..calibration import CalibrationFigures, calibration_figures
from ..curves import CurvePoint, best_of_n_curve
from ..fit import CalibrationFit, comparison_margins, fit_calibration
from ..metrics import join_clusters
from ..scores import ItemScores
from ..summary import Summary
from .contents import About, Evaluation, WorstCase
from .margins import margin_histogram

WORST = 6
"""Items that a report shows of each benchmark, unless told."""


def evaluation_of(
    benchmark: Benchmark,
    scores: Sequence[ItemScores],
    summary: Summary,
    *,
    album: Album,
    items: Iterable[Item | Unusable],
    title: str | None = None,
    settings: Mapping[str, Any] | None = None,
    worst: int = WORST,
) -> Evaluation:
    """What a report says of one benchmark.

    Args:
        benchmark: which.
        scores: of its items; not empty.
        summary: their figures.
        album: takes the pictures of the items that are shown.
        items: the benchmark's items, read again, from which the worst are taken. Where they cannot be read, the report
            says why instead.
        title: what the benchmark is called; its name, unless told.
        settings: how the model was run.
        worst: how many items are shown.
    """
    cases = worst_items(scores, worst)
    shown, unshown = _shown(cases, items, album)
    fit, unfitted = _fit(scores, benchmark)
    return Evaluation(
        title=title or benchmark.name,
        about=_about(benchmark),
        summary=summary,
        published=benchmark.published,
        margins=margin_histogram(scores),
        calibration=_calibration(scores, benchmark),
        fit=fit,
        unfitted=unfitted,
        curve=_curve(scores, benchmark),
        worst=shown,
        unshown=unshown,
        settings=dict(settings or {}),
        items=scores,
    )


def _about(benchmark: Benchmark) -> About:
    return About(
        source=benchmark.source,
        licence=benchmark.licence,
        fields=benchmark.fields,
        tie_rule=benchmark.tie_rule,
        overall=benchmark.overall,
        macro=benchmark.macro,
        grouping=benchmark.grouping,
    )


def worst_items(scores: Iterable[ItemScores], number: int) -> list[ItemScores]:
    """The items with the most negative margin, the worst first; only such as have a negative one."""
    wrong = [(min(comparison_margins(item.rewards, item.ranks)), item.id, item) for item in scores]
    return [item for margin, _, item in sorted(wrong, key=lambda entry: entry[:2])[:number] if margin < 0]


def _worst_comparison(item: ItemScores) -> tuple[int, int]:
    """Of the two responses that are the wrong way round by most: the better one, and the one that got more."""
    places = range(len(item.ranks))
    wrong = [(i, j) for i in places for j in places if item.ranks[i] < item.ranks[j]]
    return min(wrong, key=lambda pair: item.rewards[pair[0]] - item.rewards[pair[1]])


def _calibration(scores: Sequence[ItemScores], benchmark: Benchmark) -> CalibrationFigures:
    clusters = join_clusters([item.cluster_keys(benchmark.shared) for item in scores])
    margins = [
        (margin, cluster)
        for item, cluster in zip(scores, clusters, strict=True)
        for margin in comparison_margins(item.rewards, item.ranks)
    ]
    return calibration_figures([bradley_terry(margin) for margin, _ in margins], [cluster for _, cluster in margins])


def _fit(scores: Sequence[ItemScores], benchmark: Benchmark) -> tuple[CalibrationFit | None, str | None]:
    try:
        return fit_calibration(scores, shared=benchmark.shared), None
    except InputError as error:
        return None, str(error)


def _curve(scores: Sequence[ItemScores], benchmark: Benchmark) -> list[CurvePoint]:
    """A best response is worth 1, any other 0."""
    several = [item for item in scores if len(item.ranks) > 2]
    if not several:
        return []
    return best_of_n_curve(
        [item.rewards for item in several],
        [[float(rank == min(item.ranks)) for rank in item.ranks] for item in several],
        join_clusters([item.cluster_keys(benchmark.shared) for item in several]),
    )


def _shown(
    cases: Sequence[ItemScores], items: Iterable[Item | Unusable], album: Album
) -> tuple[list[WorstCase], str | None]:
    """The cases with their texts and pictures, or why there are none."""
    wanted = {case.id for case in cases}
    found: dict[str, Item] = {}
    try:
        # Not further than needed: some items are drawn as they are read.
        for item in items if wanted else ():
            if isinstance(item, Item) and item.ranking.group.id in wanted:
                found[str(item.ranking.group.id)] = item
                if len(found) == len(wanted):
                    break
        return [_case(case, found.get(case.id), album) for case in cases], None
    except InputError as error:
        return [], str(error)


def _case(scores: ItemScores, item: Item | None, album: Album) -> WorstCase:
    """One item as it is shown.

    Raises:
        InputError: it is not there, or not as it was scored.
        MediaError: a picture of it cannot be read.
    """
    if item is None:
        raise InputError(f"item {scores.id!r} is not in the data any more")
    group = item.ranking.group
    if item.ranking.ranks != scores.ranks:
        raise InputError(f"item {scores.id!r} has other ranks than when it was scored: the data has changed")
    better, preferred = _worst_comparison(scores)
    pair = _pair(item, group, better, preferred)
    rewards = PairRewards(scores.rewards[better], scores.rewards[preferred])
    shown = album.example(pair, (pair.sides, pair.sides), (rewards, rewards))
    return WorstCase(
        id=scores.id,
        where=item.where,
        labels=scores.labels,
        margin=rewards.margin,
        better=shown.chosen.before,
        preferred=shown.rejected.before,
        blank=None if scores.blank is None else (scores.blank[better], scores.blank[preferred]),
    )


def _pair(item: Item, group: Group, better: int, preferred: int) -> Pair:
    responses = (group.responses[better], group.responses[preferred])
    return Pair(group=replace(group, responses=responses), where=item.where, shared={})
