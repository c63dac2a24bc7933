"""EasyR1: a reward function of both kinds, batch and sequential.

EasyR1 hands over the response and the data set's answer column, nothing else: that column then says the prompt and its
pictures too, see `vlreward.integrations.labels`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, overload

from vlreward.engines.base import Engine
from vlreward.types import parse_response

from .labels import Label, read_label, read_prompts
from .opening import open_engine
from .samples import Combine, Sample, Scorer


class EasyR1Reward:
    """A function for ``worker.reward.reward_function``; ``reward_type=batch`` scores a step in one call of the engine.

    Args:
        engine: gives the rewards.
        prompts: a file of prompts by id, see `vlreward.integrations.labels.read_prompts`; None: every answer column
            says its prompt itself.
        combine: what becomes of a reward, as `vlreward.policy.rewards.RuleSum` and `MatchFirst`.
    """

    def __init__(self, engine: Engine, *, prompts: str | None = None, combine: Combine | None = None) -> None:
        self.scorer = Scorer(engine, combine=combine)
        self.prompts: Mapping[str, Label] = {} if prompts is None else _prompts(prompts)

    @overload
    def __call__(self, reward_inputs: Mapping[str, Any]) -> dict[str, float]: ...

    @overload
    def __call__(self, reward_inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]: ...

    def __call__(self, reward_inputs: Any) -> Any:
        """``{"overall": reward}`` for each input, or for the one that is given.

        Raises:
            InputError: a ``ground_truth`` does not say its prompt.
            VLRewardError: as `vlreward.engines.base.Engine.score`.
        """
        if isinstance(reward_inputs, Mapping):
            return self([reward_inputs])[0]
        samples = [self._sample(item, f"reward_inputs[{i}]") for i, item in enumerate(reward_inputs)]
        return [{"overall": reward} for reward in self.scorer(samples)]

    def _sample(self, item: Mapping[str, Any], where: str) -> Sample:
        label = read_label(item["ground_truth"], self.prompts, f"{where}: ground_truth")
        return Sample(prompt=label.prompt, response=parse_response(item["response"], where), answer=label.answer)


def compute_score(reward_inputs: Any, *, prompts: str | None = None, **engine: Any) -> Any:
    """`EasyR1Reward` for those who only configure.

    Args:
        reward_inputs: as EasyR1 gives them.
        prompts: as in `EasyR1Reward`.
        engine: ``reward_function_kwargs``: as `vlreward.integrations.opening.open_engine`.
    """
    return EasyR1Reward(open_engine(**engine), prompts=prompts)(reward_inputs)


_prompts = functools.cache(read_prompts)
