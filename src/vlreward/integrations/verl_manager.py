"""verl: a reward manager that hands the prompt and its pictures to ``compute_score``. Needs verl.

``reward.reward_manager.source=importlib``, ``.module.path=pkg://vlreward.integrations.verl_manager`` and
``.name=VLRewardManager``. Where this module has been imported before, ``.name=vlreward`` alone finds it too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from verl import DataProto  # type: ignore[import-not-found]
from verl.experimental.reward_loop.reward_manager import NaiveRewardManager, register  # type: ignore[import-not-found]

from vlreward.errors import ConfigError, InputError

_MEDIA = ("images", "videos")


@register("vlreward")
class VLRewardManager(NaiveRewardManager):  # type: ignore[misc]
    """verl's own manager, except that ``extra_info`` says the prompt of the batch, with its pictures.

    Which engine scores is what ``reward.custom_reward_function`` says: `vlreward.integrations.verl.compute_score` with
    its ``reward_kwargs``, or a function of your own.
    """

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, *others: Any, **options: Any) -> None:
        custom = config.reward.get("custom_reward_function") or {}
        if not custom.get("path"):
            raise ConfigError(
                "the reward manager vlreward needs reward.custom_reward_function.path, such as "
                "pkg://vlreward.integrations.verl with reward_kwargs that name a server"
            )
        super().__init__(config, tokenizer, compute_score, *others, **options)

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """The reward of the last sample of ``data``: ``reward_score`` and ``reward_extra_info``."""
        last = data[-1:]
        beside = {**last.non_tensor_batch, "extra_info": np.empty(1, dtype=object)}
        # One dictionary is shared by all answers to a prompt, so it is copied.
        beside["extra_info"][0] = _with_prompt(last[0].non_tensor_batch)
        return dict(await super().run_single(DataProto(last.batch, beside, last.meta_info)))


def _with_prompt(item: dict[str, Any]) -> dict[str, Any]:
    asked = item.get("raw_prompt")
    if asked is None:
        raise InputError("the batch has no raw_prompt; set data.return_raw_chat=true")
    info = dict(item.get("extra_info") or {}) | {"raw_prompt": list(asked)}
    media = item.get("multi_modal_data") or {}
    return info | {name: media[name] for name in _MEDIA if media.get(name)}
