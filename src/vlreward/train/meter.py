"""What is logged beside the loss: accuracy, margins, rewards of each source, and whether longer answers win."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .packs import Pack

_PAIR = ("pairs", "right", "margin")
_LENGTH = ("margin²", "length", "length²", "margin*length")
_REWARD = ("rewards", "sum", "sum²")


class Meter:
    """Sums over the pairs and rewards since the last reading, float64, one row for each source."""

    def __init__(self, sources: Sequence[str]) -> None:
        self.sources = tuple(sources)
        self._sums = self._zeros()

    def _zeros(self) -> Tensor:
        return torch.zeros((len(self.sources), len(_PAIR) + len(_LENGTH) + len(_REWARD)), dtype=torch.float64)

    def add(self, rewards_S: Tensor, pack: Pack) -> None:
        """Count a pack."""
        rewards_S = rewards_S.detach().to("cpu", torch.float64)
        if len(rewards_S) == 0:
            return
        source_S, length_S = pack["source_S"].cpu(), pack["length_S"].cpu().double()
        chosen_P, rejected_P = pack["chosen_P"].cpu(), pack["rejected_P"].cpu()
        margin_P = rewards_S[chosen_P] - rewards_S[rejected_P]
        longer_P = length_S[chosen_P] - length_S[rejected_P]
        one_P = torch.ones_like(margin_P)
        # A tie is half right.
        right_P = (margin_P > 0).double() + 0.5 * (margin_P == 0).double()
        columns = (one_P, right_P, margin_P, margin_P.square(), longer_P, longer_P.square(), margin_P * longer_P)
        for i, column_P in enumerate(columns):
            self._sums[:, i].index_add_(0, source_S[chosen_P], column_P)
        for i, column_S in enumerate((torch.ones_like(rewards_S), rewards_S, rewards_S.square()), start=len(columns)):
            self._sums[:, i].index_add_(0, source_S, column_S)

    def read(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The figures since the last reading; nothing where nothing was counted.

        Args:
            reduce: sums a tensor over all processes.
        """
        sums = reduce(self._sums).cpu()
        self._sums = self._zeros()
        figures = _figures(sums.sum(0), "")
        if len(self.sources) > 1:
            for name, row in zip(self.sources, sums, strict=True):
                figures |= _figures(row, f"{name}/")
        return figures


def _figures(sums: Tensor, prefix: str) -> dict[str, float]:
    pairs, right, margin, margin2, length, length2, product, rewards, total, total2 = sums.tolist()
    figures = {}
    if pairs:
        figures = {"accuracy": right / pairs, "margin": margin / pairs}
        spread = (margin2 / pairs - (margin / pairs) ** 2) * (length2 / pairs - (length / pairs) ** 2)
        if spread > 0:
            figures["length_correlation"] = (product / pairs - margin * length / pairs**2) / spread**0.5
    if rewards:
        mean = total / rewards
        figures |= {"reward_mean": mean, "reward_spread": max(total2 / rewards - mean**2, 0.0) ** 0.5}
    return {prefix + name: value for name, value in figures.items()}
