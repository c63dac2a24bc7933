"""Packs as a data set: an item is a trie of whole rankings, ready for one forward pass.

Shape suffixes: ``S`` conversations, ``P`` pairs, ``A`` answer tokens, ``K`` judged tokens, ``T`` packed tokens, ``N``
patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from vlreward.errors import InputError, MediaError
from vlreward.model.media import Medium
from vlreward.model.packing import Column, IntArray, Trie, build_trie, lexicographic_order, shared_length
from vlreward.model.processing import MediaTable
from vlreward.types import Ranking

from .objective import BaseObjective
from .plan import Entry, Plan
from .sources import RankingSource

if TYPE_CHECKING:
    from vlreward.model.backbone import Sight
    from vlreward.model.reward_model import RewardModel

    from .features import FeatureCache

Pack: TypeAlias = dict[str, Any]
"""``trie``: a `Trie`; ``media``: a `PackMedia`; ``labels``: one entry for each item of the loss (see `Objective`), for
Trainer to count; and the tensors

- ``chosen_P``, ``rejected_P``: conversations, int64; ``margins_P``: float32;
- ``ranking_S``, ``rank_S``: which of the pack's rankings a conversation is of, and its rank; ``source_S``,
  ``number_S``: which source that is from, and its number there; ``length_S``: its tokens; all int64;
- ``parents_A``: packed index of the token before each token that is to be written, those of each ranking's best
  response (the first of several) or of all; ``targets_A``: its id; ``answer_A``: the conversation;
- ``judged_K``: packed index of each token that not all responses of a ranking share, for an objective that judges;
  ``right_K``: whether a best response goes through it, bool; ``judges_K``: the ranking.

``names`` are the rankings', for errors; ``skipped`` names what was left out; ``failure`` is an error to be raised."""


@dataclass(frozen=True, eq=False)
class PackMedia:
    """The distinct pictures and videos of a pack."""

    media: tuple[Medium, ...]
    """Without their frames."""
    indices: tuple[int, ...]
    """What the trie's rows call each of them."""
    patches: tuple[torch.Tensor | None, ...]
    """Their patches ``(N, P)``, float32; None where the cache has the vision tower's output."""
    sights: tuple[Sight | None, ...]
    """That output."""


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A ranking and its conversations."""

    entry: Entry
    name: str
    rows: list[IntArray]
    """Those of its conversations that are seen: of its best response alone, where responses are not compared."""
    ranks: tuple[int, ...]
    """Theirs."""
    margin: float | None
    written: dict[int, int]
    """Of the conversations whose responses are written, how many tokens are the prompt's."""


