"""States of prompts across calls: what a prompt's tokens are to the tokens behind them is computed once.

To later tokens a prompt is its keys and values in each layer. They are kept after a pack has run, cut into pieces of
some hundred tokens, never inside a picture. A piece is known by a digest of all token rows from the front of the
conversation to its end, pictures by their content: so it stands for its whole prefix, and prompts that begin alike
share their first pieces. A later pack takes the pieces that it finds as given and computes the rest. Scores are those
without the cache, to rounding.

Shape suffixes: ``T`` tokens of a pack, ``P`` tokens given by the cache, ``N`` tokens of a piece, ``H`` key heads, ``D``
head size, ``C`` columns of a token row.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from vlreward.errors import ConfigError

from .packing import Column, IntArray, Trie, without

if TYPE_CHECKING:
    from .backbone import Backbone
    from .media import Medium
    from .processing import Conversation

PIECE_TOKENS = 128
"""Least length of a piece, but for the last of a prompt."""

States: TypeAlias = list[torch.Tensor]
"""Keys, behind the rotation, and values of a run of tokens: ``(2, H, N, D)`` for each layer."""


@dataclass(frozen=True, eq=False)
class Past:
    """Keys and values that stand before those of a pack, and what is to be kept of the two.

    Given token p is an ancestor of the pack's tokens ``[begin_P[p], exit_P[p])``.
    """

    begin_P: IntArray
    exit_P: IntArray
    given: Sequence[tuple[States, slice]]
    """Where the given tokens' states are, in order."""
    wanted: Sequence[tuple[States, torch.Tensor]]
    """States to fill, layer by layer, and which tokens they are of: places in the given tokens and, behind them, the
    pack's."""

    def __len__(self) -> int:
        return len(self.exit_P)

    def extend(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values ``(1, H, P + T, D)`` of a layer, from the pack's own ``(1, H, T, D)``."""
        if len(self):
            parts = [states[layer][:, :, run] for states, run in self.given]
            key = torch.cat([*(part[0] for part in parts), key[0]], dim=1)[None]
            value = torch.cat([*(part[1] for part in parts), value[0]], dim=1)[None]
        for states, at_N in self.wanted:
            at = at_N.to(key.device)
            states.append(torch.stack((key[0, :, at], value[0, :, at])))
        return key, value


@dataclass(frozen=True)
class _Piece:
    """Tokens ``[begin, end)`` of a conversation."""

    key: bytes
    begin: int
    end: int


@dataclass(frozen=True, eq=False)
class _Prompt:
    """A prompt of a pack."""

    pieces: list[_Piece]
    path_T: IntArray
    """The packed index of each of its tokens."""

    def tokens(self, piece: _Piece) -> IntArray:
        """The packed index of each of a piece's tokens."""
        return self.path_T[piece.begin : piece.end]


@dataclass(frozen=True, eq=False)
class Recall:
    """A pack as it is to be computed."""

    trie: Trie
    """The tokens that are not given."""
    past: Past
    prompts: Sequence[_Prompt]
    found: int
    """Of how many of them at least the first piece was there."""
    fresh: dict[bytes, States]
    """What the pass is to fill."""


class PrefixCache:
    """States of prompts, least recently used out first.

    They hold for the weights that made them: `clear` it when those change.

    Args:
        backbone: whose states they are.
        max_bytes: what the kept states may take; a pass holds its own beside them until it ends. 0 turns it off.
    """

    def __init__(self, backbone: Backbone, *, max_bytes: int = 0) -> None:
        self.hits = self.misses = 0
        """The prompts of each pack of which at least a part was there, and those of which nothing was."""
        self.tokens_saved = 0
        """Packed tokens that were not computed."""
        self._backbone = backbone
        self._kept: OrderedDict[bytes, States] = OrderedDict()
        self._bytes = 0
        self.max_bytes = max_bytes

    @property
    def max_bytes(self) -> int:
        """What the kept states may take; 0: nothing is kept or looked up.

        Raises:
            ConfigError: set to a negative number.
        """
        return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, value: int) -> None:
        if value < 0:
            raise ConfigError(f"prefix_cache_bytes must be a number of bytes, or 0 for no cache, got {value}")
        self._max_bytes = value
        self._evict()

    @property
    def nbytes(self) -> int:
        """What the kept states take."""
        return self._bytes

    def clear(self) -> None:
        """Forget all states; the counts stay."""
        self._kept.clear()
        self._bytes = 0

    def recall(self, trie: Trie, conversations: Sequence[Conversation], media: Sequence[Medium]) -> Recall:
        """Take out of a pack what is known of its prompts.

        Args:
            trie: the pack.
            conversations: those that it holds, in its order.
            media: what the rows' media are.
        """
        prompts = _prompts(trie, conversations, media)
        found = [list(itertools.takewhile(lambda p: p.key in self._kept, prompt.pieces)) for prompt in prompts]
        keys: list[bytes] = []
        piece_T, place_T = np.full(len(trie), -1), np.zeros(len(trie), dtype=np.int64)
        for prompt, pieces in zip(prompts, found, strict=True):
            for piece in pieces:
                piece_T[prompt.tokens(piece)] = len(keys)
                place_T[prompt.tokens(piece)] = np.arange(piece.end - piece.begin)
                keys.append(piece.key)
        for last in trie.last_S.tolist():  # what is scored is computed, also where it is inside another's prompt
            piece_T[last : trie.exit_T[last]] = -1
        known_T = piece_T >= 0
        rest, begin_P, exit_P = without(trie, known_T)
        given = [(self._kept[keys[piece]], run) for piece, run in _runs(piece_T[known_T], place_T[known_T])]
        at_T = np.where(known_T, known_T.cumsum() - 1, len(begin_P) + (~known_T).cumsum() - 1)
        fresh: dict[bytes, States] = {}
        wanted = []
        for key, tokens in self._to_keep(prompts):
            fresh[key] = []
            wanted.append((fresh[key], torch.from_numpy(at_T[tokens])))
        return Recall(rest, Past(begin_P, exit_P, given, wanted), prompts, sum(map(bool, found)), fresh)

    def _to_keep(self, prompts: Sequence[_Prompt]) -> Iterator[tuple[bytes, IntArray]]:
        """The pieces to be kept of a pack, and their tokens there: from the front, as many as there is room for."""
        seen: set[bytes] = set()
        room = self.max_bytes // _token_bytes(self._backbone)
        for prompt in prompts:
            for piece in prompt.pieces:
                if piece.key in self._kept or piece.key in seen:
                    continue
                room -= piece.end - piece.begin
                if room < 0:
                    return
                seen.add(piece.key)
                yield piece.key, prompt.tokens(piece)

    def keep(self, recall: Recall) -> None:
        """Keep what a pass has filled, and count."""
        self.hits += recall.found
        self.misses += len(recall.prompts) - recall.found
        self.tokens_saved += len(recall.past)
        for prompt in recall.prompts:
            # From the end: a piece is of no use without those before it, which so are always the younger ones.
            for piece in reversed(prompt.pieces):
                if piece.key in self._kept:
                    self._kept.move_to_end(piece.key)
                elif piece.key in recall.fresh:
                    self._kept[piece.key] = recall.fresh[piece.key]
                    self._bytes += _nbytes(recall.fresh[piece.key])
        self._evict()

    def _evict(self) -> None:
        while self._bytes > self.max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _nbytes(oldest)


