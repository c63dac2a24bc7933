"""``vlreward audit``: what a reward really looks at."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError, InputError, MediaError

from .options import add_engine_option, add_model_options, model_options, positive_integer

if TYPE_CHECKING:
    from vlreward.data.groups import GroupRow
    from vlreward.data.limits import MediaLimits
    from vlreward.engines.base import Engine
    from vlreward.evaluate.audits import Audit
    from vlreward.evaluate.audits.pair import DataSet, Pair
    from vlreward.evaluate.audits.result import AuditReport
    from vlreward.evaluate.benchmarks import Benchmark, Selection
    from vlreward.types import Group

    from .compute import Row
    from .options import ModelOptions

NAME = "audit"
WORLD = "tiny-world"
WORLD_PAIRS = 440


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="what a reward really looks at: length, style, the picture, an injected instruction, …",
        description="Change pairs of a right and a wrong response by rule, score them again, and say how large the "
        "effect is, with a 95 % interval and a verdict.",
        epilog="Audits: blind, length, style, sycophancy, order, injection, hallucination, robustness.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data", required=True, metavar="FILE", help=f"preferences in any known format, or {WORLD}, rendered here"
    )
    data.add_argument("--audits", metavar="NAMES", help="which, with commas between (default: all)")
    data.add_argument(
        "--pairs",
        type=positive_integer,
        metavar="N",
        help=f"audit so many of them (default: all; {WORLD_PAIRS} of {WORLD})",
    )
    data.add_argument("--seed", type=int, metavar="S", help=f"another seed draws other pairs of {WORLD}")
    data.add_argument("--format", metavar="FORMAT", help="the file's format, where its first row does not say it")
    data.add_argument("--media-dir", type=Path, metavar="FOLDER", help="where relative paths start")
    data.add_argument(
        "--ignore", action="append", default=[], metavar="KEY", help="a key to pass over; may be given several times"
    )
    data.add_argument(
        "--allow-missing", action="store_true", help="go on without pairs whose picture or row cannot be used"
    )
    output = parser.add_argument_group("rewards of the pairs")
    output.add_argument("--output", "-o", type=Path, metavar="OUT", help="write them here (.jsonl); can be resumed")
    output.add_argument("--overwrite", action="store_true", help="start again, whatever OUT holds")
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress display")
    add_model_options(parser)
    add_engine_option(parser)


def run(args: argparse.Namespace) -> int:
    """Score what is not scored yet, and print what was found."""
    from vlreward.data.limits import MediaLimits
    from vlreward.evaluate.audits import AUDITS, audits_of

    from .notes import show_notes
    from .tables import console, on_terminal

    show_notes()
    names = args.audits
    audits = AUDITS if names is None else audits_of([name.strip() for name in names.split(",") if name.strip()])
    options = model_options(args)
    found = _read(args, MediaLimits(allow_urls=options.allow_urls))
    report = _audited(args, audits, options, found)
    if args.json or not on_terminal():
        print(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        from .audit_table import report_table

        console().print(report_table(report))
    return 0


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The pairs that are audited."""

    data: DataSet
    path: Path
    """The file, or the world's name."""
    unusable: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def warnings(self, spoilt: Sequence[str]) -> list[str]:
        """What a reader of the figures has to know; missing pairs first.

        Args:
            spoilt: what is wrong with pairs of which it turned out while they were scored.
        """
        from vlreward.evaluate.unusable import unusable_words

        reasons = [*self.unusable, *spoilt]
        missing = [unusable_words(reasons, len(self.data.pairs) - len(spoilt), "pairs")] if reasons else []
        return missing + [f"left out: {number:,} {reason}" for reason, number in self.left_out.items()]


def _read(args: argparse.Namespace, limits: MediaLimits) -> _Found:
    """Every pair, with its pictures looked for.

    Raises:
        InputError: there is none, or one cannot be used and that is not allowed.
    """
    from vlreward.evaluate.audits.pair import DataSet, pair_of
    from vlreward.evaluate.benchmarks import Item
    from vlreward.evaluate.unusable import refusal

    benchmark, selection = _source(args)
    left_out: Counter[str] = Counter()
    errors: list[InputError] = []
    pairs: list[Pair] = []
    for item in benchmark.read(selection, left_out):
        if isinstance(item, Item):
            pairs.append(pair_of(item, benchmark.shared))
        else:
            errors.append(item.error)
    if args.pairs and args.data != WORLD:
        pairs = _some(pairs, args.pairs)
    pairs = [pair for pair in pairs if _is_usable(pair, limits, errors)]
    if errors and not (args.allow_missing and pairs):
        raise refusal(errors, len(pairs), "pairs", allowed=args.allow_missing)
    unusable = [str(error) for error in errors]
    return _Found(data=DataSet(pairs=pairs, limits=limits), path=Path(args.data), unusable=unusable, left_out=left_out)


