"""What is minimised: the settings, and the loss of one pack from what the model says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vlreward.errors import ConfigError

from .config import not_negative


class BaseObjective:
    """What the data and the model have to know of a stage's loss, whichever it is."""

    @property
    def rewards(self) -> bool:
        """Whether responses are scored by the reward head, which is then trained and written."""
        raise NotImplementedError

    @property
    def compares(self) -> bool:
        """Whether all responses of a ranking are seen; otherwise only its best."""
        raise NotImplementedError

    @property
    def writes(self) -> bool:
        """Whether the best response is learned as text, which needs the LM head."""
        raise NotImplementedError

    @property
    def writes_all(self) -> bool:
        """Whether all other responses that are seen are taken as text too."""
        return False

    @property
    def judges(self) -> bool:
        """Whether the head is asked at every token by which responses differ."""
        return False

    @property
    def hides(self) -> float:
        """The share of the tokens written so far that are shown as other tokens."""
        return 0.0

    @property
    def margins(self) -> bool:
        """Whether pairs have the margins that the data says."""
        return False

    def items(self, *, pairs: int, rankings: int, tokens: int) -> int:
        """How many terms the loss of a pack has, of which the loss of a step is the mean.

        Args:
            pairs: of responses whose ranks differ.
            rankings: of the pack.
            tokens: that are written.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Objective(BaseObjective):
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
    verifier_weight: float = 0.0
    """Weight of the verifier's loss (arXiv 2110.14168), at every token that not all of a ranking's responses share: is
    what is written up to here as in a best response? The mean of right tokens and that of wrong ones count alike.
    Rewards are then positive where a response looks right; 0 as published."""
    word_dropout: float = 0.0
    """With ``language``: the share of a response's tokens that are shown as another response's while what comes next is
    learned, so that it is seen in the picture, not guessed from the words before (after arXiv 1511.06349)."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"label_smoothing must be in [0, 0.5), got {self.label_smoothing}")
        not_negative("centering", self.centering)
        not_negative("language_weight", self.language_weight)
        not_negative("verifier_weight", self.verifier_weight)
        if not 0 <= self.word_dropout < 1:
            raise ConfigError(f"word_dropout must be in [0, 1), got {self.word_dropout}")
        if self.word_dropout and self.loss != "language":
            raise ConfigError(f"word_dropout belongs to language: the rewards of {self.loss} would be of other words")
        pairwise = self.label_smoothing or self.centering
        if pairwise and self.loss != "bradley-terry":
            raise ConfigError(f"label_smoothing and centering belong to bradley-terry, the loss is {self.loss}")
        if self.language_weight and self.loss == "language":
            raise ConfigError("language_weight is a weight beside another loss, and the loss is language already")
        if self.verifier_weight and self.loss == "language":
            raise ConfigError("verifier_weight is for rewards, and the loss is language, which has none")

    @property
    def rewards(self) -> bool:
        """Whether responses are scored."""
        return self.loss != "language"

    @property
    def compares(self) -> bool:
        """Where they are scored, all are seen."""
        return self.rewards

    @property
    def writes(self) -> bool:
        """Whether the best response is learned as text, which needs the LM head."""
        return self.loss == "language" or self.language_weight > 0

    @property
    def judges(self) -> bool:
        """Where that has a weight."""
        return self.verifier_weight > 0

    @property
    def hides(self) -> float:
        """As the setting says."""
        return self.word_dropout

    @property
    def margins(self) -> bool:
        """As the setting says."""
        return self.margin

    def items(self, *, pairs: int, rankings: int, tokens: int) -> int:
        """Pairs, rankings or tokens."""
        return {"bradley-terry": pairs, "plackett-luce": rankings, "language": tokens}[self.loss]
