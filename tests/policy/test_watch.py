"""A policy that is looked at while it is trained, by a reward that parts from the truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from tests.train.conftest import image_part, user
from tests.train.test_trainer import weights
from vlreward import Group
from vlreward.policy.language_model import language_model
from vlreward.policy.local_sampler import LocalSampler
from vlreward.policy.overoptimisation import COURSE
from vlreward.policy.recipe import PolicyRecipe
from vlreward.policy.sampling import Prompt, SamplingSettings
from vlreward.policy.trainer import train_policy
from vlreward.policy.watch import Watch
from vlreward.train.run import Outcome, build_module, load_start
from vlreward.types import Reward

from .test_trainer import make  # noqa: F401 - a fixture

Make = Callable[..., PolicyRecipe]
LOOKS = {"eval_strategy": "steps", "eval_steps": 1, "eval_on_start": True, "save_steps": 1}
PARTED = 4
"""The step of the second evaluation in a row at which no answer is right, after one in which all are."""


class Clock(TrainerCallback):
    """Knows the step, and may end the run at one as a kill would."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.step, self._stop_at = 0, stop_at

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step = state.global_step
        if self.step == self._stop_at:
            raise KeyboardInterrupt


class Flattered:
    """An engine whose rewards rise with the steps, and gold that says wrong from the third step on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.looks: list[int] = []

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        self.looks.append(self._clock.step)
        return [Reward(id=group.id, rewards=(float(self._clock.step),) * len(group)) for group in groups]

    def close(self) -> None:
        """Nothing to free."""

    def right(self, group: Group) -> tuple[bool, ...]:
        return (self._clock.step < PARTED - 1,) * len(group)


def watched(recipe: PolicyRecipe, *, stops: bool, stop_at: int | None = None) -> tuple[Outcome, list[int], list[Any]]:
    """Train; what came of it, the steps at which the policy was looked at, and what was kept of it."""
    clock = Clock(stop_at)
    judge = Flattered(clock)
    watch = Watch(
        prompts=[Prompt.of(Group(user(f"Question {i}?", image_part(i)), [""], id=f"q{i}")) for i in range(5)],
        sampling=SamplingSettings(max_tokens=3),
        engine=judge,
        gold=judge,
        stops=stops,
    )
    (outcome,) = train_policy(recipe, watch=watch, callbacks=[clock])
    return outcome, judge.looks, json.loads((outcome.folder.parent / COURSE).read_text())


@pytest.fixture
def recipe(make: Make) -> Callable[..., PolicyRecipe]:  # noqa: F811 - the fixture of that name
    def made(output: str, **trainer: Any) -> PolicyRecipe:
        settings = {"use_cpu": True, "logging_steps": 1, "disable_tqdm": True}
        return make(output, stage={"epochs": 3}, trainer=settings | LOOKS | trainer)  # six steps

    return made


def test_it_stops_where_reward_and_truth_part(
    recipe: Callable[..., PolicyRecipe], caplog: pytest.LogCaptureFixture
) -> None:
    outcome, looks, course = watched(recipe("out"), stops=True)
    assert outcome.steps == PARTED
    assert looks == [0, 1, 2, 3, 4]
    assert [point["accuracy"] for point in course] == [1, 1, 1, 0, 0]
    assert [point["reward"] for point in course] == [0, 1, 2, 3, 4]
    assert course[0]["prompts"] == 5
    assert course[0]["length"] > 0
    said = [record.message for record in caplog.records if "over-optimised" in record.message]
    (message,) = said
    assert message.startswith("step 4: the reward is above that of step 0 (+4.000, then +0.000)")
    assert message.endswith("training stops here")


def test_a_run_that_was_killed_stops_where_one_does_that_was_not(recipe: Callable[..., PolicyRecipe]) -> None:
    whole, _, expected = watched(recipe("whole"), stops=True)
    with pytest.raises(KeyboardInterrupt):
        watched(recipe("killed"), stops=True, stop_at=3)  # the checkpoint is of step 2
    resumed, looks, course = watched(recipe("killed"), stops=True)
    assert looks == [3, 4]
    assert course == expected
    before, after = weights(whole), weights(resumed)
    assert all(torch.equal(before[name], after[name]) for name in before)
    # Killed again, after it had stopped and before the finished policy was written.
    resumed.folder.rename(resumed.folder.parent / "gone")
    again, looks, _ = watched(recipe("killed"), stops=True)
    assert looks == []
    assert again.steps == PARTED
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(again).items())


def test_a_look_changes_nothing(recipe: Callable[..., PolicyRecipe], caplog: pytest.LogCaptureFixture) -> None:
    seen, looks, _ = watched(recipe("seen", eval_steps=4), stops=False)
    assert looks == [0, 4, 6]  # the last one behind the last step
    assert "over-optimised" in caplog.text
    assert "stops here" not in caplog.text
    (alone,) = train_policy(recipe("alone", eval_strategy="no", eval_on_start=False))
    before, after = weights(seen), weights(alone)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen3_vl"])
def test_a_policy_in_training_writes_what_its_checkpoint_writes(
    make: Make,  # noqa: F811
    checkpoint: Callable[..., Path],
    backbone: str,
) -> None:
    folder = checkpoint(backbone, form="none")
    prompts = [Prompt.of(Group(user("What is it?", image_part(1)), ["?"])), Prompt.of(Group(user("Say it."), ["?"]))]
    settings = SamplingSettings(answers=1, temperature=0.0, max_tokens=8)
    expected = LocalSampler.from_pretrained(folder, dtype="float32", device="cpu").sample(prompts, settings)
    recipe = make(model=str(folder))
    model, source = load_start(recipe, recipe.stages[0], folder, torch.device("cpu"), first=True)
    module = build_module(recipe, recipe.stages[0], model, source)
    assert module.lm_head is not None
    writer = language_model(model, module.lm_head.weight, source.path)
    found = LocalSampler(writer, model).sample(prompts, settings)
    assert [item.group.responses for item in found] == [item.group.responses for item in expected]
    tied = language_model(model, None, source.path)
    assert tied.lm_head.weight is model.backbone.model.get_input_embeddings().weight