class PackDataset(torch.utils.data.Dataset[Pack]):
    """The packs of a plan, loaded when they are asked for.

    Args:
        plan: which rankings make a pack.
        sources: where they are.
        model: renders, tokenises and cuts pictures; its weights are not used.
        objective: decides what is counted and whether responses are written.
        skip_missing: whether a ranking whose picture cannot be read is left out of its pack.
        cache: of a frozen vision tower.
    """

    def __init__(
        self,
        plan: Plan,
        sources: Sequence[RankingSource],
        model: RewardModel,
        objective: BaseObjective,
        *,
        skip_missing: bool,
        cache: FeatureCache | None = None,
    ) -> None:
        self.plan, self.sources, self.objective = plan, sources, objective
        self._model, self._skip_missing, self._cache = model, skip_missing, cache

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Pack:
        """A pack. What is wrong with a ranking is in its ``failure``: an error raised in another process would come
        with that process's traceback in its message."""
        skipped: list[str] = []
        loaded: list[_Loaded] = []
        table = MediaTable()
        try:
            for entry in self.plan.pack(index):
                try:
                    loaded.append(self._load(entry, table))
                except MediaError as error:
                    if not self._skip_missing:
                        raise
                    skipped.append(str(error))
            return self._pack(loaded, table) | {"skipped": tuple(skipped), "failure": None}
        except InputError as error:
            return self._pack([], table) | {"skipped": tuple(skipped), "failure": str(error)}

    def _load(self, entry: Entry, table: MediaTable) -> _Loaded:
        source = self.sources[entry.source]
        ranking = source[entry.number]
        group = ranking.group
        name = f"{source.label}: ranking {entry.number}" + ("" if group.id is None else f" ({group.id})")
        best = ranking.best
        seen = range(len(group)) if self.objective.compares else [best]
        rows = [self._model.conversation(group, i, table, name).rows_TC for i in seen]
        written: dict[int, int] = {}
        if self.objective.writes:
            places = range(len(rows)) if self.objective.writes_all else [seen.index(best)]
            written = self._prompt_lengths(ranking, {place: rows[place] for place in places}, table, name)
        return _Loaded(entry, name, rows, tuple(ranking.ranks[i] for i in seen), ranking.margin, written)

    def _prompt_lengths(
        self, ranking: Ranking, rows: dict[int, IntArray], table: MediaTable, name: str
    ) -> dict[int, int]:
        """How many tokens of each conversation are as they are before anything has been answered."""
        processor, messages = self._model.processor, ranking.group.messages
        text = processor.render(messages, generate=True)
        prompt = processor.encode(text, messages, table, name, place=False).rows_TC[:, : Column.TIME]
        return {place: shared_length(prompt, rows_TC[:, : Column.TIME]) for place, rows_TC in rows.items()}

    def _pack(self, loaded: Sequence[_Loaded], table: MediaTable) -> Pack:
        rows = [row for item in loaded for row in item.rows]
        trie = _trie(rows)
        pairs = _pairs(loaded, trie.last_S, margins=self.objective.margins)
        parents, targets, answers = _writing(loaded, trie)
        if self.objective.hides and len(targets):
            trie = _hidden(trie, parents, targets, answers, share=self.objective.hides)
        judged, right, judges = _judging(loaded if self.objective.judges else [], trie)
        count = self.objective.items(pairs=len(pairs.chosen), rankings=len(loaded), tokens=len(targets))
        return {
            "trie": trie,
            "media": self._media(trie, table),
            "labels": torch.zeros(count, dtype=torch.long),
            "names": tuple(item.name for item in loaded),
            "chosen_P": _long(pairs.chosen),
            "rejected_P": _long(pairs.rejected),
            "margins_P": torch.tensor(pairs.margins, dtype=torch.float32),
            "ranking_S": _long([i for i, item in enumerate(loaded) for _ in item.rows]),
            "rank_S": _long([rank for item in loaded for rank in item.ranks]),
            "source_S": _long([item.entry.source for item in loaded for _ in item.rows]),
            "number_S": _long([item.entry.number for item in loaded for _ in item.rows]),
            "length_S": _long([len(row) for row in rows]),
            "parents_A": _long(parents),
            "targets_A": _long(targets),
            "answer_A": _long(answers),
            "judged_K": _long(judged),
            "right_K": torch.from_numpy(right),
            "judges_K": _long(judges),
        }

    def _media(self, trie: Trie, table: MediaTable) -> PackMedia:
        indices = sorted(set(trie.rows_TC[:, Column.MEDIUM].tolist()) - {-1})
        media = [table.media[index] for index in indices]
        sights = [self._cache.get(medium) if self._cache else None for medium in media]
        process = self._model.processor.media.patches
        patches = [
            torch.from_numpy(process(medium)) if sight is None else None
            for medium, sight in zip(media, sights, strict=True)
        ]
        bare = tuple(replace(medium, frames=()) for medium in media)
        return PackMedia(bare, tuple(indices), tuple(patches), tuple(sights))


def _trie(rows: Sequence[IntArray]) -> Trie:
    """The trie of conversations, whose last tokens come in the order given; of none, one token that means nothing."""
    if not rows:
        filler = np.zeros((1, len(Column)), dtype=np.int64)
        filler[:, [Column.MEDIUM, Column.FEATURE]] = -1
        return Trie(filler, np.ones(1, dtype=np.int64), np.empty(0, dtype=np.int64))
    order = lexicographic_order(rows)
    trie = build_trie([rows[i] for i in order])
    last_S = np.empty(len(rows), dtype=np.int64)
    last_S[order] = trie.last_S
    return Trie(trie.rows_TC, trie.exit_T, last_S)


