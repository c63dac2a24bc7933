"""``vlreward convert``: write a checkpoint in another form, and prove that its scores did not move."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from .options import add_hub_options, add_question_options, model_options

if TYPE_CHECKING:
    from vlreward.model.convert import Conversion

NAME = "convert"


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="write a checkpoint in another form; scores stay",
        description="Write a checkpoint in another form and prove that its scores did not move.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("checkpoint", metavar="MODEL", help="folder or hub id")
    parser.add_argument("out", metavar="OUT", help="folder to write")
    parser.add_argument(
        "--to", required=True, metavar="FORM", help="sequence-classification, value-head, reward-head or token-logit"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    parser.add_argument("--no-proof", action="store_true", help="do not load and score both")
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")
    add_hub_options(parser.add_argument_group("model"))
    add_question_options(parser)


def run(args: argparse.Namespace) -> int:
    """Convert and print."""
    from vlreward.model.convert import convert

    from .loading import question_of, status
    from .tables import console, on_terminal

    args.model = args.checkpoint
    options = model_options(args)
    with status(f"Converting {options.model} …"):
        done = convert(
            options.model,
            args.to,
            args.out,
            overwrite=args.overwrite,
            prove=not args.no_proof,
            revision=options.revision,
            local_files_only=options.offline,
            question=question_of(options),
        )
    if args.json or not on_terminal():
        print(json.dumps(done.to_dict(), ensure_ascii=False))
    else:
        console().print("\n".join(_lines(done)), markup=False, soft_wrap=True)
    return 0


def _lines(done: Conversion) -> list[str]:
    lines = [f"{done.out}: {done.form}, {done.head} (was {done.form_before})"]
    if done.max_difference is None:
        lines.append("not proved: --no-proof was given")
    else:
        lines.append(
            f"{done.probes} scores before and after differ by {done.max_difference:.1g} at most ({done.proof_dtype})"
        )
    return [*lines, *(f"note: {note}" for note in done.notes)]
