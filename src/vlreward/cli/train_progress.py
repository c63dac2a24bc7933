"""What the verb sees of Trainer; apart from it, because this imports transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from vlreward.data.writing import replacing
from vlreward.train.config import plain
from vlreward.train.evaluation import Evaluation
from vlreward.train.saving import written

from .fingerprint import versions
from .progress import Progress
from .train_evaluation import Evaluator


class StepProgress(TrainerCallback):  # type: ignore[misc]
    """Tells the display of each step; every stage starts again."""

    def __init__(self, display: Progress) -> None:
        self._display = display

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A stage begins, or goes on."""
        del control
        self._display.line(f"{Path(args.output_dir).name}: {state.max_steps:,} steps")
        self._display.start(state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One more."""
        del args, state, control
        self._display.advance(1)


class EvaluationFiles(TrainerCallback):  # type: ignore[misc]
    """Writes all that an evaluation found beside the checkpoint of its step: ``evaluation-500.json``."""

    def __init__(self, evaluation: Evaluation, evaluator: Evaluator) -> None:
        self._evaluation, self._evaluator = evaluation, evaluator

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Where a run goes on, the model as it was at the start has been seen."""
        del control
        if state.global_step:
            args.eval_on_start = False

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **_: Any) -> None:
        """An evaluation is over; every process has its figures, and one writes them.

        Raises:
            CheckpointError: the file could not be written.
        """
        del control
        if not args.should_save:
            return
        place = Path(args.output_dir)
        path = place / f"evaluation-{state.global_step}.json"
        values = {
            "stage": place.name,
            "step": state.global_step,
            "steps": state.max_steps,
            "figures": dict(metrics),
            **self._evaluator.found,
            "evaluation": plain(self._evaluation),
            "versions": versions(),
        }
        place.mkdir(parents=True, exist_ok=True)
        with written(path, place), replacing(path) as part:
            part.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
