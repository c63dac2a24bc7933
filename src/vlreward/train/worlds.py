"""The rendered world as a source of rankings: scenes that are made when they are asked for."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from vlreward.tiny.world import Split, World
from vlreward.types import Group, Message, Ranking

from .config import not_negative, plain, positive


@dataclass(frozen=True, kw_only=True)
class WorldData:
    """A part of the rendered world."""

    items: int
    """How many scenes there are in an epoch."""
    start: int = 0
    """The number of the first: stages that start elsewhere see other scenes."""
    seed: int = 0
    """One world from another."""
    split: Split = "train"
    """``heldout`` has combinations that are nowhere in ``train`` nor in ``practice``, which is wider than its tasks."""
    families: tuple[str, ...] | None = None
    """Kinds of task; None: all. One that is named twice comes twice as often."""
    wrong: int = 3
    """Wrong responses of each ranking; 0: conversations with the right one alone, for ``loss: language``."""
    tell: Literal["answers", "inventories"] = "answers"
    """``inventories``: name what a picture shows, in a fixed order; so one learns to see. Wrong ones have mistakes."""
    shuffled: bool = False
    """Inventories in any order: each thing has to be found, where in a fixed one it is the next."""
    size: int = 112
    """Pixels of a picture's side."""

    def __post_init__(self) -> None:
        positive("items", self.items)
        not_negative("start", self.start)
        not_negative("wrong", self.wrong)
        self.make()

    def make(self) -> World:
        """The world.

        Raises:
            ConfigError: no such family, or pictures too small.
        """
        return World(self.seed, self.split, self.families, self.size)


class WorldRankings:
    """Rankings of a rendered world; see `vlreward.train.sources.RankingSource`."""

    sample = 1100

    def __init__(self, settings: WorldData, label: str) -> None:
        self.label, self.dropped = label, Counter[str]()
        self._settings, self._world = settings, settings.make()
        values = plain(settings)
        self.fingerprint = hashlib.blake2b(f"{values} {_code()}".encode(), digest_size=12).hexdigest()

    def __len__(self) -> int:
        return self._settings.items

    def __getitem__(self, number: int) -> Ranking:
        index = self._settings.start + number
        if self._settings.tell == "inventories":
            return self._world.inventory(index, self._settings.wrong, shuffled=self._settings.shuffled)
        item = self._world.item(index)
        if not self._settings.wrong:
            return _told(item.chat(), item.id)
        return item.group(min(self._settings.wrong, len(item.wrong)))


def _told(chat: Sequence[Message], name: str) -> Ranking:
    """A conversation as a ranking of its last message alone."""
    *prompt, answer = chat
    return Ranking(group=Group(tuple(prompt), [(answer,)], id=name), ranks=(0,))


def _code() -> str:
    """A digest of what makes the world: another generator is other data."""
    digest = hashlib.blake2b(digest_size=12)
    pending = [resources.files("vlreward.tiny.world")]
    while pending:
        folder = pending.pop()
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.is_dir():
                pending.append(entry)
            elif entry.name.endswith(".py"):
                digest.update(entry.read_bytes())
    return digest.hexdigest()
