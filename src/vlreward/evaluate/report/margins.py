"""How much more the better response gets: margins, counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..fit import comparison_margins
from ..scores import ItemScores

_BINS = 12
"""At most so many on each side of 0."""
_WITHIN = 0.99
"""So many of the margins decide how far the bins go."""


@dataclass(frozen=True, kw_only=True)
class MarginHistogram:
    """Comparisons by the reward of the better response minus that of the worse."""

    n: int
    """Comparisons: every two responses of different rank."""
    wrong: int
    """Margins under 0."""
    tied: int
    """Margins of 0; they are counted in the bin above it."""
    mean: float
    """In units of reward."""
    spread: float
    """Root mean square."""
    edges: Sequence[float]
    """Of the bins, in ascending order; 0 is one of them. The first and the last bin also hold what is beyond."""
    counts: Sequence[int]
    """One less than edges."""


def margin_histogram(items: Iterable[ItemScores]) -> MarginHistogram:
    """Count the margins of all comparisons of some items.

    Bins are equally wide, a round number, and lie symmetrically around 0, so that no bin holds both right and wrong.

    Raises:
        ValueError: there are no items.
    """
    margins = np.array([margin for item in items for margin in comparison_margins(item.rewards, item.ranks)])
    if margins.size == 0:
        raise ValueError("the margins of nothing")
    width = round_up(float(np.quantile(np.abs(margins), _WITHIN)) / _BINS)
    side = max(1, min(_BINS, math.ceil(float(np.abs(margins).max()) / width - 1e-9)))
    places = np.clip(np.floor(margins / width).astype(int), -side, side - 1)
    counts = np.bincount(places + side, minlength=2 * side)
    return MarginHistogram(
        n=int(margins.size),
        wrong=int((margins < 0).sum()),
        tied=int((margins == 0).sum()),
        mean=float(margins.mean()),
        spread=float(np.sqrt((margins**2).mean())),
        # Rounded, so that 3 * 0.1 is 0.3.
        edges=[float(f"{width * i:.6g}") for i in range(-side, side + 1)],
        counts=counts.tolist(),
    )


def round_up(width: float) -> float:
    """The next of 1, 2, 5, 10, … times a power of ten; 1 where there is no width."""
    if width <= 0 or not math.isfinite(width):
        return 1.0
    power = 10.0 ** math.floor(math.log10(width))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= width * (1 - 1e-9))
