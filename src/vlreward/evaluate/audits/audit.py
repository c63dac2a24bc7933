"""What an audit is: a question about a model, and variants of pairs that answer it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vlreward.tiny.world.chance import Chance

from .measures import Measure
from .pair import DataSet, LeftOut, Pair, Sides


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One change of a pair, by rule: the same pair is always changed alike."""

    name: str
    about: str
    """What is changed, in a line."""
    make: Callable[[Pair, DataSet], Sides | LeftOut]
    """The pair with the change, or why it does not apply. Raises a `MediaError` for a picture that cannot be read."""
    control: Callable[[Pair, DataSet], Sides | LeftOut] | None = None
    """The pair with a change of the same kind and size that should not matter, which the change is compared with; None:
    the pair as it is. Either way a pair that says nothing as it is says nothing."""

    @property
    def control_name(self) -> str:
        """Under which the control's rewards are kept."""
        return f"{self.name} control"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """A counterfactual. It fails when the effect of any variant is beyond the threshold, interval and all."""

    name: str
    """As the command line calls it."""
    question: str
    """What it asks of the model."""
    measure: Measure
    threshold: float
    """The largest effect that passes: a convention, said with every verdict."""
    variants: tuple[Variant, ...]


def chance_of(pair: Pair, variant: str) -> Chance:
    """Draws for a variant of a pair."""
    return Chance("audit", variant, pair.id)
