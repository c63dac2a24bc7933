"""What score, rank, compare and trace have in common: groups in, one row per group out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError

from . import loading
from .options import (
    ModelOptions,
    add_engine_option,
    add_group_options,
    add_model_options,
    group_from,
    model_options,
    positive_integer,
    says_a_group,
)

if TYPE_CHECKING:
    from rich.console import Console

    from vlreward.model.reward_model import RewardModel
    from vlreward.types import Group

    from .compute import Row

CHUNK = 32


@dataclass(frozen=True, kw_only=True)
class GroupsVerb:
    """A verb that turns groups into rows."""

    name: str
    help: str
    """One line, for the list of verbs."""
    description: str
    """For its own help."""
    rows: Callable[[RewardModel, Sequence[Group]], list[Row]]
    """One row per group: ``{"id", …}``."""
    show: Callable[[Console, Group, Row], None]
    """Shows the row of one group on a terminal."""
    at_least: int = 1
    """Responses it needs."""
    at_most: int | None = None
    """Responses it takes."""
    is_calibrated: bool = False
    """Whether its rows hold probabilities, which a calibration beside the model decides."""

    def add(self, verbs: Any) -> None:
        """Add the verb to the command line."""
        parser = verbs.add_parser(
            self.name, help=self.help, description=self.description, epilog=_EPILOG, allow_abbrev=False
        )
        parser.set_defaults(run=self.run)
        parser.add_argument("file", nargs="?", metavar="FILE", help="groups: .jsonl or .parquet")
        add_group_options(parser)
        output = parser.add_argument_group("a file in, a file out")
        output.add_argument(
            "--output", "-o", metavar="OUT", help="write rows here (.jsonl or .parquet); can be resumed"
        )
        output.add_argument("--overwrite", action="store_true", help="start again, whatever OUT holds")
        output.add_argument(
            "--on-error",
            choices=("stop", "skip"),
            default="stop",
            help="a bad row: stop there, or write its error and go on",
        )
        output.add_argument(
            "--chunk", type=positive_integer, default=CHUNK, metavar="N", help="groups per step (default: %(default)s)"
        )
        parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")
        parser.add_argument("--quiet", "-q", action="store_true", help="no progress display")
        add_model_options(parser)
        add_engine_option(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Run the verb on one group or on a file."""
        from .notes import show_notes

        show_notes()
        options = model_options(args)
        if args.file is None:
            if args.output:
                raise ConfigError("--output needs a groups FILE; one prompt's result goes to standard output")
            return self._run_one(args, options)
        if says_a_group(args):
            raise ConfigError("give either a groups FILE or --prompt, --image, --response …, not both")
        if args.output:
            return self._run_to_file(args, options)
        return self._run_to_stdout(args, options)

    def _run_one(self, args: argparse.Namespace, options: ModelOptions) -> int:
        from .tables import console, on_terminal

        group = group_from(args, at_least=self.at_least, at_most=self.at_most)
        row = self.rows(loading.load_model(options), [group])[0]
        if args.json or not on_terminal():
            print(json.dumps({name: value for name, value in row.items() if name != "id"}, ensure_ascii=False))
        else:
            self.show(console(), group, row)
        return 0

    def _run_to_stdout(self, args: argparse.Namespace, options: ModelOptions) -> int:
        from vlreward.data.groups import scan_groups

        from .compute import write_rows

        items = scan_groups(args.file)
        model = _Loaded(self, loading.load_model(options))
        write_rows(items, model, sys.stdout.buffer, chunk=args.chunk, skip_errors=args.on_error == "skip")
        return 0

    def _run_to_file(self, args: argparse.Namespace, options: ModelOptions) -> int:
        from vlreward.data.groups import scan_groups

        from .file_run import FileRun
        from .outputs import run_to
        from .progress import Progress

        source, output = Path(args.file), Path(args.output)
        if output.exists() and source.exists() and output.samefile(source):
            raise ConfigError(f"{output}: is the input; write to another file")
        run = FileRun(
            source=source,
            output=output,
            config=self._config(args, options),
            about={"input": str(source), "model": options.model},
            read=lambda: scan_groups(source),
            load=lambda: _Loaded(self, loading.load_model(options)),
            chunk=args.chunk,
            overwrite=args.overwrite,
            skip_errors=args.on_error == "skip",
        )
        with Progress(quiet=args.quiet) as progress:
            record = run_to(run, progress)
        summary = {
            "output": str(output),
            "groups": record.groups,
            "responses": record.responses,
            "errors": record.errors,
            "computed": progress.computed,
            "seconds": round(progress.seconds, 3),
        }
        self._summarise(args, summary)
        return 0

    def _summarise(self, args: argparse.Namespace, summary: Mapping[str, Any]) -> None:
        from .tables import on_terminal

        if args.json or not on_terminal():
            print(json.dumps(summary, ensure_ascii=False))
            return
        words = f"{summary['groups']:,} groups, {summary['responses']:,} responses in {summary['output']}"
        if summary["errors"]:
            words += f"; {summary['errors']:,} rows say an error"
        if summary["computed"] == 0:
            words += "; all were there already"
        else:
            rate = summary["computed"] / max(summary["seconds"], 1e-9)
            words += f"; {summary['computed']:,} computed in {summary['seconds']:.1f} s, {rate:.1f} groups/s"
        print(words)

    def _config(self, args: argparse.Namespace, options: ModelOptions) -> dict[str, Any]:
        """Everything that the rows depend on."""
        from .fingerprint import asked_of_model, calibration_digest, versions

        return {
            "verb": self.name,
            **asked_of_model(options),
            **({"calibration": calibration_digest(options)} if self.is_calibrated else {}),
            "on_error": args.on_error,
            "chunk": args.chunk,
            "versions": versions(),
        }


_EPILOG = (
    'FILE has one group per row: {"id", "messages", "responses", "images"?}, the images filling image parts that have '
    "no source, paths relative to the file. Rows of TRL's preference form are groups of two, chosen first."
)


class _Loaded:
    """A verb and its model, as `FileRun` wants them."""

    def __init__(self, verb: GroupsVerb, model: RewardModel) -> None:
        from .fingerprint import resolved_settings

        self._verb, self._model = verb, model
        self.resolved: Mapping[str, Any] = resolved_settings(model)

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        return self._verb.rows(self._model, groups)
