"""``vlreward pairs``: preference pairs from answers that have been sampled and scored."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError

from .options import positive_integer

if TYPE_CHECKING:
    from vlreward.policy.pairs import PairReport

NAME = "pairs"
_FORMATS = ("trl", "llamafactory", "ms-swift")


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="preference pairs from scored answers",
        description="Make preference pairs of sampled answers and their rewards. Where the right answer is known, "
        "right answers are chosen and wrong ones rejected; else the rewards decide.",
        epilog="vlreward sample writes GROUPS, and vlreward score its rewards: the same groups in the same order.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("groups", metavar="GROUPS", help="a groups file, such as vlreward sample writes")
    parser.add_argument("--rewards", required=True, metavar="FILE", help="what vlreward score wrote of it")
    parser.add_argument(
        "--blind", metavar="FILE", help="what vlreward sample --blind wrote of both: reject that too (default: none)"
    )
    parser.add_argument("--output", "-o", required=True, metavar="OUT", help="write pairs here (.jsonl or .parquet)")
    parser.add_argument("--format", default="trl", choices=_FORMATS, help="whose form (default: trl)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    key = parser.add_argument_group("right answers")
    key.add_argument(
        "--answers", metavar="FILE", help="a groups file with 'answer' by id, e.g. the prompts; else that of GROUPS"
    )
    key.add_argument(
        "--match", choices=("exact", "math"), default="exact", help="how answers are compared with it (default: exact)"
    )
    which = parser.add_argument_group("which pairs")
    which.add_argument(
        "--margin", type=float, default=0.0, metavar="M", help="least difference of rewards (default: 0)"
    )
    which.add_argument(
        "--top", type=positive_integer, default=1, metavar="K", help="choose from the best K (default: 1)"
    )
    which.add_argument(
        "--bottom", type=positive_integer, default=1, metavar="K", help="reject from the worst K (default: 1)"
    )
    which.add_argument(
        "--per-prompt", type=positive_integer, metavar="N", help="most pairs of a prompt's own answers (default: all)"
    )
    which.add_argument(
        "--surest",
        type=float,
        metavar="S",
        help="keep this share, whose chosen answers have the largest rewards, e.g. 0.5 (default: all)",
    )
    which.add_argument(
        "--length-balance",
        type=float,
        metavar="S",
        help="how far the share of longer chosen answers may be from a half, e.g. 0.05 (default: as it comes)",
    )
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")


def run(args: argparse.Namespace) -> int:
    """Make pairs, write them, and say what became of the groups."""
    from vlreward.data.writing import check_writable
    from vlreward.policy.answers import exact_match, math_match
    from vlreward.policy.pairs import PairSettings, build_pairs, write_pairs
    from vlreward.policy.prompts import read_answer_keys, read_continued, read_scored

    from .tables import on_terminal

    settings = PairSettings(
        top=args.top,
        bottom=args.bottom,
        per_prompt=args.per_prompt,
        margin=args.margin,
        surest=args.surest,
        length_balance=args.length_balance,
    )
    output = check_writable(Path(args.output))
    if output.exists() and not args.overwrite:
        raise ConfigError(f"{output}: exists; write to another file, or replace it with --overwrite")
    keys = None if args.answers is None else read_answer_keys(args.answers)
    match = math_match if args.match == "math" else exact_match
    blind = None if args.blind is None else read_continued(args.blind)
    pairs, report = build_pairs(read_scored(args.groups, args.rewards, keys=keys, match=match), settings, blind)
    write_pairs(pairs, output, format=args.format, overwrite=args.overwrite)
    if args.json or not on_terminal():
        print(json.dumps({"output": str(output), **report.to_dict()}, ensure_ascii=False))
    else:
        print("\n".join(_lines(output, report)))
    return 0


def _lines(output: Path, report: PairReport) -> list[str]:
    lines = [f"{report.pairs:,} pairs of {report.used:,} of {report.groups:,} groups in {output}"]
    lines += [f"  {count:,} groups without a pair: {reason}" for reason, count in report.dropped.items()]
    lines += [f"  {count:,} pairs left out: {reason}" for reason, count in report.left_out.items()]
    if report.key_and_reward_agree is not None:
        lines.append(f"  {report.by_key:,} pairs by the key; the rewards agree with {report.key_and_reward_agree:.1%}")
    if report.blind is not None:
        lines.append(f"  {report.blind.made:,} pairs of an answer and what was written without the picture")
        lines += [f"  {count:,} continuations dropped: {reason}" for reason, count in report.blind.dropped.items()]
    return lines
