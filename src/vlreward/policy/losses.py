"""The losses of preference training, as pure functions of log-probabilities.

An answer's log-probability is the sum over its tokens. What it has gained on a reference, times β, is its implicit
reward (DPO, arXiv 2305.18290), and the losses of a pair are functions of the implicit rewards of its two answers.

Shape suffix: ``P`` pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vlreward.errors import ConfigError
from vlreward.train.losses import bradley_terry


@dataclass(frozen=True, eq=False)
class PairLogProbs:
    """The log-probabilities of pairs of answers, each ``(P,)``, any float dtype."""

    chosen_P: Tensor
    rejected_P: Tensor
    reference_chosen_P: Tensor
    """What the reference, the policy before training, gives the same answers."""
    reference_rejected_P: Tensor

    def rewards(self, beta: float) -> tuple[Tensor, Tensor]:
        """The implicit rewards of the chosen and of the rejected answers, ``(P,)`` each."""
        chosen_P = beta * (self.chosen_P - self.reference_chosen_P)
        return chosen_P, beta * (self.rejected_P - self.reference_rejected_P)


def dpo(log_probs: PairLogProbs, *, beta: float) -> Tensor:
    """``-log σ(r⁺ - r⁻)`` of the implicit rewards of each pair (arXiv 2305.18290, equation 7), ``(P,)``."""
    return bradley_terry(*log_probs.rewards(beta))


def bco(log_probs: PairLogProbs, *, beta: float, shift: float = 0.0) -> Tensor:
    """``-log σ(r⁺ - δ) - log σ(δ - r⁻)`` of each pair: each answer alone is taken for good or bad (arXiv 2404.04656).

    Args:
        log_probs: of the pairs.
        beta: the scale of the implicit rewards.
        shift: δ, the reward that is neither good nor bad; see `RewardShift`.

    Returns:
        The losses ``(P,)``.
    """
    chosen_P, rejected_P = log_probs.rewards(beta)
    return -F.logsigmoid(chosen_P - shift) - F.logsigmoid(shift - rejected_P)


def generation(chosen_P: Tensor, lengths_P: Tensor | float) -> Tensor:
    """Minus the log-likelihood of each chosen answer, divided by a length.

    Args:
        chosen_P: log-probabilities.
        lengths_P: the answers' own lengths in tokens, for the mean of each; or the mean length of all answers of the
            step, with which the mean over the answers is the mean over all their tokens.

    Returns:
        The losses ``(P,)``.
    """
    return -chosen_P / lengths_P


@dataclass(frozen=True, kw_only=True)
class Mix:
    """How the three losses of Mixed Preference Optimization are put together (arXiv 2411.10442)."""

    preference: float
    """Weight of DPO."""
    quality: float
    """Weight of BCO."""
    generation: float
    """Weight of writing the chosen answer."""
    beta: float
    """Scale of the implicit rewards."""
    shifted: bool
    """Whether BCO's δ is the running mean of the rewards of all steps before; otherwise it is 0."""
    mean_over: Literal["answers", "tokens"]
    """Whether writing counts each answer alike or each token alike."""


VARIANTS = {
    "internvl": Mix(preference=0.8, quality=0.2, generation=1.0, beta=0.1, shifted=True, mean_over="answers"),
    "trl": Mix(preference=0.8, quality=0.2, generation=1.0, beta=0.1, shifted=False, mean_over="tokens"),
}
"""``internvl``: as defined in arXiv 2411.10442; ``trl``: TRL's ``DPOTrainer`` with the losses ``sigmoid``, ``bco_pair``
and ``sft`` at the same weights."""


def mpo(
    log_probs: PairLogProbs, lengths_P: Tensor, mix: Mix, *, shift: float = 0.0, mean_length: float | None = None
) -> Tensor:
    """The mixed loss of each pair; that of a step is the mean over its pairs.

    Args:
        log_probs: of the pairs.
        lengths_P: tokens of the chosen answers.
        mix: the weights and the rest.
        shift: BCO's δ, where the mix has one.
        mean_length: the mean of ``lengths_P`` over all pairs of the step, where that is more than is given here; asked
            for by a mix over tokens only.

    Returns:
        The losses ``(P,)``.
    """
    loss_P = mix.preference * dpo(log_probs, beta=mix.beta)
    if mix.quality:
        loss_P = loss_P + mix.quality * bco(log_probs, beta=mix.beta, shift=shift if mix.shifted else 0.0)
    if not mix.generation:
        return loss_P
    lengths: Tensor | float = lengths_P
    if mix.mean_over == "tokens":
        lengths = float(lengths_P.double().mean()) if mean_length is None else mean_length
    return loss_P + mix.generation * generation(log_probs.chosen_P, lengths)


@dataclass
class RewardShift:
    """The running mean of implicit rewards, chosen and rejected ones alike: BCO's δ.

    A step is given the mean over the steps before it, whatever packs and processes it is spread over, and adds its own
    rewards when it is over; before the first one it is 0.
    """

    total: float = 0.0
    """The sum of all rewards so far."""
    count: int = 0
    """How many there were."""

    @property
    def mean(self) -> float:
        """δ."""
        return self.total / self.count if self.count else 0.0

    def add(self, total: float, count: int) -> None:
        """Count the rewards of a step."""
        self.total += total
        self.count += count

    @classmethod
    def of(cls, values: dict[str, float]) -> RewardShift:
        """From the values of `dataclasses.asdict`, as JSON keeps them.

        Raises:
            ConfigError: they are not such values.
        """
        if values.keys() != {"total", "count"}:
            raise ConfigError(f"a reward shift has total and count, not {', '.join(sorted(values)) or 'nothing'}")
        return cls(float(values["total"]), int(values["count"]))


def rewards_sum(log_probs: PairLogProbs, beta: float) -> Tensor:
    """The sum of all implicit rewards and their number, for `RewardShift.add`: ``(2,)``, float64, without gradients."""
    rewards = torch.cat(log_probs.rewards(beta)).detach().double()
    return torch.stack([rewards.sum(), rewards.new_tensor(len(rewards))])
