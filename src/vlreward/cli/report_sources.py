"""What ``vlreward eval -o`` and ``vlreward audit -o`` wrote, read again as parts of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import InputError

from .audit_pairs import WORLD, FoundPairs, read_pairs
from .eval_items import CLUSTERS
from .run_record import RunRecord

if TYPE_CHECKING:
    from vlreward.data.limits import MediaLimits
    from vlreward.evaluate.audits.album import Album
    from vlreward.evaluate.audits.scoring import ScoredPair
    from vlreward.evaluate.benchmarks import Benchmark, Selection
    from vlreward.evaluate.report import Audited, Evaluation

_OF_THE_HEAD = ("question", "positive", "negative")
_OF_THE_MODEL = ("checkpoint", *_OF_THE_HEAD)
_VERBS = ("eval", "audit")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of rows, and the record beside it."""

    path: Path
    record: RunRecord

    @property
    def verb(self) -> str:
        """Which verb wrote it."""
        return str(self.record.config["verb"])

    @property
    def model(self) -> Mapping[str, Any]:
        """What tells one model from another: its fingerprint or its server's name for it, and how its head is read."""
        config = self.record.config
        served = config.get("served") or {}
        return {name: config.get(name) for name in _OF_THE_MODEL} | {"served model": served.get("model")}

    @property
    def options(self) -> Mapping[str, Any]:
        """What was asked for besides the model; empty in records of before they said it."""
        return dict(self.record.about.get("options", {}))

    @property
    def unfinished(self) -> list[str]:
        """A warning, where there should be more rows."""
        return [] if self.record.complete else [f"the run is not finished: {self.record.groups:,} rows are there"]


def open_sources(paths: Sequence[Path]) -> list[Source]:
    """The files, all of one model.

    Raises:
        InputError: one is not there, is of another verb or of another model, or nothing says what it is.
    """
    sources = [_open(path) for path in paths]
    first, *others = sources
    for other in others:
        for name, ours in first.model.items():
            theirs = other.model[name]
            if ours != theirs:
                raise InputError(
                    f"{other.path}: of another model than {first.path}: {name} {theirs!r}, not {ours!r}; a report is"
                    " about one, and vlreward report compare about two"
                )
    return sources


def _open(path: Path) -> Source:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    record = RunRecord.load(path.with_name(path.name + ".meta.json"))
    if record is None:
        raise InputError(
            f"{path}: no {path.name}.meta.json beside it says what it is; vlreward eval and audit write both"
        )
    if record.config.get("verb") not in _VERBS:
        raise InputError(
            f"{path}: rows of vlreward {record.config.get('verb')}; a report is made of those of eval and audit"
        )
    return Source(path=path, record=record)


def evaluation_from(source: Source, album: Album, media_dir: Path | None, worst: int) -> Evaluation:
    """One benchmark, from its scores; the items that are shown are read from where the record says they were.

    Raises:
        InputError: the file is not as it was written.
    """
    from vlreward.evaluate.benchmarks import Selection, benchmark_of
    from vlreward.evaluate.report import evaluation_of
    from vlreward.evaluate.scores import read_scores
    from vlreward.evaluate.summary import summarise

    about, config = source.record.about, source.record.config
    benchmark = benchmark_of(config["benchmark"])
    chosen = Selection(**config["selection"])
    if source.options.get("cluster_by"):
        benchmark = replace(benchmark, shared=CLUSTERS[source.options["cluster_by"]])
    unusable = [*about.get("unusable", ())]
    scores = list(read_scores(source.path, unusable))
    summary = summarise(
        benchmark,
        scores,
        model=about.get("model"),
        counts_expected=benchmark.counts(chosen),
        left_out=about.get("left_out"),
        unusable=unusable,
    )
    selection = _found_again(benchmark, chosen, source, media_dir)
    return evaluation_of(
        benchmark,
        scores,
        replace(summary, warnings=[*summary.warnings, *source.unfinished]),
        album=album,
        items=benchmark.read(selection, Counter()),
        title=f"{benchmark.name}: {selection.data.name}" if benchmark.name == "pairs" and selection.data else None,
        settings=_settings(source),
        worst=worst,
    )


