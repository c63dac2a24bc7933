"""How often the longer answer is the better one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.959963984540054
"""95 % of a normal distribution lie within so many standard deviations."""


@dataclass(frozen=True, kw_only=True)
class LengthBias:
    """The share of compared answers of different lengths in which the longer one is better."""

    comparisons: int
    """Pairs of answers of different rank and different length."""
    equal_length: int
    """Pairs of different rank and the same length, which are left out."""
    longer_better: float | None
    """The share; None without comparisons."""
    low: float | None
    """Lower end of the 95 % interval; None without comparisons."""
    high: float | None
    """Upper end of it."""


class LengthBiasCount:
    """Counts rankings one by one, in constant memory.

    The interval is Wilson's (1927). Comparisons of one ranking are not independent: where rankings have more than two
    responses, the number of comparisons is replaced by the number of independent ones of the same variance, that of a
    ratio over clusters.
    """

    def __init__(self) -> None:
        self._equal = 0
        self._rankings = 0
        self._n = self._nn = self._x = self._xx = self._xn = 0

    def add(self, lengths: Sequence[int], ranks: Sequence[int]) -> None:
        """Count one ranking.

        Args:
            lengths: the length of each response, in any unit.
            ranks: the rank of each response, 0 the best.
        """
        longer = compared = 0
        for i in range(len(ranks)):
            for j in range(i):
                if ranks[i] == ranks[j]:
                    continue
                if lengths[i] == lengths[j]:
                    self._equal += 1
                    continue
                compared += 1
                longer += (ranks[i] < ranks[j]) == (lengths[i] > lengths[j])
        if compared:
            self._rankings += 1
            self._n, self._nn = self._n + compared, self._nn + compared**2
            self._x, self._xx = self._x + longer, self._xx + longer**2
            self._xn += longer * compared

    def result(self) -> LengthBias:
        """What was counted so far."""
        if not self._n:
            return LengthBias(comparisons=0, equal_length=self._equal, longer_better=None, low=None, high=None)
        share = self._x / self._n
        low, high = wilson_interval(share, self._independent(share))
        return LengthBias(comparisons=self._n, equal_length=self._equal, longer_better=share, low=low, high=high)

    def _independent(self, share: float) -> float:
        """How many independent comparisons would have the variance of these."""
        squares = self._xx - 2 * share * self._xn + share**2 * self._nn
        if squares <= 0:  # all of them agree
            return float(self._rankings)
        return min(share * (1 - share) * self._n**2 / squares, float(self._n))


def wilson_interval(share: float, number: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of ``number`` independent trials.

    Raises:
        ValueError: there are none.
    """
    if number <= 0:
        raise ValueError("no trials")
    z2 = _Z**2 / number
    centre = (share + z2 / 2) / (1 + z2)
    half = _Z / (1 + z2) * math.sqrt(share * (1 - share) / number + z2 / (4 * number))
    return max(0.0, centre - half), min(1.0, centre + half)
