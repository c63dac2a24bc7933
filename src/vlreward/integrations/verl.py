"""verl: the reward of one answer, for ``reward.custom_reward_function``.

verl's reward loop hands over the prompt with its pictures (``raw_prompt``) beside the data set's ``extra_info`` while
answers come in. `vlreward.integrations.verl_manager` makes sure of it, also where batches are scored later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlreward.engines.base import Engine
from vlreward.errors import InputError
from vlreward.types import parse_response

from .opening import open_engine
from .samples import Combine, Sample, Scorer, prompt_of

_PROMPTS = ("raw_prompt", "prompt", "question")


class VerlReward:
    """A ``compute_score`` of verl.

    verl calls it for one answer at a time, from several threads: a server puts what waits together.

    Args:
        engine: gives the rewards.
        combine: what becomes of a reward, as `vlreward.policy.rewards.RuleSum` and `MatchFirst`; the answer key is
            verl's ground truth.
    """

    def __init__(self, engine: Engine, *, combine: Combine | None = None) -> None:
        self.scorer = Scorer(engine, combine=combine)

    def __call__(
        self,
        data_source: str,
        solution_str: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> dict[str, Any]:
        """``{"score": reward}``.

        Args:
            data_source: verl's name of the data set, for errors.
            solution_str: the answer.
            ground_truth: the answer key.
            extra_info: holds the prompt as ``raw_prompt``, ``prompt`` or ``question``: messages, or text. Pictures and
                videos that are not in it yet are those of ``images`` and ``videos``.
            others: what else verl hands over; not needed.

        Raises:
            InputError: there is no prompt.
            VLRewardError: as `vlreward.engines.base.Engine.score`.
        """
        del others
        info = extra_info or {}
        asked = next((info[name] for name in _PROMPTS if info.get(name) is not None), None)
        if asked is None:
            raise InputError(
                f"{data_source}: extra_info has none of {', '.join(_PROMPTS)}, so nothing says what was asked; use the "
                "reward manager of vlreward.integrations.verl_manager, or put the prompt into the data set's extra_info"
            )
        media = {name: info.get(name) for name in ("images", "videos")}
        prompt = prompt_of(asked, **media, marks=True, where=data_source)
        sample = Sample(prompt=prompt, response=parse_response(solution_str, data_source), answer=ground_truth)
        return {"score": self.scorer([sample])[0]}


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    **engine: Any,
) -> dict[str, Any]:
    """`VerlReward` for those who only configure.

    Args:
        data_source, solution_str, ground_truth, extra_info: as verl gives them.
        reward_router_address, reward_model_tokenizer: of verl's own reward model; not needed.
        engine: ``custom_reward_function.reward_kwargs``: as `vlreward.integrations.opening.open_engine`.
    """
    del reward_router_address, reward_model_tokenizer
    return VerlReward(open_engine(**engine))(data_source, solution_str, ground_truth, extra_info)
