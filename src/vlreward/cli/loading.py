"""From model options to a loaded model, quietly."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from .options import ModelOptions

if TYPE_CHECKING:
    from vlreward.model.head import Question
    from vlreward.model.reward_model import RewardModel


def load_model(options: ModelOptions) -> RewardModel:
    """Load the model that the options name; on a terminal a line on stderr says so while it takes.

    A server is as good: what the verbs use of a model is what `ServedModel` has.

    Raises:
        CheckpointError: as `RewardModel.from_pretrained`.
    """
    if options.engine is not None:
        from .served import ServedModel

        return cast("RewardModel", ServedModel(options.engine))
    with status(f"Loading {options.model} …"):
        from vlreward.data.limits import MediaLimits
        from vlreward.model.reward_model import RewardModel

        return RewardModel.from_pretrained(
            options.model,
            dtype=options.dtype,
            device=options.device,
            min_pixels=options.min_pixels,
            max_pixels=options.max_pixels,
            revision=options.revision,
            local_files_only=options.offline,
            question=question_of(options),
            media_limits=MediaLimits(allow_urls=options.allow_urls),
            pack_tokens=options.pack_tokens,
        )


def question_of(options: ModelOptions) -> Question | None:
    """The question of a token-logit head, if any part of it is said; the rest are its defaults."""
    said: dict[str, Any] = {"template": options.question, "positive": options.positive, "negative": options.negative}
    said = {name: value for name, value in said.items() if value is not None}
    if not said:
        return None
    from vlreward.model.head import Question

    return Question(**said)


@contextmanager
def status(message: str) -> Iterator[None]:
    """A line on a terminal's stderr for as long as something takes."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(message):
        yield
