"""``vlreward data``: look into preference data, and write it in another format."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError

from . import loading

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vlreward.data.check import DataCheck, Spread
    from vlreward.data.convert import Conversion

NAME = "data"

FORMATS = "trl, llamafactory, ms-swift, rlaif-v, llava-critic, skywork-preference or rankings"


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="check preference data, or convert it from one format into another",
        description="Look into files of preferences, or write one in another format.",
        epilog=f"Formats: {FORMATS}. A file's format is seen from its first row, or said with --format.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=_say_what)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    _add_check(actions)
    _add_convert(actions)


def _say_what(_args: argparse.Namespace) -> int:
    raise ConfigError("say what: vlreward data check FILE, or vlreward data convert IN OUT --to FORMAT")


def _add_check(actions: Any) -> None:
    parser = _action(actions, "check", _check, "counts, lengths, pictures, duplicates, length bias, overlap, errors")
    parser.description = (
        "Say what files of preferences hold: counts, lengths, pictures, duplicates, how often the longer answer is "
        "chosen, overlap with benchmarks, and the first errors. Exits 2 when a row or a picture cannot be used."
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="preferences: .jsonl, .json or .parquet")
    _add_reading(parser)
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="FILE",
        help="a benchmark, to count rows that ask its questions or show its pictures; may be given several times",
    )
    parser.add_argument(
        "--no-pictures", action="store_true", help="do not open pictures; they are compared by where they are"
    )
    parser.add_argument("--allow-urls", action="store_true", help="fetch pictures from http and https addresses")
    parser.add_argument(
        "--most", type=int, default=10, metavar="N", help="errors and repetitions to name (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")


def _add_convert(actions: Any) -> None:
    parser = _action(actions, "convert", _convert, "write a file of preferences in another format")
    parser.description = (
        "Write a file of preferences in another format. A row that has no place in it is named, with the reason."
    )
    parser.add_argument("source", metavar="IN", help="preferences: .jsonl, .json or .parquet")
    parser.add_argument("output", metavar="OUT", help="file to write: .jsonl or .parquet")
    parser.add_argument("--to", required=True, metavar="FORMAT", help=FORMATS)
    _add_reading(parser)
    parser.add_argument(
        "--extract-pictures", metavar="FOLDER", help="write pictures that are inside the file (Parquet) to files here"
    )
    parser.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="a row that is wrong or has no place in FORMAT: stop there, or count it and go on",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")


def _action(actions: Any, name: str, run: Callable[[argparse.Namespace], int], words: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=words, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", metavar="FORMAT", help=f"what the file is, where that is not clear: {FORMATS}")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="KEY", help="a key to pass over; may be given several times"
    )
    parser.add_argument("--media-dir", metavar="FOLDER", help="where relative paths start (default: the file's folder)")


def _reading(args: argparse.Namespace) -> dict[str, Any]:
    return {"format": args.format, "ignore": args.ignore, "media_dir": args.media_dir}


def _check(args: argparse.Namespace) -> int:
    from vlreward.data.check import check_rankings
    from vlreward.data.content import Looker
    from vlreward.data.limits import MediaLimits
    from vlreward.data.overlap import Benchmark
    from vlreward.data.rankings import scan_rankings

    from .tables import console, on_terminal

    looker = Looker(decode=not args.no_pictures, limits=MediaLimits(allow_urls=args.allow_urls))
    with loading.status(f"Checking {', '.join(args.files)} …"):
        found = check_rankings(
            ((name, scan_rankings(name, **_reading(args))) for name in args.files),
            looker=looker,
            against=[Benchmark(name, looker) for name in args.against],
            most_problems=args.most,
        )
    if args.json or not on_terminal():
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        console().print(_table(found))
    return 2 if found.errors else 0


def _convert(args: argparse.Namespace) -> int:
    from vlreward.data.convert import convert_rankings
    from vlreward.data.rankings import scan_rankings

    from .tables import console, on_terminal

    with loading.status(f"Converting {args.source} …"):
        done = convert_rankings(
            scan_rankings(args.source, **_reading(args)),
            args.output,
            args.to,
            extract_to=args.extract_pictures,
            skip_errors=args.on_error == "skip",
            overwrite=args.overwrite,
        )
    if args.json or not on_terminal():
        print(json.dumps(done.to_dict(), ensure_ascii=False))
    else:
        console().print("\n".join(_lines(done)), markup=False, soft_wrap=True)
    return 0


def _lines(done: Conversion) -> list[str]:
    lines = [f"{done.output}: {done.written:,} rows of {done.format} (were {done.format_before})"]
    lines += [f"dropped: {number:,} {reason}" for reason, number in done.dropped.items()]
    if done.skipped:
        lines += [f"skipped: {done.skipped:,} rows, the first of them:", *(f"  {line}" for line in done.problems)]
    if done.dataset_info:
        lines.append(f"described in {done.dataset_info}")
    return lines


def _table(found: DataCheck) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(found):
        table.add_row(name, Text(value))
    for i, line in enumerate(found.repeated):
        table.add_row("" if i else "repeated", Text(line, style="yellow"))
    for i, problem in enumerate(found.problems):
        table.add_row("" if i else "errors", Text(problem, style="red"))
    if found.errors > len(found.problems):
        table.add_row("", Text(f"… and {found.errors - len(found.problems):,} more", style="red"))
    if not found.errors:
        table.add_row("errors", Text("none", style="green"))
    return table


def _facts(found: DataCheck) -> list[tuple[str, str]]:
    sizes = ", ".join(f"{n:,} of {size} responses" for size, n in found.responses.items())
    facts = [
        ("files", ", ".join(found.files)),
        ("format", ", ".join(found.formats) or "none"),
        ("rows", f"{found.rows:,}: {found.rankings:,} rankings ({sizes or 'none'}), {found.errors:,} with errors"),
    ]
    if found.dropped:
        facts.append(("dropped", ", ".join(f"{n:,} {reason}" for reason, n in found.dropped.items())))
    facts += [
        (
            "preferences",
            f"{found.tied:,} all tied, {found.equal_answers:,} with chosen equal to rejected, "
            f"{found.duplicates:,} exact duplicates, {found.contradictions:,} contradictions",
        ),
        (
            "prompts",
            f"{found.several_turns:,} of several turns, {found.with_system:,} with a system message, "
            f"{found.with_margin:,} with a margin",
        ),
        ("characters", _lengths(found)),
        ("length bias", _bias(found)),
        ("pictures", _pictures(found)),
    ]
    if found.tasks:
        facts.append(("tasks", ", ".join(f"{name} {n:,}" for name, n in found.tasks.items())))
    for overlap in found.overlaps:
        facts.append(
            (
                "overlap",
                f"{overlap.benchmark} ({overlap.items:,} items): {overlap.questions:,} rows ask its questions, "
                f"{overlap.pictures:,} show its pictures, {overlap.both:,} both; {overlap.items_hit:,} items are hit",
            )
        )
        if overlap.pictures_not_there:
            facts.append(("", f"{overlap.pictures_not_there:,} of its pictures cannot be opened"))
        facts += [("", line) for line in overlap.first]
    return facts


def _lengths(found: DataCheck) -> str:
    named = (("prompt", found.prompt_length), ("better", found.better_length), ("worse", found.worse_length))
    return "; ".join(f"{name} {_spread(spread)}" for name, spread in named if spread) or "none"


def _spread(spread: Spread) -> str:
    return f"median {spread.median:,.0f}, 95 % up to {spread.p95:,.0f}, most {spread.most:,.0f}"


def _bias(found: DataCheck) -> str:
    bias = found.length_bias
    if bias is None or bias.longer_better is None or bias.low is None or bias.high is None:
        return "no two answers of different lengths are compared"
    return (
        f"the longer answer is better in {bias.longer_better:.1%} of {bias.comparisons:,} comparisons "
        f"(95 % interval {bias.low:.1%} to {bias.high:.1%}); {bias.equal_length:,} of equal length"
    )


def _pictures(found: DataCheck) -> str:
    words = (
        f"{found.with_pictures:,} rankings with pictures, {found.with_videos:,} with videos, "
        f"{found.with_pictures_in_answers:,} with some in answers ({found.different_pictures:,} with different ones); "
        f"{found.pictures:,} shown, {found.distinct_pictures:,} different"
    )
    if found.picture_pixels:
        words += f"; pixels: {_spread(found.picture_pixels)}"
    return words
