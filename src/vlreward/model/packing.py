"""The trie pack: every token that two conversations share, from the front, is computed once.

A conversation is a table of token rows. Rows are equal only where the token id, the media content behind it and its
M-RoPE position are all equal, so that placeholders of different pictures never meet. Conversations go into one trie,
which is flattened depth-first, without padding. One integer per token says the whole tree: with ``exit[k]`` the end of
token k's subtree, q attends to k exactly when ``k <= q < exit[k]``.

Shape suffixes: ``T`` tokens (of one conversation, or packed), ``C`` columns of a token row, ``S`` conversations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]


class Column(IntEnum):
    """Columns of a token row, int64."""

    ID = 0
    """The token id."""
    MEDIUM = 1
    """Which distinct picture or video stands behind a placeholder; -1 for text."""
    FEATURE = 2
    """Which of that medium's visual tokens; -1 for text."""
    OFFSET = 3
    """Place within its run of placeholders; 0 for text. A trie never branches where this is above 0."""
    TIME = 4
    """M-RoPE position, temporal axis."""
    HEIGHT = 5
    """M-RoPE position, vertical axis."""
    WIDTH = 6
    """M-RoPE position, horizontal axis."""


@dataclass(frozen=True, eq=False)
class Trie:
    """Conversations flattened depth-first."""

    rows_TC: IntArray
    """The packed token rows."""
    exit_T: IntArray
    """End of each token's subtree."""
    last_S: IntArray
    """The packed index of each conversation's last token."""

    def __len__(self) -> int:
        return len(self.exit_T)

    @property
    def mask_TT(self) -> npt.NDArray[np.bool_]:
        """Row q, column k: whether q attends to k. Quadratic; for tests and small packs."""
        k = np.arange(len(self))
        return (k[None, :] <= k[:, None]) & (k[:, None] < self.exit_T[None, :])


def shared_length(a_TC: IntArray, b_TC: IntArray) -> int:
    """How many tokens two conversations share from the front, never ending inside a media span."""
    n = min(len(a_TC), len(b_TC))
    differs = (a_TC[:n] != b_TC[:n]).any(axis=1)
    length = int(differs.argmax()) if differs.any() else n
    # Both tables agree before `length`, so either says where a span that is cut there began.
    for rows in (a_TC, b_TC):
        if length < len(rows):
            length -= int(rows[length, Column.OFFSET])
    return length


def build_trie(conversations: Sequence[IntArray]) -> Trie:
    """Merge conversations, each ``(T, C)``, into one trie.

    They are taken in the order given; only neighbours are compared, so sort them (`lexicographic_order`) to share all
    that can be shared. Tokens of equal conversations coincide altogether.
    """
    kept: list[IntArray] = []
    last_S = np.empty(len(conversations), dtype=np.int64)
    exits: list[IntArray] = []
    path = np.empty(0, dtype=np.int64)  # packed index of each token of the previous conversation
    previous: IntArray | None = None
    total = 0
    closing: list[tuple[IntArray, int]] = []
    for s, rows in enumerate(conversations):
        shared = 0 if previous is None else shared_length(previous, rows)
        closing.append((path[shared:], total))
        fresh = np.arange(total, total + len(rows) - shared)
        path = np.concatenate([path[:shared], fresh])
        kept.append(rows[shared:])
        exits.append(np.empty(len(fresh), dtype=np.int64))
        total += len(fresh)
        last_S[s] = path[-1]
        previous = rows
    closing.append((path, total))
    exit_T = np.concatenate(exits) if exits else np.empty(0, dtype=np.int64)
    for tokens, end in closing:
        exit_T[tokens] = end
    rows_TC = np.concatenate(kept) if kept else np.empty((0, len(Column)), dtype=np.int64)
    return Trie(rows_TC, exit_T, last_S)


def lexicographic_order(conversations: Sequence[IntArray]) -> list[int]:
    """An order in which conversations that share a prefix are neighbours; the same for any order of the input."""
    keys = [np.ascontiguousarray(rows).tobytes() for rows in conversations]
    return sorted(range(len(keys)), key=keys.__getitem__)


def plan_packs(conversations: Sequence[IntArray], budget: int) -> list[list[int]]:
    """Cut conversations into packs of at most ``budget`` packed tokens, neighbours together.

    A conversation that is alone over the budget gets a pack of its own.

    Returns:
        Indices into ``conversations``, one list per pack, each ready for `build_trie`.
    """
    packs: list[list[int]] = []
    size = 0
    for i in lexicographic_order(conversations):
        if packs:
            fresh = len(conversations[i]) - shared_length(conversations[packs[-1][-1]], conversations[i])
            if size + fresh <= budget:
                packs[-1].append(i)
                size += fresh
                continue
        packs.append([i])
        size = len(conversations[i])
    return packs


def pad_trie(trie: Trie, length: int) -> Trie:
    """Add tokens that attend to themselves only, up to ``length``, so that compiled kernels see few shapes."""
    extra = length - len(trie)
    if extra <= 0:
        return trie
    rows = np.zeros((extra, len(Column)), dtype=np.int64)
    rows[:, [Column.MEDIUM, Column.FEATURE]] = -1
    exit_T = np.arange(len(trie), length, dtype=np.int64) + 1
    return Trie(np.concatenate([trie.rows_TC, rows]), np.concatenate([trie.exit_T, exit_T]), trie.last_S)


def without(trie: Trie, known_T: npt.NDArray[np.bool_]) -> tuple[Trie, IntArray, IntArray]:
    """A pack without the tokens whose states are known, each of which has its ancestors among them.

    Returns:
        The other tokens, and for each known one the first and the end of its descendants among these.
    """
    rank = np.concatenate([[0], (~known_T).cumsum()])
    rest = Trie(trie.rows_TC[~known_T], rank[trie.exit_T[~known_T]], rank[trie.last_S])
    return rest, rank[:-1][known_T], rank[trie.exit_T[known_T]]
