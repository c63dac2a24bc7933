"""The losses of training, as pure functions of tensors.

Shape suffixes: ``P`` pairs, ``R`` responses of one ranking, ``A`` answer tokens, ``K`` tokens that are judged, ``V``
vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bradley_terry(
    chosen_P: Tensor,
    rejected_P: Tensor,
    margin_P: Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
    centering: float = 0.0,
) -> Tensor:
    """Minus the log-likelihood that the chosen response wins, ``-log σ(r⁺ - r⁻ - margin)``, of each pair.

    Args:
        chosen_P, rejected_P: rewards, any float dtype.
        margin_P: how far apart the rewards have to be, 0 for a pair without (Llama 2, arXiv 2307.09288, equation 2).
        label_smoothing: the share of pairs taken to be the wrong way round, in [0, 0.5): the loss is then the mean over
            both ways (conservative smoothing, as in cDPO).
        centering: adds ``centering * (r⁺ + r⁻)²``, which keeps rewards around zero (arXiv 2312.09244; TRL's
            ``center_rewards_coefficient``).

    Returns:
        The losses ``(P,)``, of the rewards' dtype.
    """
    difference_P = chosen_P - rejected_P
    if margin_P is not None:
        difference_P = difference_P - margin_P
    loss_P = -F.logsigmoid(difference_P)
    if label_smoothing:
        loss_P = (1 - label_smoothing) * loss_P - label_smoothing * F.logsigmoid(-difference_P)
    if centering:
        loss_P = loss_P + centering * (chosen_P + rejected_P).square()
    return loss_P


def plackett_luce(rewards_R: Tensor, ranks_R: Tensor) -> Tensor:
    """Minus the log-likelihood of a ranking under the Plackett-Luce model; of a pair it is Bradley-Terry's.

    Each response competes with itself and those ranked strictly worse, so that ties say nothing of one another.

    Args:
        rewards_R: rewards of one ranking's responses, any float dtype.
        ranks_R: their ranks, 0 the best, integers; equal ones are ties.

    Returns:
        The loss, a scalar: the sum over the responses.
    """
    competes_RR = ranks_R[None, :] > ranks_R[:, None]
    competes_RR = competes_RR | torch.eye(len(ranks_R), dtype=torch.bool, device=ranks_R.device)
    field_RR = rewards_R[None, :].expand(competes_RR.shape).masked_fill(~competes_RR, -torch.inf)
    return (field_RR.logsumexp(dim=1) - rewards_R).sum()


def verifier(rewards_K: Tensor, right_K: Tensor) -> Tensor:
    """Minus the log-likelihood that what is written up to each token is right or wrong, ``-log σ(±r)``.

    A verifier that is asked at every token learns from the very word that is wrong, where a loss of last tokens alone
    leaves it to find out which word that was (Cobbe et al., arXiv 2110.14168).

    Args:
        rewards_K: what the head says at each token, any float dtype.
        right_K: whether a right response goes through it, bool.

    Returns:
        ``(K,)``, of the rewards' dtype.
    """
    return -F.logsigmoid(torch.where(right_K, rewards_K, -rewards_K))


def language(logits_AV: Tensor, targets_A: Tensor) -> Tensor:
    """Minus the log-likelihood of each answer token.

    Args:
        logits_AV: what the token before each answer token says of it; narrower than float32 is widened.
        targets_A: the answer tokens' ids, int64.

    Returns:
        ``(A,)``, float32 or the logits' dtype where that is wider.
    """
    logits_AV = logits_AV.to(torch.promote_types(logits_AV.dtype, torch.float32))
    return F.cross_entropy(logits_AV, targets_A, reduction="none")