def _prompts(trie: Trie, conversations: Sequence[Conversation], media: Sequence[Medium]) -> list[_Prompt]:
    """The distinct prompts of a pack."""
    found: dict[bytes, _Prompt] = {}
    for conversation, last in zip(conversations, trie.last_S.tolist(), strict=True):
        pieces = cut(conversation.rows_TC[: conversation.prompt], media)
        if pieces and pieces[-1].key not in found:
            found[pieces[-1].key] = _Prompt(pieces, np.flatnonzero(trie.exit_T[: last + 1] > last))
    return list(found.values())


def cut(rows_TC: IntArray, media: Sequence[Medium]) -> list[_Piece]:
    """A prompt's pieces. Where all but the last end is decided by what is before, whatever comes after."""
    apart = np.flatnonzero(rows_TC[:, Column.OFFSET] == 0)
    named_TC = rows_TC.copy()
    # A table's numbers mean nothing in another call: in their place comes the content behind each run of placeholders.
    named_TC[:, Column.MEDIUM] = 0
    pieces: list[_Piece] = []
    begin, key = 0, bytes(16)
    while begin < len(rows_TC):
        after = int(np.searchsorted(apart, begin + PIECE_TOKENS))
        end = int(apart[after]) if after < len(apart) else len(rows_TC)
        digest = hashlib.blake2b(key + (end - begin).to_bytes(8), digest_size=16)
        digest.update(named_TC[begin:end].tobytes())
        starts = rows_TC[begin:end][rows_TC[begin:end, Column.OFFSET] == 0, Column.MEDIUM]
        for index in starts[starts >= 0].tolist():
            digest.update(media[index].key)
        key = digest.digest()
        pieces.append(_Piece(key, begin, end))
        begin = end
    return pieces


def _runs(piece_P: IntArray, place_P: IntArray) -> Iterator[tuple[int, slice]]:
    """Given tokens, in order, as slices of pieces."""
    cuts = np.flatnonzero((np.diff(piece_P) != 0) | (np.diff(place_P) != 1)) + 1
    bounds = [0, *cuts.tolist(), len(piece_P)] if len(piece_P) else []
    for begin, end in itertools.pairwise(bounds):
        first = int(place_P[begin])
        yield int(piece_P[begin]), slice(first, first + end - begin)


def _token_bytes(backbone: Backbone) -> int:
    """What one token's states take."""
    text = backbone.config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * text.num_key_value_heads * head * backbone.dtype.itemsize)


def _nbytes(states: States) -> int:
    return sum(tensor.nbytes for tensor in states)