def _found_again(benchmark: Benchmark, chosen: Selection, source: Source, media_dir: Path | None) -> Selection:
    """The selection with where its items are."""
    if "data" not in benchmark.takes:
        return chosen
    media_dir = media_dir or _folder(source) if "media_dir" in benchmark.takes else None
    return replace(chosen, data=Path(source.record.about["input"]), media_dir=media_dir, ignore=tuple(chosen.ignore))


def _folder(source: Source) -> Path | None:
    """Where relative paths of pictures started."""
    folder = source.options.get("media_dir")
    return None if folder is None else Path(folder)


def _settings(source: Source) -> Mapping[str, Any]:
    """What was asked for, how the model was run, and with which versions; nothing that was left as it is."""
    config = source.record.config
    asked = dict(source.options) | {name: config.get(name) for name in _OF_THE_HEAD}
    said = {
        name: ", ".join(value) if isinstance(value, list) else value
        for name, value in asked.items()
        if value is not None and value is not False and value != []  # a seed of 0 is one
    }
    return {**said, **source.record.resolved, **config.get("versions", {})}


def audited_from(source: Source, limits: MediaLimits, media_dir: Path | None) -> Audited:
    """Audits, from the rewards of their pairs; examples are made again from the pairs.

    Raises:
        InputError: the pairs cannot be read, or are not those that were audited.
        MediaError: a picture cannot be read.
    """
    from vlreward.evaluate.audits import audits_of
    from vlreward.evaluate.audits.report import report_audits
    from vlreward.evaluate.audits.scoring import read_audits
    from vlreward.evaluate.report import Audited

    about = source.record.about
    unusable: list[str] = []
    scored = list(read_audits(source.path, unusable))
    if not scored:
        raise InputError(f"{source.path}: no pairs were audited")
    found = _pairs(source, scored, limits, media_dir)
    findings = report_audits(
        scored,
        audits_of(source.record.config["audits"]),
        found.data,
        model=about.get("model"),
        source=str(about.get("input")),
        warnings=[*found.warnings(unusable), *source.unfinished],
    )
    return Audited(findings=findings, unusable=len(found.errors) + len(unusable), settings=_settings(source))


def _pairs(source: Source, scored: Sequence[ScoredPair], limits: MediaLimits, media_dir: Path | None) -> FoundPairs:
    """The pairs that were audited, in their order, since one variant takes pictures from any of them."""
    benchmark, selection = _of_audit(source, scored, media_dir)
    drawn = None if source.record.about["input"] == WORLD else source.options.get("pairs")
    found = read_pairs(benchmark, selection, drawn, limits)
    if len(found.data.pairs) == source.record.config["pairs"]:
        return found
    names = set(_ids(source.path))  # records of before they said how many were drawn
    pairs = [pair for pair in found.data.pairs if pair.id in names]
    return replace(found, data=replace(found.data, pairs=pairs))


def _ids(path: Path) -> Iterator[str]:
    """Of all rows, also of those that say an error."""
    from vlreward.data.rows import read_rows

    return (str(row.data.get("id")) for row in read_rows(path))


def _of_audit(source: Source, scored: Sequence[ScoredPair], media_dir: Path | None) -> tuple[Benchmark, Selection]:
    from vlreward.evaluate.benchmarks import benchmark_of

    name, said = str(source.record.about["input"]), source.options
    if name != WORLD:
        own = benchmark_of("pairs")
        folder = media_dir or _folder(source)
        chosen = {"format": said.get("format"), "ignore": tuple(said.get("ignore", ())), "media_dir": folder}
        return own, own.select(data=Path(name), **{key: value for key, value in chosen.items() if value})
    world = benchmark_of(WORLD)
    # Records of before they said the seed: the items' names do (split, seed, number).
    split, _, rest = scored[0].id.partition("-")
    seed = said.get("seed", int(rest.rpartition("-")[0]))
    return world, world.select(pairs=source.record.config["pairs"], seed=seed, split=said.get("split", split))
