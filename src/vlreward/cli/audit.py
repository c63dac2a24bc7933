"""``vlreward audit``: what a reward really looks at."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .audit_pairs import WORLD, WORLD_PAIRS, AuditData, AuditScorer, FoundPairs, find_pairs
from .options import add_engine_option, add_model_options, model_options, positive_integer

if TYPE_CHECKING:
    from vlreward.data.groups import GroupRow
    from vlreward.data.limits import MediaLimits
    from vlreward.evaluate.audits import Audit
    from vlreward.evaluate.audits.pair import DataSet
    from vlreward.evaluate.audits.result import AuditReport

    from .options import ModelOptions

NAME = "audit"


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
    found = _find(args, MediaLimits(allow_urls=options.allow_urls))
    report = _audited(args, audits, options, found)
    if args.json or not on_terminal():
        print(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        from .audit_table import report_table

        console().print(report_table(report))
    return 0


def _asked(args: argparse.Namespace) -> AuditData:
    return AuditData(
        data=args.data,
        pairs=args.pairs,
        seed=args.seed,
        format=args.format,
        media_dir=args.media_dir,
        ignore=tuple(args.ignore),
    )


def _find(args: argparse.Namespace, limits: MediaLimits) -> FoundPairs:
    """Every pair, with its pictures looked for.

    Raises:
        InputError: there is none, or one cannot be used and that is not allowed.
    """
    from vlreward.evaluate.unusable import refusal

    found = find_pairs(_asked(args), limits)
    if found.errors and not (args.allow_missing and found.data.pairs):
        raise refusal(found.errors, len(found.data.pairs), "pairs", allowed=args.allow_missing)
    return found


def _audited(
    args: argparse.Namespace, audits: Sequence[Audit], options: ModelOptions, found: FoundPairs
) -> AuditReport:
    from vlreward.evaluate.audits.report import report_audits
    from vlreward.evaluate.audits.run import PAIRS_PER_CALL
    from vlreward.evaluate.audits.scoring import read_audits

    from .evaluated import about_run
    from .file_run import FileRun
    from .outputs import lines_at
    from .progress import Progress

    with lines_at(args.output, "rewards") as output:
        run = FileRun(
            source=Path(args.data),
            output=output,
            config=_config(audits, options, found.data),
            about=about_run(options, None, str(args.data))
            | {"options": _asked(args).options() | {"allow_missing": args.allow_missing}},
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


def _load(options: ModelOptions, audits: Sequence[Audit], data: DataSet) -> AuditScorer:
    from .evaluated import load_engine

    engine = load_engine(options)
    pairs = {pair.id: pair for pair in data.pairs}
    return AuditScorer(engine=engine, pairs=pairs, audits=audits, data=data, resolved=engine.resolved)


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
