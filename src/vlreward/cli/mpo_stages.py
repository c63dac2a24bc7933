"""The stages of ``vlreward mpo``, each of which goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import loading, policy_options
from .options import ModelOptions

if TYPE_CHECKING:
    from vlreward.engines.base import Engine
    from vlreward.policy.loop import LoopRecipe, Prompts
    from vlreward.policy.pairs import ScoredGroup
    from vlreward.policy.sampling import SamplingSettings
    from vlreward.types import Group

    from .compute import Row

PAIRS, BLIND, REPORT, PAGE = "pairs.json", "blind.jsonl", "report.json", "report.html"


def sample(recipe: LoopRecipe, place: Path, *, quiet: bool) -> None:
    """Answers of the policy to the prompts."""
    options = policy_of(recipe, recipe.policy, recipe.revision)
    sample_prompts(recipe.prompts, options, recipe.sampling, place, quiet=quiet)


def score(recipe: LoopRecipe, place: Path, *, quiet: bool) -> None:
    """Their rewards."""
    sampled = recipe.place("sample") / "sampled.jsonl"
    score_answers(recipe, recipe.prompts, sampled, place / "rewards.jsonl", quiet=quiet)


def pairs(recipe: LoopRecipe, place: Path, *, quiet: bool) -> None:
    """Pairs of them, and what became of the prompts."""
    from vlreward.data.writing import replacing
    from vlreward.policy.pairs import build_pairs, write_pairs
    from vlreward.policy.prompts import read_continued

    scored, blind = _scored(recipe), None
    if recipe.pairs.blind is not None:
        _continue_blind(recipe, scored, place / BLIND, quiet=quiet)
        blind = read_continued(place / BLIND)
    built, report = build_pairs(scored(), recipe.pairs, blind)
    # First, so that it can be read where no pair is left.
    with replacing(place / PAIRS) as part:
        part.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    write_pairs(built, place / "pairs.jsonl", overwrite=True)


def _scored(recipe: LoopRecipe) -> Callable[[], Iterator[ScoredGroup]]:
    """Reads the scored answers from the start; whether they are right is said where the recipe lets that count."""
    from vlreward.policy.prompts import read_scored

    gold = recipe.prompts.gold() if recipe.correctness else None
    judge = None if gold is None else gold.right
    sampled, rewards = recipe.place("sample") / "sampled.jsonl", recipe.place("score") / "rewards.jsonl"
    return lambda: (item.judged(judge) for item in read_scored(sampled, rewards))


def _continue_blind(
    recipe: LoopRecipe, scored: Callable[[], Iterator[ScoredGroup]], output: Path, *, quiet: bool
) -> None:
    """The best answers, cut and gone on with without the pictures; run again, it goes on."""
    from .progress import Progress
    from .sample import blind_run

    assert recipe.pairs.blind is not None
    options = policy_of(recipe, recipe.policy, recipe.revision)
    settings = replace(recipe.sampling, answers=1)
    source = recipe.place("sample") / "sampled.jsonl"
    run = blind_run(scored, source, output, options, settings, recipe.pairs.blind)
    with Progress("going on blindly", "answers", quiet=quiet) as progress:
        run.run(progress)


def train(recipe: LoopRecipe, place: Path, *, quiet: bool) -> None:
    """The policy, by the pairs."""
    from vlreward.policy.trainer import train_policy

    from .progress import Progress
    from .train import DataProgress
    from .train_progress import StepProgress

    del place
    watch = None if recipe.watch is None else recipe.watched_by(engine_of(recipe, recipe.held_out))
    with Progress("training", "steps", quiet=quiet) as display:

        def log(figures: dict[str, float]) -> None:
            rest = "  ".join(f"{name} {value:.4g}" for name, value in figures.items() if name != "step")
            display.line(f"step {int(figures['step'])}: {rest}")

        told = {"progress": DataProgress(), "log": log, "callbacks": [StepProgress(display)]}
        train_policy(recipe.training(), watch=watch, **told)


def evaluate(recipe: LoopRecipe, place: Path, *, quiet: bool) -> None:
    """What the policy answers to held-out prompts, before, along the way and after, and the report."""
    from vlreward.data.writing import replacing
    from vlreward.policy.overoptimisation import COURSE, read_course

    from .mpo_page import page
    from .mpo_report import measure, report_of

    gold, measured = recipe.held_out.gold(), []
    for step, options in _policies(recipe):
        folder = place / f"step-{step}"
        folder.mkdir(exist_ok=True)
        sample_prompts(recipe.held_out, options, recipe.evaluation, folder, quiet=quiet)
        sampled, rewards = folder / "sampled.jsonl", folder / "rewards.jsonl"
        score_answers(recipe, recipe.held_out, sampled, rewards, quiet=quiet)
        measured.append(measure(step, options.policy, sampled, rewards, gold))
    said = json.loads((recipe.place("pairs") / PAIRS).read_text(encoding="utf-8"))
    watched = read_course(_folder(recipe) / COURSE)
    report = report_of(measured, pairs=said, training=_trained(recipe), watched=watched, recipe=recipe)
    with replacing(place / REPORT) as part:
        part.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    ends = (place / f"step-{measured[0].step}", place / f"step-{measured[-1].step}")
    with replacing(place / PAGE) as part:
        part.write_text(page(report, *ends, gold), encoding="utf-8")


def policy_of(recipe: LoopRecipe, policy: str, revision: str | None = None) -> policy_options.PolicyOptions:
    """How a policy of the loop, the one to improve or one that came of it, is loaded."""
    return policy_options.PolicyOptions(
        policy=policy, revision=revision, min_pixels=recipe.min_pixels, max_pixels=recipe.max_pixels
    )


def _folder(recipe: LoopRecipe) -> Path:
    from vlreward.policy.loop import TRAINED

    return recipe.place("train") / f"stage-1-{TRAINED}"


def _trained(recipe: LoopRecipe) -> dict[str, Any]:
    """What the stage of training came to."""
    from vlreward.train.run import FIGURES
    from vlreward.train.saving import MODEL

    found: dict[str, Any] = json.loads((_folder(recipe) / MODEL / FIGURES).read_text(encoding="utf-8"))
    return found


def _policies(recipe: LoopRecipe) -> Iterator[tuple[int, policy_options.PolicyOptions]]:
    """The policy as it was, at each checkpoint that holds a whole model, and finished, with their steps."""
    from vlreward.train.saving import MODEL, checkpoints

    last = int(_trained(recipe)["steps"])
    yield 0, policy_of(recipe, recipe.policy, recipe.revision)
    for path in checkpoints(_folder(recipe)):
        step = int(path.name.rpartition("-")[2])
        if step < last and (path / MODEL).is_dir():
            yield step, policy_of(recipe, str(path / MODEL))
    yield last, policy_of(recipe, str(_folder(recipe) / MODEL))


def sample_prompts(
    prompts: Prompts, options: policy_options.PolicyOptions, settings: SamplingSettings, place: Path, *, quiet: bool
) -> None:
    """Answers to prompts, in ``sampled.jsonl``; run again, it goes on."""
    from .progress import Progress
    from .sample import sampling_run

    source = _prompts_file(prompts, place / "prompts.jsonl")
    run = sampling_run(source, place / "sampled.jsonl", options, settings)
    with Progress("sampling", "prompts", quiet=quiet) as progress:
        run.run(progress)


def _prompts_file(prompts: Prompts, path: Path) -> Path:
    """The prompts as a file; those of a world are written to ``path``."""
    from vlreward.data.writing import write_groups

    if prompts.path is not None:
        return Path(prompts.path)
    if not path.is_file():  # it appears when it is complete
        write_groups(path, prompts.groups())
    return path


def score_answers(recipe: LoopRecipe, prompts: Prompts, sampled: Path, output: Path, *, quiet: bool) -> None:
    """The rewards of answers to prompts, as ``vlreward score`` writes them; run again, it goes on."""
    from vlreward.data.groups import scan_groups
    from vlreward.policy.loop import CONTROLS

    from .file_run import FileRun
    from .fingerprint import asked_of_model, versions
    from .progress import Progress

    options = _reward_options(recipe)
    is_control = recipe.reward in CONTROLS
    run = FileRun(
        source=sampled,
        output=output,
        config={
            "verb": "score",
            **({"control": recipe.reward, "seed": recipe.seed} if is_control else asked_of_model(options)),
            "versions": versions(),
        },
        about={"input": str(sampled), "model": recipe.reward},
        read=lambda: scan_groups(sampled),
        load=lambda: _Control(engine_of(recipe, prompts)) if is_control else _Scoring(options),
    )
    with Progress(quiet=quiet) as progress:
        run.run(progress)


def _reward_options(recipe: LoopRecipe) -> ModelOptions:
    return ModelOptions(model=recipe.reward, revision=recipe.reward_revision)


def engine_of(recipe: LoopRecipe, prompts: Prompts) -> Engine:
    """What rewards answers to prompts: the reward model, or what stands in its place."""
    from vlreward.engines.local import LocalEngine
    from vlreward.policy.controls import OracleReward, RandomReward

    if recipe.reward == "random":
        return RandomReward(recipe.seed)
    if recipe.reward != "oracle":
        return LocalEngine(loading.load_model(_reward_options(recipe)))
    gold = prompts.gold()
    assert gold is not None
    return OracleReward(gold)


class _Scoring:
    """A reward model, as `FileRun` wants it."""

    def __init__(self, options: ModelOptions) -> None:
        from .fingerprint import resolved_settings

        self._model = loading.load_model(options)
        self.resolved: Mapping[str, Any] = resolved_settings(self._model)

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        from .score import rows

        return rows(self._model, groups)


class _Control:
    """Rewards without a reward model, as `FileRun` wants them."""

    resolved: Mapping[str, Any] = {}

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def rows(self, groups: Sequence[Group]) -> list[Row]:
        return [{"id": reward.id, "rewards": list(reward.rewards)} for reward in self._engine.score(groups)]


def settings_of(recipe: LoopRecipe) -> dict[str, Any]:
    """What a report says of its recipe."""
    names = ("policy", "revision", "reward", "reward_revision", "correctness", "seed")
    said = {name: getattr(recipe, name) for name in names}
    watch = None if recipe.watch is None else asdict(recipe.watch)
    return said | {"objective": asdict(recipe.training().stages[0].objective), "watch": watch}
