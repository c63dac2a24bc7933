"""The cells of the closed loop: folders that are finished or not, each made from those that it needs.

What several ways to train share is made once: a seed's answers to the training prompts, their rewards under each reward
model or control, and the pairs that follow from them.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlreward.cli import mpo_stages
from vlreward.data.writing import replacing
from vlreward.policy.loop import LoopRecipe
from vlreward.policy.overoptimisation import COURSE
from vlreward.policy.pairs import build_pairs, write_pairs
from vlreward.policy.prompts import read_scored
from vlreward.policy.trainer import train_policy
from vlreward.policy.watch import WatchSettings
from vlreward.train.saving import MODEL

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "grpo_trl.py"
DONE, PAIRS, SAMPLED = "done.json", "pairs.jsonl", "sampled.jsonl"
MAIN = "reward"
"""The reward whose worth is to be shown; the others are controls."""
REWARDS = (MAIN, "random", "weaker", "oracle")
_SAID = {"sft": (), "dpo": ("beta",), "mpo": ("variant", "beta", "preference", "quality", "generation")}
LOSSES = tuple(_SAID)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Something that is made once."""

    name: str
    """Its folder in that of the matrix."""
    kind: str
    """Cells of one kind take about the same time."""
    needs: tuple[str, ...]
    """The cells that it is made from."""
    make: Callable[[Path], None]
    """Makes it in its folder; called again after an interruption, it goes on or starts again."""


