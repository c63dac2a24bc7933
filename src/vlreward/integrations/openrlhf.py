"""OpenRLHF: a ``reward_func`` for a file of your own, where pictures are wanted.

Without pictures OpenRLHF asks the server itself: ``--reward.remote_url http://127.0.0.1:8080/get_reward``. It sends no
pictures there: with pictures, ``--reward.remote_url`` names a file with a ``reward_func``, and ``--data.label_key``
a column that says the prompt and its pictures, see `vlreward.integrations.labels`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlreward.engines.base import Engine
from vlreward.errors import InputError
from vlreward.types import parse_response

from .labels import Label, read_label, read_prompts
from .samples import Combine, Sample, Scorer

_AFTER_PICTURE = "<|vision_end|>"
_ENDS = ("<|im_end|>", "<|endoftext|>")


class OpenRLHFReward:
    """A ``reward_func`` of OpenRLHF.

    Args:
        engine: gives the rewards.
        prompts: a file of prompts by id, see `vlreward.integrations.labels.read_prompts`; None: every label says its
            prompt itself.
        combine: what becomes of a reward, as `vlreward.policy.rewards.RuleSum` and `MatchFirst`.
        ends: texts of the tokens that end an answer.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        prompts: str | None = None,
        combine: Combine | None = None,
        ends: Sequence[str] = _ENDS,
    ) -> None:
        self.scorer = Scorer(engine, combine=combine)
        self.prompts: Mapping[str, Label] = {} if prompts is None else read_prompts(prompts)
        self.ends = tuple(ends)

    def __call__(self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
        """``rewards`` and ``scores`` as tensors (N), and no ``extra_logs``.

        Args:
            queries: prompts and answers, as the policy's tokens read.
            prompts: the texts before the answers.
            labels: say the prompts and answer keys.

        Raises:
            InputError: a label does not say its prompt, or a query does not start with its prompt.
            VLRewardError: as `vlreward.engines.base.Engine.score`.
        """
        import torch

        rows = enumerate(zip(queries, prompts, labels, strict=True))
        samples = [self._sample(query, prompt, label, f"labels[{i}]") for i, (query, prompt, label) in rows]
        rewards = torch.tensor(self.scorer(samples), dtype=torch.float32)
        return {"rewards": rewards, "scores": rewards, "extra_logs": {}}

    def _sample(self, query: str, prompt: str, label: str, where: str) -> Sample:
        said = read_label(label, self.prompts, where)
        answer = _behind(query, prompt, where)
        for end in self.ends:
            answer = answer.partition(end)[0]
        return Sample(prompt=said.prompt, response=parse_response(answer, where), answer=said.answer)


def _behind(query: str, prompt: str, where: str) -> str:
    """What follows the prompt. A query holds as many tokens of a picture as it has, where the prompt holds one."""
    pictures = prompt.count(_AFTER_PICTURE)
    tail = prompt.rpartition(_AFTER_PICTURE)[2]
    rest = query.split(_AFTER_PICTURE, pictures)[-1]
    if not rest.startswith(tail):
        raise InputError(
            f"{where}: the query does not start with its prompt, so that the answer cannot be told from it"
        )
    return rest[len(tail) :]
