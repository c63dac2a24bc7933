"""TRL: a reward function for `GRPOTrainer`, and for the trainers that call reward functions as it does.

TRL shows pictures to reward functions only: a reward *module* gets the text of a conversation and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vlreward.data.content import text_of
from vlreward.engines.base import Engine
from vlreward.errors import ConfigError, InputError
from vlreward.types import parse_response

from .samples import Combine, Sample, Scorer, prompt_of

_TEMPLATE_MARK = "<|im_start|>"


class GRPOReward:
    """Rewards of a whole step's completions, from one call of an engine.

    Args:
        engine: gives the rewards.
        combine: what becomes of a reward, as `vlreward.policy.rewards.RuleSum` and `MatchFirst`.
        answer: the data set's column of answer keys, for ``combine``; None: there is none.
        skip_unscorable: a completion that cannot be scored (too long, for one) gets None, which TRL leaves out;
            otherwise it is an error that ends training.
        name: what TRL calls it in its logs.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        combine: Combine | None = None,
        answer: str | None = None,
        skip_unscorable: bool = False,
        name: str = "vlreward",
    ) -> None:
        self.scorer = Scorer(engine, combine=combine, skip_unscorable=skip_unscorable)
        self.answer = answer
        self.__name__ = name

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """One reward per completion.

        Args:
            prompts: lists of messages, or texts, which stand for one user message each.
            completions: lists of messages, or texts.
            columns: what else TRL hands over. Pictures are taken from ``images`` (lists) or ``image`` where the prompts
                do not hold them yet.

        Raises:
            InputError: a prompt is a text that a chat template has been applied to; the pictures are not as many as the
                places for them; there is no such column.
            VLRewardError: as `vlreward.engines.base.Engine.score`.
        """
        count = len(prompts)
        images = _images(columns, count)
        answers = [None] * count if self.answer is None else _column(columns, self.answer)
        rows = zip(prompts, completions, images, answers, strict=True)
        return self.scorer([_sample(*row, f"prompts[{i}]") for i, row in enumerate(rows)])


def _images(columns: dict[str, Any], count: int) -> Sequence[Any]:
    if columns.get("images") is not None:
        return list(columns["images"])
    return [None if image is None else [image] for image in columns.get("image") or [None] * count]


def _column(columns: dict[str, Any], name: str) -> Sequence[Any]:
    if name not in columns:
        raise InputError(f"the data set has no column {name!r}; it has: {', '.join(sorted(columns))}")
    return list(columns[name])


def _sample(prompt: Any, completion: Any, images: Any, answer: Any, where: str) -> Sample:
    if isinstance(prompt, str) and _TEMPLATE_MARK in prompt:
        raise InputError(
            f"{where}: a chat template has been applied to it; give TRL the messages, it applies the template"
        )
    messages = prompt_of(prompt, images=images, marks=False, where=where)
    return Sample(prompt=messages, response=parse_response(completion, f"completions of {where}"), answer=answer)


def rule(
    check: Callable[..., float], *, answer: str | None = None, name: str | None = None
) -> Callable[..., list[float | None]]:
    """A reward function for TRL of a rule, so that TRL weighs it (``reward_weights``) and logs it by itself.

    Args:
        check: takes the text of a completion, and the answer key where ``answer`` is given, as the rules of
            `vlreward.policy.rewards` do.
        answer: the data set's column of answer keys; a row without one gets None, which TRL leaves out.
        name: what TRL calls it in its logs; None: the check's name.

    Raises:
        ConfigError: the check has no name of its own.
    """
    label = name or getattr(check, "__name__", None)
    if not isinstance(label, str):
        raise ConfigError(f"{check!r:.60} has no __name__; give a name")

    def reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        texts = [text_of(parse_response(item, f"completions[{i}]")) for i, item in enumerate(completions)]
        if answer is None:
            return [check(text) for text in texts]
        keys = _column(columns, answer)
        return [None if key is None else check(text, key) for text, key in zip(texts, keys, strict=True)]

    reward.__name__ = label
    return reward
