"""Chance that depends on a key alone: the same draws on every platform and with every Python."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """A stream of draws.

    Only `random.Random.random` is used, the one method that Python promises never to change; what is built on it is
    written here.

    Args:
        key: what the draws depend on; parts are told apart by their text.
    """

    __slots__ = ("_real",)

    def __init__(self, *key: object) -> None:
        digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
        self._real = random.Random(int.from_bytes(digest, "little")).random

    def below(self, n: int) -> int:
        """A whole number in ``[0, n)``."""
        return int(self._real() * n)

    def whole(self, low: int, high: int) -> int:
        """A whole number in ``[low, high]``."""
        return low + int(self._real() * (high - low + 1))

    def coin(self, probability: float = 0.5) -> bool:
        """True with the given probability."""
        return self._real() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(self._real() * len(options))]

    def sample(self, options: Sequence[T], k: int) -> list[T]:
        """``k`` of the options in random order, none twice; fewer if there are not so many."""
        pool = list(options)
        for i in range(min(k, len(pool))):
            j = self.whole(i, len(pool) - 1)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:k]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """All options in random order."""
        return self.sample(options, len(options))

    def key(self) -> int:
        """A number to start another stream from."""
        return self.below(2**53)
