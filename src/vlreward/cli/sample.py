"""``vlreward sample``: answers of a policy to a file of prompts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError, InputError

from . import policy_options
from .options import positive_integer

if TYPE_CHECKING:
    from vlreward.policy.sampling import Sampler, SamplingSettings
    from vlreward.types import Group

    from .compute import Row
    from .file_run import FileRun
    from .policy_options import PolicyOptions

NAME = "sample"
_CHUNK = 8


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="answers of a policy to a file of prompts",
        description="Sample answers to each prompt. The output is a groups file, which vlreward score reads. Run "
        "again, it goes on where it was stopped.",
        epilog="FILE is a groups file whose rows may do without responses; those that are there are passed over.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="FILE", help="prompts: .jsonl or .parquet")
    parser.add_argument("--output", "-o", required=True, metavar="OUT", help="write groups here (.jsonl)")
    parser.add_argument("--overwrite", action="store_true", help="start again, whatever OUT holds")
    parser.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="a bad row: stop there, or write its error and go on",
    )
    parser.add_argument(
        "--chunk", type=positive_integer, default=_CHUNK, metavar="N", help="prompts per step (default: %(default)s)"
    )
    policy_options.add_policy_options(parser)
    policy_options.add_loading_options(parser)
    policy_options.add_sampling_options(parser)
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress display")


def run(args: argparse.Namespace) -> int:
    """Sample what is not there yet, and say how much there is."""
    from .progress import Progress
    from .tables import on_terminal

    run = sampling_run(
        Path(args.file),
        Path(args.output),
        policy_options.PolicyOptions.of(args),
        policy_options.sampling_settings(args),
        chunk=args.chunk,
        overwrite=args.overwrite,
        skip_errors=args.on_error == "skip",
    )
    with Progress("sampling", "prompts", quiet=args.quiet) as progress:
        record = run.run(progress)
    summary = {
        "output": str(run.output),
        "prompts": record.groups,
        "answers": (record.groups - record.errors) * args.answers,
        "errors": record.errors,
        "computed": progress.computed,
        "seconds": round(progress.seconds, 3),
    }
    if args.json or not on_terminal():
        print(json.dumps(summary, ensure_ascii=False))
    else:
        words = f"{summary['prompts']:,} prompts, {summary['answers']:,} answers in {run.output}"
        print(words + (f"; {record.errors:,} rows say an error" if record.errors else ""))
    return 0


def sampling_run(
    source: Path,
    output: Path,
    policy: PolicyOptions,
    settings: SamplingSettings,
    *,
    chunk: int = _CHUNK,
    overwrite: bool = False,
    skip_errors: bool = False,
) -> FileRun:
    """A run from a file of prompts to one of groups.

    Raises:
        InputError: the output is no file of JSON lines.
        ConfigError: the output is the input.
    """
    from vlreward.data.writing import check_writable, is_table
    from vlreward.policy.prompts import scan_prompts

    from .file_run import FileRun
    from .fingerprint import versions

    if is_table(check_writable(output)):
        raise InputError(f"{output}: answers are written as JSON lines; name it .jsonl")
    if output.exists() and source.exists() and output.samefile(source):
        raise ConfigError(f"{output}: is the input; write to another file")
    return FileRun(
        source=source,
        output=output,
        config={
            "verb": NAME,
            **policy_options.asked_of_policy(policy),
            "sampling": asdict(settings) | {"stop": list(settings.stop)},
            "on_error": "skip" if skip_errors else "stop",
            "chunk": chunk,
            "versions": versions(),
        },
        about={"input": str(source), "policy": policy.policy, "server": policy.server},
        read=lambda: scan_prompts(source),
        load=lambda: _Sampling(policy_options.load_sampler(policy), settings, output.parent),
        chunk=chunk,
        overwrite=overwrite,
        skip_errors=skip_errors,
    )


class _Sampling:
    """A policy, as `FileRun` wants it."""

    def __init__(self, sampler: Sampler, settings: SamplingSettings, folder: Path) -> None:
        self._sampler, self._settings, self._folder = sampler, settings, folder
        self.resolved: Mapping[str, Any] = policy_options.resolved_policy(sampler)

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        from vlreward.policy.prompts import sampled_row
        from vlreward.policy.sampling import Prompt

        found = self._sampler.sample([Prompt.of(group) for group in groups], self._settings)
        return [sampled_row(sampled, self._folder) for sampled in found]
