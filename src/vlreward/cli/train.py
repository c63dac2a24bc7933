"""``vlreward train``: train what a recipe says."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .options import add_overrides
from .progress import Progress
from .tables import on_terminal

if TYPE_CHECKING:
    from vlreward.train.estimate import Estimate
    from vlreward.train.recipe import Recipe
    from vlreward.train.run import Outcome

    from .train_evaluation import Evaluator

NAME = "train"
_SECONDS_BETWEEN_LINES = 10.0


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="train a reward model by a recipe",
        description="Train what a recipe says. Run again, it goes on where it was stopped. On several devices: "
        "torchrun --nproc-per-node N -m vlreward.cli train RECIPE.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, such as those in recipes/")
    add_overrides(parser, "stages.0.batch=64")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and train nothing")
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")


def run(args: argparse.Namespace) -> int:
    """Train, or plan, and print."""
    from vlreward.train.recipe import check_files, read_recipe

    from .train_evaluation import evaluator_of

    recipe = read_recipe(args.recipe, args.overrides)
    check_files(recipe)
    evaluator = evaluator_of(recipe, DataProgress if _is_first() else lambda: _silent)
    as_json = args.json or not on_terminal()
    return _plan(recipe, evaluator, as_json) if args.dry_run else _train(recipe, evaluator, as_json)


def _is_first() -> bool:
    """Whether this is the process that speaks."""
    return os.environ.get("RANK", "0") == "0"


def _silent(what: str, count: int) -> None:
    del what, count


def _plan(recipe: Recipe, evaluator: Evaluator | None, as_json: bool) -> int:
    from vlreward.train.run import plan_stages

    estimates = plan_stages(recipe, processes=int(os.environ.get("WORLD_SIZE", "1")), progress=DataProgress())
    whole: dict[str, Any] = {"stages": [asdict(found) for found in estimates]}
    lines = [_plan_lines(found) for found in estimates]
    if evaluator is not None and recipe.evaluation is not None:
        times = {
            found.stage: recipe.evaluation.times(found.steps)
            for found, stage in zip(estimates, recipe.stages, strict=True)
            if recipe.evaluated_at(stage)
        }
        whole["evaluation"] = {"every": recipe.evaluation.every, "times": times, **evaluator.plan()}
        lines.append(_evaluation_lines(whole["evaluation"]))
    _print(whole, lines, as_json)
    return 0


def _train(recipe: Recipe, evaluator: Evaluator | None, as_json: bool) -> int:
    from vlreward.train.run import train

    from .train_progress import EvaluationFiles, StepProgress

    with Progress("training", "steps", quiet=not _is_first()) as display:

        def log(figures: dict[str, float]) -> None:
            rest = "  ".join(f"{name} {value:.4g}" for name, value in figures.items() if name != "step")
            display.line(f"step {int(figures['step'])}: {rest}")

        callbacks: list[Any] = [StepProgress(display)]
        if evaluator is not None and recipe.evaluation is not None:
            callbacks.append(EvaluationFiles(recipe.evaluation, evaluator))
        outcomes = train(recipe, evaluate=evaluator, progress=DataProgress(), log=log, callbacks=callbacks)
    if _is_first():
        _print({"stages": [_plain(outcome) for outcome in outcomes]}, map(_outcome_lines, outcomes), as_json)
    return 0


def _print(whole: dict[str, Any], lines: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(whole, ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(stage) for stage in lines))


def _plain(outcome: Outcome) -> dict[str, Any]:
    return asdict(outcome) | {"folder": str(outcome.folder)}


def _outcome_lines(outcome: Outcome) -> list[str]:
    lines = [f"{outcome.stage}: {outcome.steps:,} steps; the model is {outcome.folder}"]
    lines += [f"  {name} {value:.4g}" for name, value in outcome.figures.items()]
    return lines + [f"  left out: {count:,} {reason}" for reason, count in outcome.dropped.items()]


def _plan_lines(found: Estimate) -> list[str]:
    from vlreward.train.estimate import shown

    lines = [
        f"stage {found.stage}",
        f"  {found.rankings:,} rankings, {found.text_only:.0%} of them text only",
        f"  {found.steps:,} steps of {found.packs_per_step} packs, {found.tokens_per_step:,.0f} tokens a step",
    ]
    for name, count in found.parts.items():
        share = f"{shown(count.trained)} of {shown(count.held)} parameters" if count.trained else "frozen"
        lines.append(f"  {name}: {share}")
    lines.append(f"  about {shown(found.memory_bytes)}B of memory where one device holds everything (estimate)")
    lines.append(f"  about {shown(found.flops)}FLOPs (estimate)")
    return lines + [f"  left out: {count:,} {reason}" for reason, count in found.dropped.items()]


def _evaluation_lines(plan: dict[str, Any]) -> list[str]:
    times = ", ".join(f"{number:,} times in stage {stage}" for stage, number in plan["times"].items())
    lines = [f"evaluation every {plan['every']:,} steps, {times}"]
    lines += [f"  {label}: {number:,} items, with and without pictures" for label, number in plan["benchmarks"].items()]
    if audits := plan.get("audits"):
        lines.append(f"  audits on {audits['pairs']:,} pairs of {audits['data']}: {', '.join(audits['names'])}")
    return lines


class DataProgress:
    """How far the reading and measuring of data is: a line on stderr now and then."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._last = time.monotonic()

    def __call__(self, what: str, count: int) -> None:
        """``count`` more are done."""
        self._done[what] = self._done.get(what, 0) + count
        now = time.monotonic()
        if now - self._last > _SECONDS_BETWEEN_LINES:
            self._last = now
            print(f"{what}: {self._done[what]:,} rankings", file=sys.stderr, flush=True)
