"""Which rankings each optimizer step sees, and how they are dealt into packs.

A step is so many rankings, whatever the number of processes: they are dealt into as many packs as all processes
together run in a step, evenly by tokens. Two runs of one recipe on other numbers of processes thus take the same steps.

Shape suffixes: ``E`` entries of the run in order, ``K`` packs of a step.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vlreward.errors import InputError
from vlreward.model.packing import IntArray

from .index import Index


@dataclass(frozen=True)
class Entry:
    """One ranking of one source."""

    source: int
    """Which source."""
    number: int
    """Which of its rankings."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A stage's data in the order in which it is seen."""

    sources_E: IntArray
    numbers_E: IntArray
    tokens_E: IntArray
    batch: int
    """Rankings of a step."""
    packs: int
    """Packs of a step, over all processes."""
    steps: int

    def __len__(self) -> int:
        """How many packs there are."""
        return self.steps * self.packs

    def pack(self, index: int) -> tuple[Entry, ...]:
        """The rankings of a pack; none, where a last step has fewer rankings than packs."""
        step, place = divmod(index, self.packs)
        begin = step * self.batch
        tokens = self.tokens_E[begin : begin + self.batch]
        return tuple(
            Entry(int(self.sources_E[begin + i]), int(self.numbers_E[begin + i]))
            for i in deal(tuple(tokens.tolist()), self.packs)[place]
        )

    def once(self) -> Plan:
        """Each ranking once, in the order in which they first come."""
        keys_E2 = np.stack([self.sources_E, self.numbers_E], axis=1)
        first = np.sort(np.unique(keys_E2, axis=0, return_index=True)[1])
        steps = -(-len(first) // self.batch)
        return Plan(self.sources_E[first], self.numbers_E[first], self.tokens_E[first], self.batch, self.packs, steps)


@lru_cache(maxsize=8)
def deal(tokens: tuple[int, ...], packs: int) -> tuple[tuple[int, ...], ...]:
    """Deal rankings into packs, the longest first, each to the pack with the fewest tokens; largest packs first."""
    heap = [(0, k) for k in range(packs)]
    dealt: list[list[int]] = [[] for _ in range(packs)]
    for i in sorted(range(len(tokens)), key=lambda i: (-tokens[i], i)):
        size, k = heapq.heappop(heap)
        dealt[k].append(i)
        heapq.heappush(heap, (size + tokens[i], k))
    sizes = {k: size for size, k in heap}
    return tuple(tuple(sorted(dealt[k])) for k in sorted(range(packs), key=lambda k: (-sizes[k], k)))


def make_plan(
    indices: Sequence[Index],
    weights: Sequence[float],
    *,
    epochs: int,
    batch: int,
    budget: int,
    processes: int,
    seed: int,
    max_steps: int | None = None,
) -> Plan:
    """Plan a stage.

    Args:
        indices: what there is of each source.
        weights: how often each source's rankings are seen in an epoch.
        epochs: how often all is gone through, in another order each time.
        batch: rankings of a step.
        budget: tokens of a pack, kept unless one ranking alone is larger.
        processes: how many run together; a step's packs are a multiple of it.
        seed: of the order.
        max_steps: at most so many steps.

    Raises:
        InputError: there is nothing to train on.
    """
    if not any(len(index) for index in indices):
        reasons = ", ".join(f"{n:,} {reason}" for index in indices for reason, n in index.dropped.items())
        raise InputError(f"no rankings to train on; left out: {reasons or 'none, the files are empty'}")
    generator = np.random.default_rng(seed)
    orders = [_epoch(indices, weights, epoch, generator) for epoch in range(epochs)]
    sources_E, places_E = (np.concatenate(column) for column in zip(*orders, strict=True))
    if not len(places_E):
        count = sum(map(len, indices))
        raise InputError(f"no rankings to train on: the sources' weights take none of {count:,} in {epochs} epochs")
    if max_steps is not None:
        sources_E, places_E = sources_E[: max_steps * batch], places_E[: max_steps * batch]
    tokens_E, numbers_E = np.empty_like(places_E), np.empty_like(places_E)
    for s, index in enumerate(indices):
        mine = sources_E == s
        tokens_E[mine], numbers_E[mine] = index.tokens_N[places_E[mine]], index.numbers_N[places_E[mine]]
    steps = -(-len(places_E) // batch)
    packs = _packs_needed(tokens_E, batch, budget, processes)
    return Plan(sources_E, numbers_E, tokens_E, batch, packs, steps)


def _epoch(
    indices: Sequence[Index], weights: Sequence[float], epoch: int, generator: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """The sources and places of one epoch's rankings, shuffled."""
    sources, places = [], []
    for s, (index, weight) in enumerate(zip(indices, weights, strict=True)):
        # Rounded so that what is left out of one epoch comes in a later one.
        count = round(len(index) * weight * (epoch + 1)) - round(len(index) * weight * epoch)
        whole, rest = divmod(count, max(len(index), 1))
        taken = [np.arange(len(index))] * whole + [generator.permutation(len(index))[:rest]]
        places.append(np.concatenate(taken))
        sources.append(np.full(count, s))
    order = generator.permutation(sum(map(len, sources)))
    return np.concatenate(sources)[order], np.concatenate(places)[order]


def _packs_needed(tokens_E: IntArray, batch: int, budget: int, processes: int) -> int:
    """The least multiple of ``processes`` packs to a step that keeps every step's packs within the budget."""
    packs = processes
    for begin in range(0, len(tokens_E), batch):
        tokens = tuple(np.minimum(tokens_E[begin : begin + batch], budget).tolist())
        while packs < len(tokens) and _largest(tokens, packs) > budget:
            packs += processes
    return packs


def _largest(tokens: tuple[int, ...], packs: int) -> int:
    return max(sum(tokens[i] for i in pack) for pack in deal(tokens, packs))
