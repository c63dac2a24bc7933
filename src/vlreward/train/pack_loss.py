"""The loss of one pack, from what `PackModel` gives.

Shape suffixes: ``P`` pairs, ``S`` conversations, ``A`` answer tokens, ``K`` judged tokens, ``R`` rankings of the pack.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .losses import bradley_terry, plackett_luce, verifier
from .objective import Objective
from .packs import Pack


def pack_loss(output: dict[str, Tensor], pack: Pack, objective: Objective) -> Tensor:
    """The sum of a pack's losses, one for each entry of its ``labels``: pairs, rankings or answer tokens.

    With a language weight, each pair or ranking bears that of its best response, the mean over its tokens; with a
    verifier's weight, that of its ranking.
    """
    if objective.loss == "language":
        return output["nll_A"].sum() + output["anchor"]
    rewards_S = output["rewards_S"]
    if objective.loss == "bradley-terry":
        loss_P = bradley_terry(
            rewards_S[pack["chosen_P"]],
            rewards_S[pack["rejected_P"]],
            pack["margins_P"].to(rewards_S.dtype),
            label_smoothing=objective.label_smoothing,
            centering=objective.centering,
        )
        ranking_P = pack["ranking_S"][pack["chosen_P"]]
    else:
        count = int(pack["labels"].numel())
        mine = [pack["ranking_S"] == i for i in range(count)]
        losses = [plackett_luce(rewards_S[own], pack["rank_S"][own]) for own in mine]
        loss_P = torch.stack(losses) if losses else rewards_S.new_zeros(0)
        ranking_P = torch.arange(count, device=rewards_S.device)
    if objective.writes:
        loss_P = loss_P + objective.language_weight * _mean_of_answers(output["nll_A"], pack)[ranking_P]
    if objective.judges:
        loss_P = loss_P + objective.verifier_weight * _verified(output["rewards_K"], pack)[ranking_P]
    return loss_P.sum() + output["anchor"]


def _mean_of_answers(nll_A: Tensor, pack: Pack) -> Tensor:
    """The mean over each ranking's written tokens ``(R,)``."""
    rankings = len(pack["names"])
    ranking_A = pack["ranking_S"][pack["answer_A"]]
    sums_R = nll_A.new_zeros(rankings).index_add(0, ranking_A, nll_A)
    counts_R = torch.bincount(ranking_A, minlength=rankings)
    return sums_R / counts_R.clamp(min=1)


def _verified(rewards_K: Tensor, pack: Pack) -> Tensor:
    """The verifier's loss of each ranking ``(R,)``: half of it the mean over right tokens, half over wrong ones."""
    right_K = pack["right_K"]
    side_K = 2 * pack["judges_K"] + right_K.long()
    sides = 2 * len(pack["names"])
    sums = rewards_K.new_zeros(sides).index_add(0, side_K, verifier(rewards_K, right_K))
    means = sums / torch.bincount(side_K, minlength=sides).clamp(min=1)
    return means.reshape(-1, 2).mean(dim=1)
