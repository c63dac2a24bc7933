"""Recipes of policy training: those of `vlreward.train.recipe`, with other losses and without a reward head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vlreward.errors import ConfigError
from vlreward.train.heads import Head
from vlreward.train.parts import Parts
from vlreward.train.recipe import BaseRecipe, BaseStage, read_recipe_as

from .objective import PolicyObjective


@dataclass(frozen=True, kw_only=True)
class PolicyParts(Parts):
    """How each part of a policy is trained: all but the vision tower."""

    head: Literal["frozen"] = "frozen"
    """A policy has no reward head."""


@dataclass(frozen=True, kw_only=True)
class PolicyStage(BaseStage):
    """A stage in which a policy is trained."""

    batch: int = 256
    """Pairs of one optimizer step, over all processes (256 in arXiv 2411.10442)."""
    objective: PolicyObjective = field(default_factory=PolicyObjective)
    """The loss."""
    parts: PolicyParts = field(default_factory=PolicyParts)
    """What is trained."""


@dataclass(frozen=True, kw_only=True)
class PolicyRecipe(BaseRecipe):
    """A training run of a policy: a vision-language model that writes answers."""

    stages: tuple[PolicyStage, ...]
    """One after the other; the reference of each is the policy that it starts from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form != "auto" or self.head != Head():
            raise ConfigError("form and head are of a reward head, and a policy has none; drop them")


def read_policy_recipe(path: str | Path, overrides: Sequence[str] = ()) -> PolicyRecipe:
    """Read the recipe of a policy, with some of its values replaced; see `vlreward.train.recipe.read_recipe_as`."""
    return read_recipe_as(PolicyRecipe, path, overrides)
