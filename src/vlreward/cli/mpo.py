"""``vlreward mpo``: improve a policy with a reward, from prompts to a report."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError

from .options import add_overrides

if TYPE_CHECKING:
    from vlreward.policy.loop import LoopRecipe

NAME = "mpo"
STAGES = ("sample", "score", "pairs", "train", "evaluate")
"""As in `vlreward.policy.loop`, which is imported late."""
_RECIPE, _MARKER, _REPORT, _PAGE = "loop.json", "complete.json", "report.json", "report.html"


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="improve a policy with a reward",
        description="Sample answers, score them, make pairs, train the policy by Mixed Preference Optimization, and "
        "evaluate it: all stages that are not done yet, or one of them. Run again, it goes on where it was stopped.",
        epilog="On several devices the stages before training are run first, then torchrun --nproc-per-node N -m "
        "vlreward.cli mpo RECIPE --stage train.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, such as recipes/tiny-mpo.yaml")
    add_overrides(parser, "train.batch=64")
    parser.add_argument("--stage", choices=STAGES, help="run this one; those before it have to be done")
    parser.add_argument("--dry-run", action="store_true", help="say what is done and what would be, and do nothing")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress display")
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")


def run(args: argparse.Namespace) -> int:
    """Run the stages that are not done, and print the report."""
    from vlreward.policy.loop import read_loop_recipe

    from .notes import show_notes
    from .tables import on_terminal

    show_notes()
    recipe = read_loop_recipe(args.recipe, args.overrides)
    recipe.check_files()
    as_json = args.json or not on_terminal()
    fingerprint = _claim(recipe, write=not args.dry_run)
    done = [stage for stage in STAGES if _is_done(recipe, stage, fingerprint)]
    if args.dry_run:
        _print({"done": done, "to_do": [stage for stage in STAGES if stage not in done]}, as_json)
        return 0
    wanted = [args.stage] if args.stage else [stage for stage in STAGES if stage not in done]
    _check_wanted(wanted, done)
    for stage in wanted:
        _run_stage(recipe, stage, fingerprint, quiet=args.quiet)
    if _is_main() and _is_done(recipe, "evaluate", fingerprint):
        report = json.loads((Path(recipe.output) / _REPORT).read_text(encoding="utf-8"))
        _print(report if as_json else _shown(report), as_json)
    return 0


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _check_wanted(wanted: list[str], done: list[str]) -> None:
    """See that the stages before are done, and that several processes are there for training alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and wanted != ["train"]:
        raise ConfigError("several processes are for --stage train alone; run the other stages without torchrun")
    for stage in wanted[:1]:
        missing = [before for before in STAGES[: STAGES.index(stage)] if before not in done]
        if missing:
            raise ConfigError(f"--stage {stage}: {', '.join(missing)} not done yet; run without --stage")


def _claim(recipe: LoopRecipe, *, write: bool) -> str:
    """The fingerprint of a recipe, whose output is of no other.

    Raises:
        ConfigError: it is of another.
    """
    import hashlib

    from vlreward.policy.loop import plain_loop_recipe

    content = plain_loop_recipe(recipe)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path = Path(recipe.output) / _RECIPE
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        for key, value in json.loads(text).items():
            if before.get(key) != value:
                raise ConfigError(
                    f"{recipe.output}: begun with {key} {before.get(key)!r:.80}, now {value!r:.80}; "
                    "name another output, or remove it"
                )
    elif write and _is_main():
        from vlreward.data.writing import replacing

        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _is_done(recipe: LoopRecipe, stage: str, fingerprint: str) -> bool:
    path = recipe.place(stage) / _MARKER
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("recipe") == fingerprint


def _run_stage(recipe: LoopRecipe, stage: str, fingerprint: str, *, quiet: bool) -> None:
    from vlreward.data.writing import replacing

    from . import mpo_stages

    place = recipe.place(stage)
    place.mkdir(parents=True, exist_ok=True)
    step: Callable[..., None] = getattr(mpo_stages, stage)
    step(recipe, place, quiet=quiet or not _is_main())
    if stage == "evaluate":
        for name in (_REPORT, _PAGE):
            shutil.copyfile(place / name, Path(recipe.output) / name)
    if _is_main():
        with replacing(place / _MARKER) as part:
            part.write_text(json.dumps({"recipe": fingerprint}) + "\n", encoding="utf-8")


def _print(said: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(said, ensure_ascii=False))
    elif isinstance(said, dict):
        print("\n".join(f"{name.replace('_', ' ')}: {', '.join(value) or 'nothing'}" for name, value in said.items()))
    else:
        print("\n".join(said))


def _shown(report: dict[str, Any]) -> list[str]:
    """A report in a few lines."""
    lines = [f"{report['pairs']['pairs']:,} pairs of {report['pairs']['groups']:,} prompts"]
    for name in ("before", "after"):
        figures = report[name]
        words = f"{name}: reward {figures['reward']:+.3f}, {figures['length']:.0f} characters an answer"
        if figures["accuracy"] is not None:
            words += f", {figures['accuracy']:.1%} right{_between(figures['accuracy_interval'])}"
        lines.append(words)
    gain = report["gain"]
    if gain["accuracy"] is not None:
        lines.append(f"gain: {100 * gain['accuracy']:+.1f} points{_between(gain['accuracy_interval'])}")
    return lines + [f"warning: {warning}" for warning in report["warnings"]]


def _between(interval: list[float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.1%} to {interval[1]:.1%})"
