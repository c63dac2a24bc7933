"""``vlreward eval``: how often a model prefers the better response, beside those who do not look."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError

from .eval_items import CHUNK, CLUSTERS, BenchmarkItems, BenchmarkScorer
from .options import add_engine_option, add_model_options, model_options, positive_integer

if TYPE_CHECKING:
    from vlreward.data.limits import MediaLimits
    from vlreward.evaluate.benchmarks import Benchmark, Selection
    from vlreward.evaluate.summary import Summary

    from .compute import Row
    from .options import ModelOptions
    from .run_record import RunRecord

NAME = "eval"
_WHERE_FOUND = ("data", "data_revision", "media_dir", "offline")
"""Where a file is says nothing of what is in it."""
_OF_SCORING = (
    *("model", "engine", "output", "overwrite", "allow_missing", "file", "data", "data_revision", "media_dir"),
    *("pairs", "seed", "split", "format", "ignore"),
)
"""Options that say which items are scored, by what, and where to."""


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="accuracy on a benchmark, or on preferences of one's own, with intervals and baselines",
        description="Say how often a model prefers the better response, with 95 % intervals, beside what the longer "
        "response, the first one, and the same model with blanked pictures get right.",
        epilog="Benchmarks: vl-rewardbench, rewardbench, rewardbench-2, mm-rlhf-rewardbench (the hub's or --data), "
        "multimodal-rewardbench (--data), tiny-world (rendered by vlreward), pairs FILE (preferences of one's own).",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("benchmark", metavar="BENCHMARK", help="its name; pairs takes a FILE")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="pairs: preferences in any known format")
    _add_data(parser.add_argument_group("data"))
    _add_world(parser.add_argument_group("tiny-world"))
    _add_pairs(parser.add_argument_group("pairs"))
    output = parser.add_argument_group("scores of the items")
    output.add_argument("--output", "-o", type=Path, metavar="OUT", help="write them here (.jsonl); can be resumed")
    output.add_argument("--overwrite", action="store_true", help="start again, whatever OUT holds")
    output.add_argument(
        "--from-scores", type=Path, metavar="FILE", help="compute the figures from such a file, without a model"
    )
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress display")
    add_model_options(parser)
    add_engine_option(parser)


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data", type=Path, metavar="PATH", help="a local copy: a file or a folder (default: the hub's, or FILE)"
    )
    group.add_argument("--data-revision", metavar="R", help="branch, tag or commit of the hub's copy")
    group.add_argument("--media-dir", type=Path, metavar="FOLDER", help="where relative paths start")
    group.add_argument(
        "--allow-missing", action="store_true", help="go on without items whose picture or row cannot be used"
    )


def _add_world(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pairs", type=positive_integer, metavar="N", help="pairs, as many of every family (default: 2,200)"
    )
    group.add_argument("--seed", type=int, metavar="S", help="another seed draws other pairs")
    group.add_argument(
        "--split", choices=("heldout", "train"), help="heldout (default): combinations that training never shows"
    )


def _add_pairs(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--cluster-by",
        choices=tuple(CLUSTERS),
        help="what makes items one cluster when they share it, for the intervals (default: both)",
    )
    group.add_argument("--format", metavar="FORMAT", help="the file's format, where its first row does not say it")
    group.add_argument(
        "--ignore", action="append", default=[], metavar="KEY", help="a key to pass over; may be given several times"
    )


def run(args: argparse.Namespace) -> int:
    """Score what is not scored yet, and print the figures."""
    from vlreward.evaluate.benchmarks import benchmark_of

    from .notes import show_notes
    from .tables import console, on_terminal

    show_notes()
    benchmark = benchmark_of(args.benchmark)
    selection = _selection(args, benchmark)
    summary = _recomputed(args, benchmark) if args.from_scores else _scored(args, benchmark, selection)
    if args.json or not on_terminal():
        print(json.dumps(summary.to_dict(), ensure_ascii=False))
    else:
        from .eval_table import summary_table

        console().print(summary_table(summary, benchmark))
    return 0


def _selection(args: argparse.Namespace, benchmark: Benchmark) -> Selection:
    """What is asked of the benchmark; an option that it has no use for is a mistake."""
    from vlreward.evaluate.benchmarks import Selection

    if args.cluster_by and not benchmark.shared:
        raise ConfigError(f"{benchmark.name}: --cluster-by has no use here: every item stands alone")
    if not set(CLUSTERS.get(args.cluster_by, ())) <= set(benchmark.shared):
        known = " and ".join(benchmark.shared)
        raise ConfigError(f"{benchmark.name}: --cluster-by {args.cluster_by} has no use here: items go by {known}")
    if args.data and args.file:
        raise ConfigError(f"both {args.file} and --data {args.data}; give one of them")
    given = {item.name: getattr(args, item.name) for item in fields(Selection)} | {"data": args.data or args.file}
    given["ignore"] = tuple(args.ignore)
    # --offline is about the model too, so that benchmarks without a copy on the hub are not asked.
    given["offline"] = args.offline if "offline" in benchmark.takes else None
    return benchmark.select(**{name: value for name, value in given.items() if value is not None and value != ()})


def _scored(args: argparse.Namespace, benchmark: Benchmark, selection: Selection) -> Summary:
    from .outputs import lines_at

    options = model_options(args)
    with lines_at(args.output, "scores") as output:
        record = _run(args, benchmark, selection, options, output)
        return _summary(args, benchmark, output, record)


def _run(
    args: argparse.Namespace, benchmark: Benchmark, selection: Selection, options: ModelOptions, output: Path
) -> RunRecord:
    from vlreward.data.limits import MediaLimits

    from .evaluated import about_run, options_of
    from .file_run import FileRun
    from .progress import Progress

    if selection.data is None and benchmark.fetch:
        # Once, although items are gone through twice; and the record names the commit, as the folder does.
        selection = replace(selection, data=benchmark.fetch(selection))
    limits = MediaLimits(allow_urls=options.allow_urls)
    items = BenchmarkItems(benchmark=benchmark, selection=selection, limits=limits, allow_missing=args.allow_missing)
    run = FileRun(
        source=selection.data or Path(benchmark.name),
        output=output,
        config=_config(benchmark, selection, options),
        about=about_run(options, selection.data, benchmark.source),
        read=items.rows,
        load=lambda: _load(options, items.facts, limits),
        chunk=CHUNK,
        overwrite=args.overwrite,
        skip_errors=args.allow_missing,
    )
    with Progress(quiet=args.quiet) as progress:
        record = run.run(progress)
    # Kept beside the scores, so that figures which are computed from them say it too.
    chosen = options_of(benchmark, selection) | {"cluster_by": args.cluster_by, "allow_missing": args.allow_missing}
    seen = {
        "left_out": dict(items.left_out),
        "unusable": [str(error) for error in items.unusable],
        "options": chosen,
    }
    record = replace(record, about={**record.about, **seen})
    record.save(run.record_path)
    return record


def _load(options: ModelOptions, facts: Mapping[str, Row], limits: MediaLimits) -> BenchmarkScorer:
    from .evaluated import load_engine

    engine = load_engine(options)
    return BenchmarkScorer(engine=engine, facts=facts, limits=limits, resolved=engine.resolved)


def _config(benchmark: Benchmark, selection: Selection, options: ModelOptions) -> dict[str, Any]:
    """Everything that the rows depend on."""
    from .fingerprint import asked_of_model, versions

    chosen = {name: value for name, value in asdict(selection).items() if name not in _WHERE_FOUND}
    return {
        "verb": NAME,
        "benchmark": benchmark.name,
        "selection": chosen | {"ignore": list(selection.ignore)},
        **asked_of_model(options),
        "chunk": CHUNK,
        "versions": versions(),
    }


def _recomputed(args: argparse.Namespace, benchmark: Benchmark) -> Summary:
    from .run_record import RunRecord

    for name in _OF_SCORING:
        if (given := getattr(args, name)) is not None and given is not False and given != []:
            words = "FILE" if name == "file" else f"--{name.replace('_', '-')}"
            raise ConfigError(f"--from-scores takes no {words}: nothing is scored")
    path: Path = args.from_scores
    record = RunRecord.load(path.with_name(path.name + ".meta.json"))
    if record and record.config.get("verb") != NAME:
        raise ConfigError(f"{path}: rows of vlreward {record.config.get('verb')}, not scores of vlreward {NAME}")
    if record and record.config["benchmark"] != benchmark.name:
        raise ConfigError(f"{path}: scores of {record.config['benchmark']}, not of {benchmark.name}")
    return _summary(args, benchmark, path, record)


def _summary(args: argparse.Namespace, benchmark: Benchmark, path: Path, record: RunRecord | None) -> Summary:
    from vlreward.evaluate.scores import read_scores
    from vlreward.evaluate.summary import summarise

    about = record.about if record else {}
    # Unless told otherwise, what the run was told.
    cluster_by = args.cluster_by or about.get("options", {}).get("cluster_by")
    unusable = [*about.get("unusable", ())]
    scores = list(read_scores(path, unusable))
    summary = summarise(
        benchmark,
        scores,
        model=about.get("model"),
        shared=CLUSTERS.get(cluster_by),
        counts_expected=_counts(benchmark, record),
        left_out=about.get("left_out"),
        unusable=unusable,
    )
    if record is None:
        return _warned(summary, "no record beside the scores says of which model they are")
    if not record.complete:
        return _warned(summary, f"the run is not finished: {record.groups:,} items are there")
    return summary


def _counts(benchmark: Benchmark, record: RunRecord | None) -> Mapping[str, int] | None:
    """Items that each group should have; without a record, where they do not depend on what was chosen."""
    from vlreward.evaluate.benchmarks import Selection

    if record:
        return benchmark.counts(Selection(**record.config["selection"]))
    return benchmark.counts(benchmark.select()) if "data" in benchmark.takes else None


def _warned(summary: Summary, warning: str) -> Summary:
    return replace(summary, warnings=[*summary.warnings, warning])
