"""Rules of form, and how rules combine with a model's reward for reinforcement learning.

A rule gives a number between 0 and 1. A model's rewards spread over much more (those of the published model from -15 to
8): normalise them before they are added to rules, see `vlreward.engines.shaped.Shaping`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from vlreward.errors import ConfigError
from vlreward.model.calibration import bradley_terry

from .answers import exact_match, tagged_answer

Rule: TypeAlias = Callable[[str, str], float]
"""``(answer, key)`` to how right the answer is, from 0 to 1; `vlreward.policy.answers` has some."""
Format: TypeAlias = Callable[[str], float]
"""A response to how well it keeps a form, from 0 to 1."""

_INSIDE = r"(?:(?!</?(?:think|answer)>).)*"
THINK_ANSWER = rf"<think>{_INSIDE}</think>\s*<answer>{_INSIDE}</answer>"
"""Reasoning and then an answer, each in its tags, each once, nothing around them."""


@dataclass(frozen=True)
class FormatRule:
    """1 for a response that a regular expression matches as a whole, else 0; a full stop matches line breaks too.

    Raises:
        ConfigError: it is not a regular expression.
    """

    pattern: str = THINK_ANSWER
    """As `re` writes them."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern, re.DOTALL)
        except re.error as error:
            raise ConfigError(f"pattern {self.pattern!r:.60} is not a regular expression: {error}") from error

    def __call__(self, response: str) -> float:
        """Whether the response, white space around it aside, keeps the form."""
        return float(re.fullmatch(self.pattern, response.strip(), re.DOTALL) is not None)


@dataclass(frozen=True, kw_only=True)
class RuleSum:
    """r_rule + w·r_model + v·r_format, as Skywork R1V2 adds them (arXiv 2504.16656)."""

    rule: Rule | None = exact_match
    """Of the `vlreward.policy.answers.tagged_answer` and the key; counts 0 for a response without a key. None: there is
    no such rule."""
    weight: float = 1.0
    """Of the model's reward."""
    format: Format | None = None
    """The rule of form, if there is one."""
    format_weight: float = 1.0
    """Of the rule of form."""

    def __call__(self, response: str, key: str | None, reward: float) -> float:
        """The combined reward of a response, from its answer key (None: there is none) and the model's reward."""
        right = 0.0 if self.rule is None or key is None else self.rule(tagged_answer(response), key)
        kept = 0.0 if self.format is None else self.format(response)
        return right + self.weight * reward + self.format_weight * kept


@dataclass(frozen=True, kw_only=True)
class MatchFirst:
    """match + (1 − match)·σ(r_model), as BaseReward combines them (arXiv 2509.16127).

    A right answer gets 1 whatever the model says; a wrong one what the model says, between 0 and 1. The model's reward
    is squashed here: it is not to be squashed before.
    """

    rule: Rule = exact_match
    """Of the `vlreward.policy.answers.tagged_answer` and the key; counts 0 for a response without a key."""

    def __call__(self, response: str, key: str | None, reward: float) -> float:
        """The combined reward of a response, from its answer key (None: there is none) and the model's reward."""
        right = 0.0 if key is None else self.rule(tagged_answer(response), key)
        return right + (1 - right) * bradley_terry(reward)
