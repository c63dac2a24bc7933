"""ms-swift: a reward function and a reward-model plugin for its GRPO.

A file of your own, named with ``--external_plugins``, calls `register`; then ``--reward_funcs vlreward``, or
``--reward_model FOLDER --reward_model_plugin vlreward``, use them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from vlreward.engines.base import Engine
from vlreward.errors import InputError
from vlreward.types import parse_response

from .opening import open_engine
from .samples import Combine, Sample, Scorer, prompt_of

_ROLES = {"tool_response": "tool"}


class SwiftReward:
    """A reward function: ms-swift makes one from what `register` put into its ``orms``.

    Args:
        args: ms-swift's arguments, which are not needed.
        engine: gives the rewards.
        combine: what becomes of a reward, as `vlreward.policy.rewards.RuleSum` and `MatchFirst`.
        answer: the data set's column of answer keys, for ``combine``.
        skip_unscorable: a completion that cannot be scored gets None, which ms-swift leaves out.
    """

    def __init__(
        self,
        args: Any = None,
        *,
        engine: Engine,
        combine: Combine | None = None,
        answer: str | None = None,
        skip_unscorable: bool = False,
    ) -> None:
        del args
        self.scorer = Scorer(engine, combine=combine, skip_unscorable=skip_unscorable)
        self.answer = answer

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float | None]:
        """One reward per completion.

        Args:
            completions: the texts.
            columns: what ms-swift hands over: ``messages`` that end in the completion, ``images``, ``videos``, and the
                data set's own columns.

        Raises:
            InputError: a row is not of this form, or there is no such column.
            VLRewardError: as `vlreward.engines.base.Engine.score`.
        """
        if self.answer is not None and self.answer not in columns:
            raise InputError(f"the data set has no column {self.answer!r}; it has: {', '.join(sorted(columns))}")
        names = [name for name in ("messages", "images", "videos", self.answer or "") if name in columns]
        rows = [{name: columns[name][i] for name in names} for i in range(len(completions))]
        return self.scorer([sample_of(row, self.answer, f"completions[{i}]") for i, row in enumerate(rows)])


class SwiftPlugin:
    """A reward-model plugin: the model that ``--reward_model`` names, scored as its checkpoint says.

    ms-swift's own plugin ignores the checkpoint's pixel limits. Unless an engine is given, the checkpoint is read a
    second time, onto the device of the model that ms-swift has loaded, which is left alone.

    Args:
        model: the model that ms-swift has loaded.
        template: ms-swift's template, which is not needed.
        engine: gives the rewards; None: a model of the same checkpoint.
    """

    def __init__(self, model: Any, template: Any, *, engine: Engine | None = None) -> None:
        del template
        folder = getattr(model, "model_dir", None) or model.config._name_or_path
        self.scorer = Scorer(engine or open_engine(model=str(folder), dtype=model.dtype, device=model.device))

    def __call__(self, inputs: Sequence[Mapping[str, Any]], **columns: Any) -> list[float | None]:
        """One reward per row: ``messages`` that end in the completion, ``images``, ``videos``.

        Raises:
            InputError: a row is not of this form.
            VLRewardError: as `vlreward.engines.base.Engine.score`.
        """
        del columns
        return self.scorer([sample_of(row, None, f"inputs[{i}]") for i, row in enumerate(inputs)])


def sample_of(row: Mapping[str, Any], answer: str | None, where: str) -> Sample:
    """One of ms-swift's rows: ``<image>`` marks are pictures, and so are those that no mark stands for."""
    messages = [_message(message) for message in row.get("messages") or []]
    if not messages or messages[-1]["role"] != "assistant":
        raise InputError(f"{where}: 'messages' must end in the assistant's completion")
    prompt = prompt_of(messages[:-1], images=row.get("images"), videos=row.get("videos"), marks=True, where=where)
    key = None if answer is None else row.get(answer)
    return Sample(prompt=prompt, response=parse_response(messages[-1], where), answer=key)


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Its role and content: ms-swift keeps notes of its own beside them, such as whether a loss is taken."""
    role = message.get("role")
    return {"role": _ROLES.get(str(role), role), "content": message.get("content")}


def register(
    name: str = "vlreward",
    *,
    engine: Engine | None = None,
    combine: Combine | None = None,
    answer: str | None = None,
    skip_unscorable: bool = False,
    **options: Any,
) -> None:
    """Put the reward function into ms-swift's ``orms`` and the plugin into its ``rm_plugins``.

    Args:
        name: what ``--reward_funcs`` and ``--reward_model_plugin`` call them.
        engine: gives the rewards; None: the one that ``options`` say, see `vlreward.integrations.opening.open_engine`.
            Without either, only the plugin is there.
        combine, answer, skip_unscorable: see `SwiftReward`.

    Raises:
        ImportError: ms-swift is not installed.
    """
    from swift.rewards import orms, rm_plugins  # type: ignore[import-not-found]

    if engine is None and options:
        engine = open_engine(**options)
    rm_plugins[name] = functools.partial(SwiftPlugin, engine=engine)
    if engine is not None:
        orms[name] = functools.partial(
            SwiftReward, engine=engine, combine=combine, answer=answer, skip_unscorable=skip_unscorable
        )
