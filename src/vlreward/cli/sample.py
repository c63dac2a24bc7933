"""``vlreward sample``: answers of a policy to a file of prompts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError, InputError

from . import policy_options
from .options import positive_integer

if TYPE_CHECKING:
    from vlreward.policy.blind import BlindSettings
    from vlreward.policy.pairs import ScoredGroup
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
    parser.set_defaults(answers=None)
    _add_blind_options(parser)
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress display")


def _add_blind_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "without the picture",
        "Cut the best answer that each row of FILE has, and go on from there without the pictures: what vlreward pairs "
        "--blind rejects. -n is then 1 unless said; of several, the first that is of use is rejected.",
    )
    group.add_argument("--blind", action="store_true", help="do so; FILE is what vlreward sample wrote before")
    group.add_argument("--rewards", metavar="FILE", help="what vlreward score wrote of it, to know the best answers")
    group.add_argument("--keep", type=float, metavar="S", help="share of an answer that stays (default: 0.5)")
    group.add_argument("--best", type=positive_integer, metavar="K", help="cut the best K of a prompt (default: 1)")
    group.add_argument("--keys", metavar="FILE", help="a groups file with 'answer' by id: cut right answers only")
    group.add_argument("--match", choices=("exact", "math"), help="how answers are compared with it (default: exact)")


def run(args: argparse.Namespace) -> int:
    """Sample what is not there yet, and say how much there is."""
    from vlreward.policy.sampling import SamplingSettings

    from .progress import Progress
    from .tables import on_terminal

    if args.answers is None:
        args.answers = 1 if args.blind else SamplingSettings.answers
    run = _blind_run_of(args) if args.blind else _run_of(args)
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
        asked = "answers cut" if args.blind else "prompts"
        words = f"{summary['prompts']:,} {asked}, {summary['answers']:,} answers in {run.output}"
        print(words + (f"; {record.errors:,} rows say an error" if record.errors else ""))
    return 0


def _run_of(args: argparse.Namespace) -> FileRun:
    for name in ("rewards", "keep", "best", "keys", "match"):
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} is for --blind")
    return sampling_run(
        Path(args.file),
        Path(args.output),
        policy_options.PolicyOptions.of(args),
        policy_options.sampling_settings(args),
        chunk=args.chunk,
        overwrite=args.overwrite,
        skip_errors=args.on_error == "skip",
    )


def _blind_run_of(args: argparse.Namespace) -> FileRun:
    from vlreward.policy.answers import exact_match, math_match
    from vlreward.policy.blind import BlindSettings
    from vlreward.policy.prompts import read_answer_keys, read_scored

    if args.rewards is None:
        raise ConfigError("--blind needs --rewards, what vlreward score wrote of the answers in FILE")
    if args.on_error == "skip":
        raise ConfigError("--blind stops at a bad row: --on-error skip is for prompts")
    keys = None if args.keys is None else read_answer_keys(args.keys)
    match = math_match if args.match == "math" else exact_match
    return blind_run(
        lambda: read_scored(args.file, args.rewards, keys=keys, match=match),
        Path(args.file),
        Path(args.output),
        policy_options.PolicyOptions.of(args),
        policy_options.sampling_settings(args),
        BlindSettings(
            keep=BlindSettings.keep if args.keep is None else args.keep,
            per_prompt=args.best or BlindSettings.per_prompt,
        ),
        chunk=args.chunk,
        overwrite=args.overwrite,
    )


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
    from vlreward.policy.prompts import scan_prompts

    from .file_run import FileRun

    _check_output(source, output)
    return FileRun(
        source=source,
        output=output,
        config=_config(policy, settings, chunk) | {"on_error": "skip" if skip_errors else "stop"},
        about={"input": str(source), "policy": policy.policy, "server": policy.server},
        read=lambda: scan_prompts(source),
        load=lambda: _Sampling(policy_options.load_sampler(policy), settings, output.parent),
        chunk=chunk,
        overwrite=overwrite,
        skip_errors=skip_errors,
    )


def blind_run(
    scored: Callable[[], Iterable[ScoredGroup]],
    source: Path,
    output: Path,
    policy: PolicyOptions,
    settings: SamplingSettings,
    blind: BlindSettings,
    *,
    chunk: int = _CHUNK,
    overwrite: bool = False,
) -> FileRun:
    """A run from scored answers to a file of groups, one for each answer that is cut, whose responses begin as it does
    and go on without the pictures; `vlreward.policy.prompts.read_continued` reads it.

    Args:
        scored: reads the scored answers from the start.
        source: the file that they are of, for messages.
        settings: how the rest of an answer is drawn, and how often.

    Raises:
        InputError: the output is no file of JSON lines; when run, that there is no answer to cut.
        ConfigError: the output is the input.
    """
    from vlreward.policy.prompts import scan_cut

    from .file_run import FileRun

    _check_output(source, output)
    return FileRun(
        source=source,
        output=output,
        config=_config(policy, settings, chunk) | {"blind": asdict(blind)},
        about={"input": str(source), "policy": policy.policy, "server": policy.server},
        read=lambda: scan_cut(scored(), blind),
        load=lambda: _Continuing(policy_options.load_sampler(policy), settings, output.parent, blind.keep),
        chunk=chunk,
        overwrite=overwrite,
    )


def _check_output(source: Path, output: Path) -> None:
    from vlreward.data.writing import check_writable, is_table

    if is_table(check_writable(output)):
        raise InputError(f"{output}: answers are written as JSON lines; name it .jsonl")
    if output.exists() and source.exists() and output.samefile(source):
        raise ConfigError(f"{output}: is the input; write to another file")


def _config(policy: PolicyOptions, settings: SamplingSettings, chunk: int) -> dict[str, Any]:
    """Everything that answers depend on, but for their prompts."""
    from .fingerprint import versions

    return {
        "verb": NAME,
        **policy_options.asked_of_policy(policy),
        "sampling": asdict(settings) | {"stop": list(settings.stop)},
        "chunk": chunk,
        "versions": versions(),
    }


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


class _Continuing(_Sampling):
    """A policy that goes on with answers without their pictures."""

    def __init__(self, sampler: Sampler, settings: SamplingSettings, folder: Path, keep: float) -> None:
        super().__init__(sampler, settings, folder)
        self._keep = keep

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        from vlreward.policy.blind import blind_prompt
        from vlreward.policy.prompts import sampled_row

        found = self._sampler.sample([blind_prompt(group, self._keep) for group in groups], self._settings)
        # With the pictures that were kept from the policy: a reward model may see them.
        shown = [
            replace(sampled, group=replace(sampled.group, messages=group.messages))
            for sampled, group in zip(found, groups, strict=True)
        ]
        return [sampled_row(sampled, self._folder) for sampled in shown]