@dataclass(frozen=True)
class _Pairs:
    chosen: list[int]
    rejected: list[int]
    margins: list[float]


def _pairs(loaded: Sequence[_Loaded], last_S: IntArray, *, margins: bool) -> _Pairs:
    """All pairs of a ranking's responses whose ranks differ, but for responses that are equal altogether."""
    found = _Pairs([], [], [])
    first = 0
    for item in loaded:
        ranks, margin = item.ranks, item.margin
        for i, better in enumerate(ranks):
            for j, worse in enumerate(ranks):
                if better < worse and last_S[first + i] != last_S[first + j]:
                    found.chosen.append(first + i)
                    found.rejected.append(first + j)
                    # A margin says how much better the first of a pair is.
                    says = margins and margin is not None and len(ranks) == 2
                    found.margins.append((margin if i == 0 else -margin) if says and margin is not None else 0.0)
        first += len(ranks)
    return found


def _writing(loaded: Sequence[_Loaded], trie: Trie) -> tuple[IntArray, IntArray, IntArray]:
    """Of each response that is written: the packed index before its tokens, their ids, and its conversation."""
    none = np.empty(0, dtype=np.int64)
    parents, targets, answers = [none], [none], [none]
    first = 0
    for item in loaded:
        for place, prompt in item.written.items():
            path = _path(trie, first + place)
            own = path[prompt:]
            # Pictures in a response are not written.
            written = trie.rows_TC[own, Column.MEDIUM] < 0
            own = own[written]
            parents.append(path[prompt - 1 : -1][written])
            targets.append(trie.rows_TC[own, Column.ID])
            answers.append(np.full(len(own), first + place))
        first += len(item.rows)
    return np.concatenate(parents), np.concatenate(targets), np.concatenate(answers)


def _hidden(trie: Trie, parents: IntArray, targets: IntArray, answers: IntArray, *, share: float) -> Trie:
    """The trie with a share of the answers' tokens shown as tokens of any answer; the same for the same pack."""
    draws = np.random.default_rng(targets)
    own = parents[1:][answers[1:] == answers[:-1]]  # the first token of each answer is written after the prompt's last
    hidden = own[draws.random(len(own)) < share]
    rows_TC = trie.rows_TC.copy()
    rows_TC[hidden, Column.ID] = draws.choice(targets, len(hidden))
    return Trie(rows_TC, trie.exit_T, trie.last_S)


def _judging(loaded: Sequence[_Loaded], trie: Trie) -> tuple[IntArray, npt.NDArray[np.bool_], IntArray]:
    """Of each ranking: the tokens that not all of its responses share, whether a best one goes through, its number."""
    none = np.empty(0, dtype=np.int64)
    judged, right, judges = [none], [none.astype(bool)], [none]
    first = 0
    for number, item in enumerate(loaded):
        paths = [_path(trie, first + i) for i in range(len(item.rows))]
        tokens, counts = np.unique(np.concatenate(paths), return_counts=True)
        apart = tokens[counts < len(paths)]
        best = [path for path, rank in zip(paths, item.ranks, strict=True) if rank == min(item.ranks)]
        judged.append(apart)
        right.append(np.isin(apart, np.concatenate(best)))
        judges.append(np.full(len(apart), number))
        first += len(item.rows)
    return np.concatenate(judged), np.concatenate(right), np.concatenate(judges)


def _path(trie: Trie, conversation: int) -> IntArray:
    """The packed indices of a conversation's tokens."""
    last = trie.last_S[conversation]
    return np.flatnonzero(trie.exit_T[: last + 1] > last)


def _long(values: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.int64))


def first_of(packs: list[Pack]) -> Pack:
    """The collator: a batch is one pack."""
    (pack,) = packs
    return pack
