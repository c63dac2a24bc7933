"""Pairs of numbers that a figure shows, and what else they might have been read as."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from .chance import Chance

Numbers: TypeAlias = tuple[int, int]


def window(chance: Chance, low: int, high: int, count: int = 4) -> list[int]:
    """``count`` consecutive numbers within ``[low, high]``."""
    start = chance.whole(low, high - count + 1)
    return list(range(start, start + count))


def is_near(one: Numbers, other: Numbers) -> bool:
    """Whether two readings differ a little: in one number, or so that their sum or difference stays the same."""
    dx, dy = one[0] - other[0], one[1] - other[1]
    return one != other and max(abs(dx), abs(dy)) <= 2 and (dx == 0 or dy == 0 or abs(dx) == abs(dy))


def readings(chance: Chance, allowed: Sequence[Numbers], count: int = 4) -> list[Numbers]:
    """A reading and ``count - 1`` others that are easily taken for it, as far as there are such."""
    first = chance.choice(allowed)
    near = chance.shuffled([other for other in allowed if is_near(first, other)])
    rest = chance.shuffled([other for other in allowed if other != first and not is_near(first, other)])
    return [first, *(near + rest)[: count - 1]]


def with_different_results(
    chance: Chance, allowed: Sequence[Numbers], result: Callable[[int, int], int], count: int = 4
) -> list[Numbers]:
    """Readings of which no two give the same result, fewer than ``count`` if there are not so many."""
    chosen: dict[int, Numbers] = {}
    for numbers in chance.shuffled(allowed):
        chosen.setdefault(result(*numbers), numbers)
    return list(chosen.values())[:count]
