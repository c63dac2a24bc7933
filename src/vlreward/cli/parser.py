"""The parser of the whole command line. Only argparse is imported, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

import vlreward

from . import (
    audit,
    best_of_n,
    calibrate,
    compare,
    convert,
    data,
    demo,
    eval,
    inspect,
    mpo,
    pairs,
    rank,
    report,
    sample,
    score,
    serve,
    trace,
    train,
)

VERBS = (
    *(verb.VERB for verb in (score, rank, compare, trace)),
    *(inspect, convert, data, train, sample, best_of_n, pairs, mpo, eval, calibrate, audit, report, serve, demo),
)

_EPILOG = "VERB --help describes a verb. The model is always named: --model, or VLREWARD_MODEL; demo has its own."


class _Help(argparse.HelpFormatter):
    """Leaves room for the longest verb beside its help; argparse measures verbs without their indent."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = len("    calibrate")


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are one line, with the nearest known name."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line and exit 2."""
        print(f"error: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def build_parser() -> tuple[Parser, dict[str, argparse.ArgumentParser]]:
    """The parser, and the parser of each verb."""
    parser = Parser(
        prog="vlreward",
        description="Score, rank, compare and trace the answers of vision-language models with a reward model.",
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"vlreward {vlreward.__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", parser_class=Parser)
    for verb in VERBS:
        verb.add(verbs)
    return parser, dict(verbs.choices)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command line. Exits 0 after help or version, 2 on a mistake."""
    parser, verbs = build_parser()
    if not argv:
        parser.print_help()
        sys.exit(0)
    if not argv[0].startswith("-") and argv[0] not in verbs:
        parser.error(f"unknown verb {argv[0]!r}{_suggest(argv[0], verbs)}")
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        verb = verbs.get(argv[0], parser)
        option = next((item for item in unknown if item.startswith("-")), None)
        if option is None:
            verb.error(f"unexpected {unknown[0]!r}; texts with spaces need quotes")
        name = option.split("=", 1)[0]
        verb.error(f"unknown option {name!r}{_suggest(name, verb._option_string_actions)}")
    if not hasattr(args, "run"):
        parser.error("no verb")
    return args


def _suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
