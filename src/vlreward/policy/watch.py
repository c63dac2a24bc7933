"""A look at a policy in training: its answers to some held-out prompts, by the reward and by who knows the truth.

Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from vlreward.engines.base import Engine
from vlreward.errors import EngineError
from vlreward.train.config import positive

from .gold import Gold
from .overoptimisation import Judged
from .pairs import ScoredGroup
from .sampling import Prompt, Sampler, SamplingSettings

OnOveroptimisation: TypeAlias = Literal["warn", "stop"]
_AT_ONCE = 32
"""Prompts whose answers are scored together."""


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """How a policy is watched while it is trained; the reward model is held beside it for that."""

    every: int
    """Optimizer steps between two looks; there is one before the first step and one behind the last as well."""
    prompts: int = 128
    """How many of the held-out prompts are asked, the first ones."""
    on_overoptimisation: OnOveroptimisation = "warn"
    """What happens when the reward rises while fewer answers are right, see `vlreward.policy.overoptimisation`:
    ``warn`` and go on, or ``stop`` training there."""

    def __post_init__(self) -> None:
        positive("every", self.every)
        positive("prompts", self.prompts)


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Whom a policy in training is shown to."""

    prompts: Sequence[Prompt]
    """What is asked, each time the same."""
    sampling: SamplingSettings
    """How answers are drawn; they are greedy whatever it says."""
    engine: Engine
    """Gives the rewards."""
    gold: Gold | None
    """Knows which answers are right; None: nobody does."""
    stops: bool = False
    """Whether training stops when reward and truth part."""

    def ask(self, sampler: Sampler, share: tuple[int, int] = (0, 1)) -> list[tuple[int, Judged]]:
        """Have a share of the prompts answered, and judge the answers.

        Args:
            sampler: the policy.
            share: which process this is, and how many there are.

        Returns:
            Each prompt's number and what its answer is like.

        Raises:
            VLRewardError: as the sampler and the engine; the prompt is named.
        """
        greedy = replace(self.sampling, answers=1, temperature=0.0)
        numbers = range(share[0], len(self.prompts), share[1])
        found: list[Judged] = []
        for start in range(0, len(numbers), _AT_ONCE):
            chosen = [self.prompts[number] for number in numbers[start : start + _AT_ONCE]]
            sampled = sampler.sample(chosen, greedy)
            rewards = self.engine.score([item.group for item in sampled])
            if len(rewards) != len(sampled):
                raise EngineError(f"{len(rewards)} rewards came back for {len(sampled)} groups")
            for item, reward in zip(sampled, rewards, strict=True):
                right = None if self.gold is None else self.gold.right(item.group)
                scored = ScoredGroup(group=item.group, rewards=reward.rewards, right=right, unfinished=item.unfinished)
                found.append(Judged.of(scored))
        return list(zip(numbers, found, strict=True))
