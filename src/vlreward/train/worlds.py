"""The rendered world as a source of rankings: scenes that are made when they are asked for."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from operator import itemgetter
from pathlib import Path
from typing import Literal

from vlreward.data.content import text_of
from vlreward.data.groups import read_groups
from vlreward.errors import ConfigError, InputError
from vlreward.tiny.world import Item, Split, World, Wrong
from vlreward.tiny.world.chance import Chance
from vlreward.tiny.world.oracle import is_right, question_of, words_of
from vlreward.types import Group, Message, Ranking

from .config import not_negative, plain, positive

SAMPLED = "sampled"
"""The fault of a wrong response that is a policy's own, of which nobody has said what is wrong with it."""


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
    sampled: str | None = None
    """A groups file with a policy's answers to these very items. The wrong ones among them come first as wrong
    responses, and one of the right ones is as good as the world's own; an item that has none is as it was."""
    size: int = 112
    """Pixels of a picture's side."""

    def __post_init__(self) -> None:
        positive("items", self.items)
        not_negative("start", self.start)
        not_negative("wrong", self.wrong)
        if self.sampled is not None and (self.tell == "inventories" or not self.wrong):
            raise ConfigError("sampled: answers are judged as wrong responses; say tell: answers, and wrong above 0")
        self.make()

    def make(self) -> World:
        """The world.

        Raises:
            ConfigError: no such family, or pictures too small.
        """
        return World(self.seed, self.split, self.families, self.size)


class WorldRankings:
    """Rankings of a rendered world; see `vlreward.train.sources.RankingSource`."""

    sample = 440

    def __init__(self, settings: WorldData, label: str) -> None:
        self.label, self.dropped = label, Counter[str]()
        self._settings, self._world = settings, settings.make()
        values = plain(settings)
        sampled = Path(settings.sampled).expanduser() if settings.sampled else None
        self._sampled = {} if sampled is None else _read_sampled(sampled, self._world)
        said = f"{values} {sorted(self._sampled.items(), key=itemgetter(0))} {_code()}"
        self.fingerprint = hashlib.blake2b(said.encode(), digest_size=12).hexdigest()

    def __len__(self) -> int:
        return self._settings.items

    def __getitem__(self, number: int) -> Ranking:
        index = self._settings.start + number
        if self._settings.tell == "inventories":
            return self._world.inventory(index, self._settings.wrong, shuffled=self._settings.shuffled)
        item = self._world.item(index)
        if not self._settings.wrong:
            return _told(item.chat(), item.id)
        item = _answered(item, self._sampled.get(index), self._settings.wrong)
        return item.group(min(self._settings.wrong, len(item.wrong)))


@dataclass(frozen=True, kw_only=True)
class SampledAnswers:
    """What a policy answered to an item."""

    question: str
    """The words of its prompt."""
    answers: tuple[str, ...]
    """The different ones."""


def _read_sampled(path: Path, world: World) -> dict[int, SampledAnswers]:
    """The answers of a groups file by the number of their item.

    Raises:
        InputError: a row is not of this world.
    """
    found = {}
    for group in read_groups(path):
        start, _, number = (group.id or "").rpartition("-")
        if start != f"{world.split}-{world.seed}" or not number.isdecimal():
            raise InputError(f"{path}: {group.id!r} is no item of the {world.split} world of seed {world.seed}")
        answers = tuple(dict.fromkeys(filter(None, map(text_of, group.responses))))
        found[int(number)] = SampledAnswers(question=words_of(group.messages), answers=answers)
    return found


def _answered(item: Item, sampled: SampledAnswers | None, wrong: int) -> Item:
    """An item with answers of a policy in the place of its own responses.

    Raises:
        InputError: they are answers to something else.
    """
    if sampled is None:
        return item
    if sampled.question != question_of(item):
        raise InputError(f"{item.id} was sampled with another question; are the world's families the same?")
    chance = Chance("sampled", item.id)
    right, mistaken = [item.right], []
    for text in sampled.answers:
        response = (Message("assistant", text),)
        if is_right(item, text):
            right.append(response)
        else:
            mistaken.append(Wrong(response, SAMPLED))
    taken = chance.sample(mistaken, wrong)
    others = chance.sample(item.wrong, wrong - len(taken))
    return replace(item, right=chance.choice(right), wrong=(*taken, *others))


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
