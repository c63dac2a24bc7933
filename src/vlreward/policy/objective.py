"""What is minimised when a policy is trained: the settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from vlreward.errors import ConfigError
from vlreward.train.config import not_negative, positive
from vlreward.train.objective import BaseObjective

from .losses import VARIANTS, Mix


@dataclass(frozen=True, kw_only=True)
class PolicyObjective(BaseObjective):
    """The loss of a stage of policy training."""

    loss: Literal["mpo", "dpo", "sft"] = "mpo"
    """``mpo``: Mixed Preference Optimization (arXiv 2411.10442), the sum of three weighted losses; ``dpo``: the first
    of them alone (arXiv 2305.18290); ``sft``: only to write the best answers, the mean over their tokens."""
    variant: Literal["internvl", "trl"] = "internvl"
    """Whose ``mpo``: ``internvl``, as published, with BCO's shift, and each answer alike in the third loss; ``trl``, as
    TRL's DPOTrainer has it, without the shift, and each token alike."""
    beta: float | None = None
    """Scale of the implicit rewards; None: the variant's, 0.1."""
    preference: float | None = None
    """Weight of DPO in ``mpo``; None: the variant's, 0.8."""
    quality: float | None = None
    """Weight of BCO in ``mpo``; None: the variant's, 0.2."""
    generation: float | None = None
    """Weight of writing the chosen answer in ``mpo``; None: the variant's, 1.0."""

    def __post_init__(self) -> None:
        positive("beta", self.beta)
        weights = ("preference", "quality", "generation")
        said = [name for name in weights if getattr(self, name) is not None]
        for name in said:
            not_negative(name, getattr(self, name))
        if said and self.loss != "mpo":
            raise ConfigError(f"{', '.join(said)}: a weight of the losses of mpo, and the loss is {self.loss}")
        if self.beta is not None and self.loss == "sft":
            raise ConfigError("beta belongs to dpo and mpo, and the loss is sft")
        if self.loss == "mpo" and not (self.mix.preference or self.mix.quality or self.mix.generation):
            raise ConfigError("preference, quality and generation are all 0; one of them has to be above")

    @cached_property
    def mix(self) -> Mix:
        """The losses of ``mpo`` or ``dpo`` with their weights."""
        mix = VARIANTS[self.variant]
        if self.loss == "dpo":
            mix = replace(mix, preference=1.0, quality=0.0, generation=0.0)
        said = {name: getattr(self, name) for name in ("beta", "preference", "quality", "generation")}
        return replace(mix, **{name: value for name, value in said.items() if value is not None})

    @property
    def rewards(self) -> bool:
        """A policy has no reward head."""
        return False

    @property
    def compares(self) -> bool:
        """Unless only the best answers are written."""
        return self.loss != "sft"

    @property
    def writes(self) -> bool:
        """All losses are of log-probabilities."""
        return True

    @property
    def writes_all(self) -> bool:
        """Those of rejected answers too."""
        return self.compares

    def items(self, *, pairs: int, rankings: int, tokens: int) -> int:
        """Pairs, or tokens where only the best answers are written."""
        del rankings
        return pairs if self.compares else tokens
