"""What is minimised: the settings, and the loss of one pack from what the model says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vlreward.errors import ConfigError

from .config import not_negative


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss of a stage."""

    loss: Literal["bradley-terry", "plackett-luce", "language"] = "bradley-terry"
    """``bradley-terry``: over all pairs of a ranking whose ranks differ, the published loss (arXiv 2505.07263);
    ``plackett-luce``: over the whole ranking; ``language``: only to write the best response, which trains a base."""
    margin: bool = True
    """Whether pairs that say a margin have to be that far apart (Llama 2, arXiv 2307.09288); others have none."""
    label_smoothing: float = 0.0
    """The share of pairs taken to be the wrong way round; 0 as published."""
    centering: float = 0.0
    """Weight of ``(r⁺ + r⁻)²``; 0 as published. TRL's documentation suggests 0.01."""
    language_weight: float = 0.0
    """Weight of the language loss of the best response (the mean over its tokens); 0 as published."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"label_smoothing must be in [0, 0.5), got {self.label_smoothing}")
        not_negative("centering", self.centering)
        not_negative("language_weight", self.language_weight)
        pairwise = self.label_smoothing or self.centering
        if pairwise and self.loss != "bradley-terry":
            raise ConfigError(f"label_smoothing and centering belong to bradley-terry, the loss is {self.loss}")
        if self.language_weight and self.loss == "language":
            raise ConfigError("language_weight is a weight beside another loss, and the loss is language already")

    @property
    def rewards(self) -> bool:
        """Whether responses are scored."""
        return self.loss != "language"

    @property
    def writes(self) -> bool:
        """Whether the best response is learned as text, which needs the LM head."""
        return self.loss == "language" or self.language_weight > 0
