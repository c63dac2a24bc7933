"""Who knows which answers are right: a key for each prompt, or the rendered world itself."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Protocol

from vlreward.data.content import text_of
from vlreward.errors import InputError
from vlreward.tiny.world import FAMILIES, Item, World
from vlreward.tiny.world.oracle import is_right
from vlreward.types import Group

from .answers import Match, exact_match, right_answers


class Gold(Protocol):
    """Judges answers without a reward model."""

    def right(self, group: Group) -> tuple[bool, ...] | None:
        """Which of a group's answers are right; None where that is not known."""
        ...


class KeyGold:
    """By the right answers of prompts.

    Args:
        keys: right answers by the prompts' ids; of other prompts nothing is known.
        match: whether an answer says what its key says.
    """

    def __init__(self, keys: Mapping[str, str], match: Match = exact_match) -> None:
        self._keys, self._match = keys, match

    def right(self, group: Group) -> tuple[bool, ...] | None:
        """By the key of the group's id."""
        key = self._keys.get(group.id or "")
        return None if key is None else right_answers(group, key, self._match)


class WorldGold:
    """By what the scenes of a rendered world hold; see `vlreward.tiny.world.oracle`."""

    def __init__(self, world: World) -> None:
        self._world = world
        # The same questions are judged again and again, and an item draws its pictures.
        self._item = functools.lru_cache(maxsize=1024)(self._made)

    def right(self, group: Group) -> tuple[bool, ...] | None:
        """By the item that the group's id names.

        Raises:
            InputError: the group is not of this world.
        """
        item = self._item(group.id or "")
        return tuple(is_right(item, text_of(response)) for response in group.responses)

    def _made(self, id: str) -> Item:
        number = id.rpartition("-")[2]
        item = self._world.item(int(number)) if number.isdecimal() else None
        if item is None or item.id != id:
            raise InputError(f"group {id!r}: not an item of the {self._world.split} world of seed {self._world.seed}")
        return item


@functools.cache
def families_in_words() -> tuple[str, ...]:
    """The families of the rendered world whose answers are words, which a policy can write."""
    return tuple(name for name in FAMILIES if not World(families=(name,)).item(0).answer_scenes)