def _is_usable(pair: Pair, limits: MediaLimits, errors: list[InputError]) -> bool:
    """Whether its pictures are there; if not, why is added to the errors."""
    from vlreward.evaluate.audits.pair import check_pictures

    try:
        check_pictures(pair, limits)
    except MediaError as error:
        errors.append(error)
        return False
    return True


def _source(args: argparse.Namespace) -> tuple[Benchmark, Selection]:
    from vlreward.evaluate.benchmarks import benchmark_of

    if args.data == WORLD:
        benchmark = benchmark_of(WORLD)
        chosen: dict[str, Any] = {"pairs": args.pairs or WORLD_PAIRS, "format": args.format}
        chosen |= {"seed": args.seed, "media_dir": args.media_dir, "ignore": tuple(args.ignore)}
    else:
        if args.seed is not None:
            raise ConfigError(f"--seed is about {WORLD}; {args.data} is what it is")
        benchmark = benchmark_of("pairs")
        chosen = {"data": Path(args.data), "format": args.format, "ignore": tuple(args.ignore)}
        chosen |= {"media_dir": args.media_dir}
    return benchmark, benchmark.select(**{name: value for name, value in chosen.items() if value not in (None, ())})


def _some(pairs: list[Pair], number: int) -> list[Pair]:
    """So many pairs, drawn by their ids, in the order of the file."""
    from vlreward.evaluate.audits.audit import chance_of

    drawn = sorted(pairs, key=lambda pair: (chance_of(pair, "drawn").key(), pair.id))
    names = {pair.id for pair in drawn[:number]}
    return [pair for pair in pairs if pair.id in names]


@dataclass(kw_only=True)
class _Scorer:
    """An engine as `FileRun` wants it."""

    engine: Engine
    pairs: Mapping[str, Pair]
    audits: Sequence[Audit]
    data: DataSet
    resolved: Mapping[str, Any]

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        from vlreward.evaluate.audits.scoring import score_pairs

        return score_pairs(self.engine, [self.pairs[str(group.id)] for group in groups], self.audits, self.data)


def _audited(args: argparse.Namespace, audits: Sequence[Audit], options: ModelOptions, found: _Found) -> AuditReport:
    from vlreward.evaluate.audits.report import report_audits
    from vlreward.evaluate.audits.run import PAIRS_PER_CALL
    from vlreward.evaluate.audits.scoring import read_audits

    from .evaluated import about_run
    from .file_run import FileRun
    from .outputs import lines_at
    from .progress import Progress

    with lines_at(args.output, "rewards") as output:
        run = FileRun(
            source=found.path,
            output=output,
            config=_config(audits, options, found.data),
            about=about_run(options, None, str(args.data)),
            read=lambda: _rows(found.data),
            load=lambda: _load(options, audits, found.data),
            chunk=PAIRS_PER_CALL,
            overwrite=args.overwrite,
            skip_errors=args.allow_missing,
        )
        with Progress(unit="pairs", quiet=args.quiet) as progress:
            run.run(progress)
        spoilt: list[str] = []
        scored = list(read_audits(output, spoilt))
    warnings = found.warnings(spoilt)
    return report_audits(scored, audits, found.data, model=options.model, source=str(args.data), warnings=warnings)


def _rows(data: DataSet) -> Iterator[GroupRow]:
    from vlreward.data.groups import GroupRow

    return (GroupRow(where=pair.where, content=pair.group) for pair in data.pairs)


def _load(options: ModelOptions, audits: Sequence[Audit], data: DataSet) -> _Scorer:
    from .evaluated import load_engine

    engine = load_engine(options)
    pairs = {pair.id: pair for pair in data.pairs}
    return _Scorer(engine=engine, pairs=pairs, audits=audits, data=data, resolved=engine.resolved)


def _config(audits: Sequence[Audit], options: ModelOptions, data: DataSet) -> dict[str, Any]:
    """Everything that the rows depend on."""
    from vlreward.evaluate.audits.run import PAIRS_PER_CALL

    from .fingerprint import asked_of_model, versions

    return {
        "verb": NAME,
        "audits": [audit.name for audit in audits],
        # One variant takes pictures from any of them.
        "pairs": len(data.pairs),
        **asked_of_model(options),
        "chunk": PAIRS_PER_CALL,
        "versions": versions(),
    }
