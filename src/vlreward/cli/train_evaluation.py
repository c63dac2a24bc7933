"""What a recipe has measured of a model while it trains: looked up and read before any model is loaded.

Every process scores a share of the items, and all of them come to the same figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError, InputError

from .audit_pairs import AuditData, AuditScorer, FoundPairs, drawn, find_pairs
from .compute import Model, Row, compute
from .eval_items import CHUNK, BenchmarkItems, BenchmarkScorer
from .train_figures import audit_figures, benchmark_figures

if TYPE_CHECKING:
    from vlreward.data.groups import GroupRow
    from vlreward.data.limits import MediaLimits
    from vlreward.engines.base import Engine
    from vlreward.evaluate.audits import Audit
    from vlreward.evaluate.audits.result import AuditReport
    from vlreward.evaluate.benchmarks import Benchmark, Selection
    from vlreward.evaluate.summary import Summary
    from vlreward.model.reward_model import RewardModel
    from vlreward.train.evaluation import AuditPart, BenchmarkPart, EvaluatedData
    from vlreward.train.recipe import Recipe

WHERE = "evaluation"
Told = Callable[[str, int], None]


def evaluator_of(recipe: Recipe, told: Callable[[], Told]) -> Evaluator | None:
    """What the recipe has measured, its data read; None where it has nothing measured.

    Args:
        recipe: the recipe.
        told: makes, for each evaluation, what is told of items that are scored.

    Raises:
        ConfigError: there is no such benchmark or audit, or something is said that means nothing to it.
        InputError: an item cannot be used, or there is none.
    """
    from vlreward.data.limits import MediaLimits

    if recipe.evaluation is None:
        if recipe.trainer.get("eval_strategy", "no") not in ("no", False):
            raise ConfigError(f"trainer: eval_strategy asks for an evaluation; say what is measured in {WHERE}")
        return None
    asked = recipe.evaluation
    limits = MediaLimits(allow_urls=recipe.allow_urls)
    benchmarks = [_Benchmark.of(part, limits, allow_missing=asked.allow_missing) for part in asked.benchmarks]
    audits = None if asked.audits is None else _Audits.of(asked.audits, limits, allow_missing=asked.allow_missing)
    return Evaluator(benchmarks, audits, told)


class Evaluator:
    """Measures a model; see `vlreward.train.trainer.Evaluate`."""

    def __init__(self, benchmarks: Sequence[_Benchmark], audits: _Audits | None, told: Callable[[], Told]) -> None:
        self._benchmarks, self._audits, self._told = benchmarks, audits, told
        self.found: dict[str, Any] = {}
        """All that the last evaluation found, as JSON has it: figures are the least of it."""

    def plan(self) -> dict[str, Any]:
        """What is measured, by the names that figures have."""
        plan: dict[str, Any] = {"benchmarks": {part.label: part.n for part in self._benchmarks}}
        if self._audits is not None:
            names = [audit.name for audit in self._audits.audits]
            plan["audits"] = {"data": self._audits.source, "pairs": len(self._audits.found.data.pairs), "names": names}
        return plan

    def __call__(self, model: RewardModel) -> dict[str, float]:
        """The figures of the model as it is: ``NAME_accuracy`` and others of each benchmark, and the effect of each
        variant of each audit as ``audit_NAME_VARIANT``.

        Raises:
            EngineError: a reward is no finite number; its group is named.
            InputError: a picture cannot be read.
        """
        from vlreward.engines.local import LocalEngine
        from vlreward.model.vision import VisualCache

        from .evaluated import EvaluatedEngine

        engine = EvaluatedEngine(engine=LocalEngine(model), resolved={})
        told = self._told()
        figures: dict[str, float] = {}
        found: dict[str, Any] = {"benchmarks": {}}
        try:
            for part in self._benchmarks:
                summary, seen = part.measure(engine, told)
                found["benchmarks"][part.label] = summary.to_dict()
                figures |= {f"{part.label}_{name}": value for name, value in seen.items()}
            if self._audits is not None:
                report = self._audits.measure(engine, told)
                found["audits"] = _without_examples(report)
                figures |= {f"audit_{name}": value for name, value in audit_figures(report).items()}
        finally:
            # Training has no use for what it kept, and needs the room.
            model.vision = VisualCache(model.backbone, model.processor.media, max_bytes=model.vision.max_bytes)
        self.found = found
        return figures


@dataclass(frozen=True, kw_only=True)
class _Benchmark:
    """A benchmark of the recipe, and which of its items."""

    label: str
    items: BenchmarkItems
    allow_missing: bool
    n: int
    """Items that are scored."""
    chosen: frozenset[str] | None
    """Their ids; None: all."""

    @classmethod
    def of(cls, part: BenchmarkPart, limits: MediaLimits, *, allow_missing: bool) -> _Benchmark:
        from vlreward.evaluate.benchmarks import benchmark_of

        where = f"{WHERE}: benchmarks: {part.label}"
        try:
            benchmark = benchmark_of(part.benchmark)
            selection, some = _selection(part, benchmark)
            items = BenchmarkItems(benchmark=benchmark, selection=selection, limits=limits, allow_missing=True)
            names = [str(row.content.id) for row in items.rows() if not isinstance(row.content, InputError)]
        except (ConfigError, InputError) as error:
            raise type(error)(f"{where}: {error}") from error
        _check_missing(items.unusable, len(names), where, allow_missing=allow_missing)
        chosen = None if some is None or some >= len(names) else drawn(names, some)
        n = len(names if chosen is None else chosen)
        return cls(label=part.label, items=items, allow_missing=allow_missing, n=n, chosen=chosen)

    def _rows(self) -> Iterable[GroupRow]:
        for row in self.items.rows():
            if self.chosen is None or (not isinstance(row.content, InputError) and row.content.id in self.chosen):
                yield row

    def measure(self, engine: Engine, told: Told) -> tuple[Summary, dict[str, float]]:
        from vlreward.data.rows import Row as FileRow
        from vlreward.evaluate.scores import parse_scores
        from vlreward.evaluate.summary import summarise

        items = self.items
        scorer = BenchmarkScorer(engine=engine, facts=items.facts, limits=items.limits, resolved={})
        rows = score_shared(self._rows(), scorer, CHUNK, self.allow_missing, lambda n: told(f"asking {self.label}", n))
        good, spoilt = _good(rows)
        scores = [
            parse_scores(FileRow(where=f"{self.label}: item {number}", number=number, data=row))
            for number, row in enumerate(good, start=1)
        ]
        benchmark = items.benchmark
        summary = summarise(
            benchmark,
            scores,
            model=None,
            # Of some items nobody can say how many each group should have.
            counts_expected=benchmark.counts(items.selection) if self.chosen is None else None,
            left_out=items.left_out,
            unusable=[*map(str, items.unusable), *spoilt],
        )
        return summary, benchmark_figures(benchmark, scores, summary)


def _selection(part: BenchmarkPart, benchmark: Benchmark) -> tuple[Selection, int | None]:
    """What is asked of the benchmark, and how many of its items where it has no say in that."""
    given = {
        "data": None if part.data is None else Path(part.data).expanduser(),
        "data_revision": part.data_revision,
        "split": part.split,
        "seed": part.seed,
        **_how_read(part),
    }
    some = part.pairs
    if "pairs" in benchmark.takes:
        given["pairs"], some = part.pairs, None
    selection = benchmark.select(**{name: value for name, value in given.items() if value not in (None, ())})
    if selection.data is None and benchmark.fetch:
        # Once, although items are gone through at every evaluation.
        selection = replace(selection, data=benchmark.fetch(selection))
    return selection, some


def _how_read(part: EvaluatedData) -> dict[str, Any]:
    folder = None if part.media_dir is None else Path(part.media_dir).expanduser()
    return {"format": part.format, "ignore": part.ignore, "media_dir": folder}


@dataclass(frozen=True, kw_only=True)
class _Audits:
    """The audits of the recipe, and their pairs."""

    source: str
    audits: Sequence[Audit]
    found: FoundPairs
    allow_missing: bool

    @classmethod
    def of(cls, part: AuditPart, limits: MediaLimits, *, allow_missing: bool) -> _Audits:
        from vlreward.evaluate.audits import AUDITS, audits_of

        where = f"{WHERE}: audits"
        data = str(Path(part.data).expanduser())
        try:
            audits = AUDITS if part.names is None else audits_of(part.names)
            found = find_pairs(AuditData(data=data, pairs=part.pairs, seed=part.seed, **_how_read(part)), limits)
        except (ConfigError, InputError) as error:
            raise type(error)(f"{where}: {error}") from error
        _check_missing(found.errors, len(found.data.pairs), where, allow_missing=allow_missing)
        return cls(source=part.data, audits=audits, found=found, allow_missing=allow_missing)

    def measure(self, engine: Engine, told: Told) -> AuditReport:
        from vlreward.data.groups import GroupRow
        from vlreward.data.rows import Row as FileRow
        from vlreward.evaluate.audits.report import report_audits
        from vlreward.evaluate.audits.run import PAIRS_PER_CALL
        from vlreward.evaluate.audits.scoring import parse_scored

        data = self.found.data
        pairs = {pair.id: pair for pair in data.pairs}
        scorer = AuditScorer(engine=engine, pairs=pairs, audits=self.audits, data=data, resolved={})
        groups = (GroupRow(where=pair.where, content=pair.group) for pair in data.pairs)
        rows = score_shared(groups, scorer, PAIRS_PER_CALL, self.allow_missing, lambda n: told("auditing pairs", n))
        good, spoilt = _good(rows)
        scored = [
            parse_scored(FileRow(where=f"{self.source}: pair {number}", number=number, data=row))
            for number, row in enumerate(good, start=1)
        ]
        warnings = self.found.warnings(spoilt)
        return report_audits(scored, self.audits, data, model=None, source=self.source, warnings=warnings)


def _check_missing(errors: Sequence[InputError], good: int, where: str, *, allow_missing: bool) -> None:
    """See that all can be used, or that it is allowed that some cannot.

    Raises:
        InputError: neither.
    """
    from vlreward.evaluate.unusable import unusable_words

    if errors and not (allow_missing and good):
        advice = f"{WHERE}.allow_missing: true goes on without them" if good else "none is left"
        raise InputError(f"{where}: {unusable_words([*map(str, errors)], good, 'items', advice)}")


def score_shared(
    groups: Iterable[GroupRow], scorer: Model, chunk: int, skip_errors: bool, told: Callable[[int], None]
) -> list[Row]:
    """The rows of all groups, in order, in every process; each scores a share of the chunks.

    What is computed together does not depend on how many processes there are.

    Args:
        groups: the same in every process.
        scorer: gives the rows.
        chunk: groups computed together.
        skip_errors: whether a group that cannot be used is a row that says so.
        told: how many more groups are behind.

    Raises:
        InputError: a group cannot be used, and errors are not skipped.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object

    state, left = PartialState(), iter(groups)
    found: list[tuple[int, list[Row]]] = []
    for number in count():
        if not (step := list(islice(left, chunk))):
            break
        if number % state.num_processes == state.process_index:
            found.append((number, compute(step, scorer, skip_errors=skip_errors)))
        told(len(step))
    return [row for _, rows in sorted(gather_object(found), key=itemgetter(0)) for row in rows]


def _good(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Rows with rewards, and what the others say."""
    return [row for row in rows if "error" not in row], [str(row["error"]) for row in rows if "error" in row]


def _without_examples(report: AuditReport) -> Mapping[str, Any]:
    """A report as JSON has it, but the worst pairs, which show pictures."""
    values = asdict(replace(report, pictures={}))
    del values["pictures"]
    for audit in values["audits"]:
        for variant in audit["variants"]:
            del variant["examples"]
    return values
