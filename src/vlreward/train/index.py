"""What is known of each ranking before it is loaded: how long it is. Found once, and kept beside the output."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlreward.data.writing import replacing
from vlreward.errors import InputError, LengthError, MediaError
from vlreward.model.media import MediaProcessor, Medium
from vlreward.model.packing import Column, IntArray, build_trie, lexicographic_order
from vlreward.model.processing import MediaTable
from vlreward.types import Image, Ranking, Text, Video

from .sources import Progress, RankingSource

if TYPE_CHECKING:
    from vlreward.model.reward_model import RewardModel

TOO_LONG = "longer than max_length"
EQUAL = "chosen equals rejected"
TIED = "all ranks tied"
MISSING = "a picture that cannot be read"


class SizeTable(MediaTable):
    """The media of one ranking by their sizes and sources; no pixel is decoded."""

    def look(self, part: Image | Video, processor: MediaProcessor, where: str) -> Medium:
        """What the part's header says."""
        return processor.measure(part, where)


@dataclass(frozen=True, eq=False)
class Index:
    """The rankings of one source that can be trained on. ``N`` rankings."""

    numbers_N: IntArray
    """Their numbers in the source."""
    tokens_N: IntArray
    """Tokens of each in a pack: what its conversations share counts once."""
    pictures_N: IntArray
    """Visual tokens among them; 0: text only."""
    dropped: Counter[str]
    """How many rankings were left out, by reason."""

    def __len__(self) -> int:
        return len(self.numbers_N)


@dataclass(frozen=True)
class Measure:
    """One ranking's size, or why it is left out."""

    tokens: int = 0
    visual: int = 0
    dropped: str | None = None


def build_index(
    source: RankingSource,
    model: RewardModel,
    *,
    max_length: int,
    skip_missing: bool,
    rewards: bool = True,
    cache: Path,
    progress: Progress,
) -> Index:
    """Measure all rankings of a source, unless that was done before.

    Args:
        source: the rankings.
        model: renders and tokenises them.
        max_length: tokens of a conversation at most.
        skip_missing: whether a ranking whose picture is missing is left out; otherwise that is an error.
        rewards: whether responses are to be told from one another; otherwise only the best of each ranking is seen.
        cache: the folder in which the index is kept.
        progress: told of each ranking.

    Raises:
        InputError: a ranking cannot be read or tokenised; it is named.
    """
    processor = model.processor
    means = (
        source.fingerprint,
        len(source),
        max_length,
        skip_missing,
        rewards,
        processor.media.min_pixels,
        processor.media.max_pixels,
    )
    vocabulary = sorted(processor.tokenizer.get_vocab().items())
    means_of_text = (processor.template, vocabulary, model.backbone.spec.model_type)
    name = hashlib.blake2b(repr((means, means_of_text)).encode(), digest_size=12).hexdigest()
    path = cache / f"index-{name}.npz"
    if path.is_file():
        return _read(path)
    kept: list[tuple[int, int, int]] = []
    dropped: Counter[str] = Counter(source.dropped)
    measured = len(source) if source.sample is None else min(source.sample, len(source))
    for number in range(measured):
        try:
            where = f"{source.label}: ranking {number}"
            found = measure(source[number], model, max_length, where, rewards=rewards)
        except MediaError:
            if not skip_missing:
                raise
            found = Measure(dropped=MISSING)
        if found.dropped is None:
            kept.append((number, found.tokens, found.visual))
        else:
            dropped[found.dropped] += 1
        progress(f"measuring {source.label}", 1)
    columns = np.asarray(kept, dtype=np.int64).reshape(-1, 3).T
    if measured < len(source) and kept:
        columns = columns[:, np.arange(len(source)) % len(kept)]
        columns[0] = np.arange(len(source))
    index = Index(columns[0], columns[1], columns[2], dropped)
    _write(index, path)
    return index


def measure(ranking: Ranking, model: RewardModel, max_length: int, where: str, *, rewards: bool = True) -> Measure:
    """One ranking's size, or that of its best response alone where there are no rewards to tell responses apart.

    Raises:
        InputError: it cannot be rendered.
        MediaError: a picture has no size.
    """
    if rewards and len(set(ranking.ranks)) < 2:
        return Measure(dropped=TIED)
    group, table = ranking.group, SizeTable()
    where = f"{where} ({group.id})" if group.id is not None else where
    try:
        seen = range(len(group)) if rewards else [ranking.best]
        rows = [model.conversation(group, i, table, where, place=False).rows_TC for i in seen]
    except LengthError:
        return Measure(dropped=TOO_LONG)
    if max(map(len, rows)) > max_length:
        return Measure(dropped=TOO_LONG)
    if rewards and not _differs(ranking, rows, model, table, where):
        return Measure(dropped=EQUAL)
    trie = build_trie([rows[i] for i in lexicographic_order(rows)])
    return Measure(len(trie), int((trie.rows_TC[:, Column.MEDIUM] >= 0).sum()))


def _differs(ranking: Ranking, rows: Sequence[IntArray], model: RewardModel, table: MediaTable, where: str) -> bool:
    """Whether two responses of different ranks differ, in text or in pictures."""
    texts = [row[:, Column.ID].tobytes() for row in rows]
    ranks_of: dict[bytes, set[int]] = {}
    for text, rank in zip(texts, ranking.ranks, strict=True):
        ranks_of.setdefault(text, set()).add(rank)
    if len(ranks_of) > 1:
        return True
    # All say the same: the pictures decide, and only their content tells whether two sources hold one picture.
    keys = [{table.media[index].key for index in row[:, Column.MEDIUM].tolist() if index >= 0} for row in rows]
    if all(key == keys[0] for key in keys):
        return False
    contents = {tuple(_content(ranking, i, model, where)) for i in range(len(rows))}
    return len(contents) > 1


def _content(ranking: Ranking, index: int, model: RewardModel, where: str) -> list[bytes]:
    parts = [part for message in ranking.group.responses[index] for part in message.parts]
    return [model.processor.media.load(part, where).key for part in parts if not isinstance(part, Text)]


def _write(index: Index, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("wb") as file:
        dropped = np.frombuffer(json.dumps(index.dropped).encode(), dtype=np.uint8)
        np.savez(file, numbers=index.numbers_N, tokens=index.tokens_N, pictures=index.pictures_N, dropped=dropped)


def _read(path: Path) -> Index:
    try:
        with np.load(path, allow_pickle=False) as held:
            dropped = Counter(json.loads(held["dropped"].tobytes()))
            return Index(held["numbers"], held["tokens"], held["pictures"], dropped)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: a broken index; remove it, and it is made again") from error