@dataclass(frozen=True, kw_only=True)
class Grpo:
    """How TRL is run."""

    python: Path
    """The interpreter of an environment with TRL and vlreward."""
    learning_rate: float
    prompts_per_step: int


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """What is measured."""

    folder: Path
    recipe: LoopRecipe
    """The loop with the main reward; seeds and controls change it."""
    seeds: tuple[int, ...]
    steps: int
    """Optimizer steps of every training but GRPO's; the pairs are gone through as often as that takes."""
    watch: WatchSettings
    """How the policies that MPO trains are watched."""
    weaker: str | None = None
    """Folder of a worse reward model than the recipe's."""
    grpo: Grpo | None = None

    @property
    def rewards(self) -> tuple[str, ...]:
        """The rewards that there are."""
        return tuple(name for name in REWARDS if name != "weaker" or self.weaker is not None)

    def recipe_of(self, seed: int, reward: str = MAIN, loss: str = "mpo", *, epochs: int = 1) -> LoopRecipe:
        """The loop of a seed: other training prompts, other draws, another order; the held-out prompts stay."""
        world = self.recipe.prompts.in_words()
        checkpoints = {MAIN: self.recipe.reward, "weaker": self.weaker}
        return replace(
            self.recipe,
            reward=checkpoints.get(reward) or reward,
            output=str(self.folder / f"seed-{seed}" / f"{loss}-{reward}"),
            prompts=replace(self.recipe.prompts, world=replace(world, start=world.start + seed * world.items)),
            sampling=replace(self.recipe.sampling, seed=seed),
            train=self.recipe.train | {"objective": self._objective(loss), "max_steps": self.steps, "epochs": epochs},
            watch=self.watch if loss == "mpo" else None,
            seed=seed,
        )

    def _objective(self, loss: str) -> dict[str, Any]:
        """What the recipe says of MPO, as far as it concerns another loss."""
        said = self.recipe.train.get("objective", {})
        return {name: value for name, value in said.items() if name in _SAID[loss]} | {"loss": loss}

    def cells(self) -> list[Cell]:
        """All cells, each behind those that it needs."""
        found = [Cell(name="base", kind="answers", needs=(), make=self._base)]
        for seed in self.seeds:
            found += self._cells(seed)
        return found

    def _cells(self, seed: int) -> Iterator[Cell]:
        place = f"seed-{seed}"
        yield Cell(name=f"{place}/sample", kind="sample", needs=(), make=lambda at: self._sample(at, seed))
        yield Cell(name=f"{place}/choices", kind="choices", needs=(), make=lambda at: self._choices(at, seed))
        for name in self.rewards:
            yield self._scores(seed, name, "judge", "choices")
            yield self._scores(seed, name, "score", "sample")
            yield self._pairs(seed, name)
            for loss in LOSSES if name == MAIN else ("mpo",):
                yield self._training(seed, name, loss)
        if self.grpo is not None:
            name, needs = f"{place}/grpo-{MAIN}", (f"{place}/sample",)
            yield Cell(name=name, kind="grpo", needs=needs, make=lambda at: self._grpo(at, seed))

    # What is asked and scored.

    def _answers(self, place: Path, recipe: LoopRecipe, policy: str) -> None:
        """A policy's greedy answers to the held-out prompts, and their main rewards."""
        self._draw(place, recipe.held_out, recipe, policy, recipe.evaluation)
        rewards = self.recipe_of(recipe.seed)
        mpo_stages.score_answers(rewards, rewards.held_out, place / SAMPLED, place / "rewards.jsonl", quiet=True)

    def _draw(self, place: Path, prompts: Any, recipe: LoopRecipe, policy: str, settings: Any) -> None:
        # In the precision of training: a policy is asked before and after in the same one.
        options = replace(mpo_stages.policy_of(recipe, policy), dtype=recipe.dtype)
        mpo_stages.sample_prompts(prompts, options, settings, place, quiet=True)

    def _base(self, place: Path) -> None:
        self._answers(place, self.recipe_of(self.seeds[0]), self.recipe.policy)

    def _sample(self, place: Path, seed: int) -> None:
        recipe = self.recipe_of(seed)
        self._draw(place, recipe.prompts, recipe, recipe.policy, recipe.sampling)

    def _choices(self, place: Path, seed: int) -> None:
        recipe = self.recipe_of(seed)
        self._draw(place, recipe.held_out, recipe, recipe.policy, recipe.sampling)

    def _scores(self, seed: int, reward: str, what: str, of: str) -> Cell:
        """The rewards of what was sampled: ``score`` of training prompts, ``judge`` of held-out ones."""
        recipe = self.recipe_of(seed, reward)
        prompts = recipe.prompts if of == "sample" else recipe.held_out
        sampled = self.folder / f"seed-{seed}" / of / SAMPLED

        def make(place: Path) -> None:
            mpo_stages.score_answers(recipe, prompts, sampled, place / "rewards.jsonl", quiet=True)

        kind = what if reward in (MAIN, "weaker") else "control"
        return Cell(name=f"seed-{seed}/{what}-{reward}", kind=kind, needs=(f"seed-{seed}/{of}",), make=make)

    def _pairs(self, seed: int, reward: str) -> Cell:
        place = self.folder / f"seed-{seed}"

        def make(at: Path) -> None:
            scored = read_scored(place / "sample" / SAMPLED, place / f"score-{reward}" / "rewards.jsonl")
            built, report = build_pairs(scored, self.recipe.pairs)
            (at / "pairs.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n")
            write_pairs(built, at / PAIRS, overwrite=True)

        needs = (f"seed-{seed}/sample", f"seed-{seed}/score-{reward}")
        return Cell(name=f"seed-{seed}/pairs-{reward}", kind="control", needs=needs, make=make)

    # What is trained.

    def _training(self, seed: int, reward: str, loss: str) -> Cell:
        needs = (f"seed-{seed}/pairs-{reward}",)

        def make(at: Path) -> None:
            pairs = self.folder / needs[0]
            count = int(json.loads((pairs / "pairs.json").read_text())["pairs"])
            batch = int(self.recipe.training().stages[0].batch)
            recipe = self.recipe_of(seed, reward, loss, epochs=math.ceil(self.steps * batch / count))
            training = recipe.training()
            (stage,) = training.stages
            source = replace(stage.data[0], path=str(pairs / PAIRS))
            training = replace(training, stages=(replace(stage, data=(source,)),))
            watch = None
            if recipe.watch is not None:
                watch = recipe.watched_by(mpo_stages.engine_of(recipe, recipe.held_out))
            (outcome,) = train_policy(training, watch=watch, log=lambda _: None)
            self._answers(at, recipe, str(outcome.folder))
            with suppress(FileNotFoundError):
                shutil.copyfile(outcome.folder.parent / COURSE, at / COURSE)
            shutil.rmtree(Path(training.output) / "features", ignore_errors=True)

        return Cell(name=f"seed-{seed}/{loss}-{reward}", kind=loss, needs=needs, make=make)

    def _grpo(self, place: Path, seed: int) -> None:
        """TRL's GRPO on the same prompts, as many answers to each, all of them once."""
        assert self.grpo is not None
        recipe, out = self.recipe_of(seed), place / MODEL
        shutil.rmtree(out, ignore_errors=True)
        values = {
            "policy": recipe.policy,
            "model": recipe.reward,
            "data": self.folder / f"seed-{seed}" / "sample" / "prompts.jsonl",
            "out": out,
            "steps": max(1, recipe.prompts.in_words().items // self.grpo.prompts_per_step),
            "prompts-per-step": self.grpo.prompts_per_step,
            "answers": recipe.sampling.answers,
            "answer-tokens": recipe.sampling.max_tokens,
            "learning-rate": self.grpo.learning_rate,
            "seed": seed,
        }
        command = [str(self.grpo.python), str(EXAMPLE)]
        command += [word for name, value in values.items() for word in (f"--{name}", str(value))]
        source = str(EXAMPLE.parents[1] / "src")
        with (place / "log.txt").open("w") as log:
            done = subprocess.run(command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": source}, check=False)
        if done.returncode:
            raise SystemExit(f"{place / 'log.txt'}: TRL has failed:\n{_last_lines(place / 'log.txt')}")
        self._answers(place, recipe, str(out))


def _last_lines(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-8:])


def rows_of(cells: Sequence[Cell], only: Sequence[str] | None) -> list[Cell]:
    """The cells whose last name is asked for, with those that they need; all of them where nothing is.

    Raises:
        SystemExit: there is no such cell.
    """
    if not only:
        return list(cells)
    by_name = {cell.name: cell for cell in cells}
    last = {cell.name.rpartition("/")[2] for cell in cells}
    for name in only:
        if name not in last:
            raise SystemExit(f"--only {name}: not in this matrix; it has {', '.join(sorted(last))}")
    wanted = {"base"}
    pending = [cell.name for cell in cells if cell.name.rpartition("/")[2] in only]
    while pending:
        name = pending.pop()
        wanted.add(name)
        pending += by_name[name].needs
    return [cell for cell in cells if cell.name in wanted]


def done_in(folder: Path, cell: Cell) -> float | None:
    """How many seconds a finished cell took; None: it is not finished."""
    path = folder / cell.name / DONE
    return float(json.loads(path.read_text())["seconds"]) if path.is_file() else None


def make_all(folder: Path, cells: Sequence[Cell], rates: Mapping[str, float], say: Callable[[str], None]) -> None:
    """Make the cells that are not finished, one after the other.

    Args:
        folder: of the matrix.
        cells: each behind those that it needs.
        rates: seconds that a cell of each kind is expected to take, until one has been made.
        say: told how far it is.
    """
    missing = [cell for cell in cells if done_in(folder, cell) is None]
    for number, cell in enumerate(missing):
        left = time_left(folder, cells, rates)
        say(f"[{len(cells) - len(missing) + number + 1}/{len(cells)}] {cell.name}; about {left / 60:.0f} min left")
        place = folder / cell.name
        place.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        cell.make(place)
        seconds = time.monotonic() - began
        with replacing(place / DONE) as part:
            part.write_text(json.dumps({"seconds": round(seconds, 1)}) + "\n")


def time_left(folder: Path, cells: Sequence[Cell], rates: Mapping[str, float]) -> float:
    """Seconds that the unfinished cells will take: the mean of the finished ones of their kind, else the rates."""
    seconds: dict[str, list[float]] = {}
    missing = []
    for cell in cells:
        took = done_in(folder, cell)
        if took is None:
            missing.append(cell.kind)
        else:
            seconds.setdefault(cell.kind, []).append(took)
    means = dict(rates) | {kind: sum(values) / len(values) for kind, values in seconds.items()}
    return sum(means.get(kind, 0.0) for kind in missing)
