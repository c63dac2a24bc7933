"""What a model said of a benchmark's items, a row each: all that accuracies are computed from.

A row needs neither the model nor the benchmark's data to be understood, so that a result can be worked out again.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from vlreward.data.content import Looker, digest_of, text_of
from vlreward.data.limits import DEFAULT_LIMITS, MediaLimits
from vlreward.data.marks import media_of
from vlreward.data.ranking_format import is_number
from vlreward.data.rows import Row, read_rows
from vlreward.engines.base import Engine
from vlreward.errors import EngineError, InputError, ScoreError
from vlreward.types import Group, Response

from .benchmarks.benchmark import Item, Shared
from .blank import blanked, has_pictures

Values: TypeAlias = dict[str, Any]

_KEYS = ("id", "labels", "ranks", "lengths", "ordered", "shared", "rewards", "blank")


@dataclass(frozen=True, kw_only=True)
class ItemScores:
    """One item and its rewards; lists have one entry per response."""

    id: str
    labels: Mapping[str, str]
    """What it is grouped by."""
    ranks: tuple[int, ...]
    """0 the best; not all equal."""
    lengths: tuple[float, ...]
    """Characters of text."""
    ordered: bool
    """Whether the responses stand in the order in which they are shown."""
    shared: Mapping[Shared, tuple[str, ...]]
    """Digests of the prompt's text and of its pictures, where they make items a cluster."""
    rewards: tuple[float, ...]
    blank: tuple[float, ...] | None
    """The rewards with pictures blanked; None where there are none."""

    def cluster_keys(self, shared: Sequence[Shared]) -> set[Hashable]:
        """What it may have in common with other items."""
        return {(kind, digest) for kind in shared for digest in self.shared.get(kind, ())}


def facts_of(item: Item, shared: Sequence[Shared]) -> Values:
    """The part of an item's row that no model has a say in.

    Args:
        item: an item of a benchmark.
        shared: what makes items one cluster. Pictures are the same when their files or their bytes are.
    """
    group = item.ranking.group
    digests: dict[str, list[str]] = {}
    if "prompt" in shared:
        text = text_of(group.messages)
        digests["prompt"] = [_hex(digest_of([text.encode("utf-8", "surrogatepass")]))] if text else []
    if "picture" in shared:
        looker = Looker(decode=False)
        digests["picture"] = [_hex(looker.look(part).digest) for part in media_of(group.messages)]
    return {
        "id": group.id,
        "labels": dict(item.labels),
        "ranks": list(item.ranking.ranks),
        "lengths": [len(text_of(response)) for response in group.responses],
        "ordered": item.is_ordered,
        "shared": digests,
    }


def _hex(digest: int) -> str:
    return f"{digest:016x}"


def score_blank_too(engine: Engine, groups: Sequence[Group], limits: MediaLimits = DEFAULT_LIMITS) -> list[Values]:
    """``{"rewards", "blank"}`` of each group: as it is, and with its pictures blanked (None where it has none).

    The engine is given the responses of a group in an order that only their contents decide, so that where a benchmark
    puts the right one cannot reach it, not even by the last digit of a reward.

    Args:
        engine: what scores.
        groups: prompts and responses; scored in one call, so that the engine can share work between both forms.
        limits: what pictures may be.

    Raises:
        EngineError: the engine answered short.
        VLRewardError: as `Engine.score`.
    """
    orders = [_order(group) for group in groups]
    turned = [_turned(group, order) for group, order in zip(groups, orders, strict=True)]
    seeing = [i for i, group in enumerate(groups) if has_pictures(group)]
    asked = [*turned, *(blanked(turned[i], limits) for i in seeing)]
    orders += [orders[i] for i in seeing]
    rewards = engine.score(asked)
    if len(rewards) != len(asked):
        raise EngineError(f"{len(rewards)} rewards came back for {len(asked)} groups")
    found = [
        _turned_back(_checked(reward.rewards, group), order)
        for reward, group, order in zip(rewards, asked, orders, strict=True)
    ]
    blank = iter(found[len(groups) :])
    return [
        {"rewards": row, "blank": next(blank) if has_pictures(group) else None}
        for row, group in zip(found[: len(groups)], groups, strict=True)
    ]


def _order(group: Group) -> list[int]:
    """The places of the responses, sorted by what these say and show."""
    return sorted(range(len(group)), key=lambda i: contents_of(group.responses[i]))


def contents_of(response: Response) -> tuple[str, list[int]]:
    """What a response says and shows, to put responses into an order in which none knows its place."""
    looker = Looker(decode=False)
    return text_of(response), [looker.look(part).digest for part in media_of(response)]


def _turned(group: Group, order: Sequence[int]) -> Group:
    return replace(group, responses=tuple(group.responses[i] for i in order))


def _turned_back(rewards: Sequence[float], order: Sequence[int]) -> list[float]:
    found = [0.0] * len(order)
    for reward, i in zip(rewards, order, strict=True):
        found[i] = reward
    return found


def _checked(rewards: Sequence[float], group: Group) -> list[float]:
    if len(rewards) != len(group):
        raise EngineError(f"group {group.id!r}: {len(rewards)} rewards came back for {len(group)} responses")
    return list(rewards)


def read_scores(path: str | Path, unusable: list[str] | None = None) -> Iterator[ItemScores]:
    """Read the rows of a run, as `facts_of` and `score_blank_too` make them together.

    Args:
        path: the file.
        unusable: takes what rows say that have an error instead of scores; without, such a row is an error.

    Raises:
        InputError: there is no such file, or a row is not one of these; the message starts with file and line.
        ScoreError: a reward is not a finite number.
    """
    return map(parse_scores, good_rows(path, unusable))


def good_rows(path: str | Path, unusable: list[str] | None = None) -> Iterator[Row]:
    """The rows of a run that do not say an error, whatever else they say; arguments and errors as `read_scores`."""
    for row in read_rows(path):
        if unusable is not None and isinstance(row.data.get("error"), str):
            unusable.append(row.data["error"])
        else:
            yield row


def parse_scores(row: Row) -> ItemScores:
    """One such row."""
    values, where = row.data, row.where
    if missing := [key for key in _KEYS if key not in values]:
        raise InputError(f"{where}: no scores of vlreward eval: {', '.join(map(repr, missing))} missing")
    labels, shared, ranks = values["labels"], values["shared"], values["ranks"]
    if not isinstance(labels, dict) or not isinstance(shared, dict):
        raise InputError(f"{where}: 'labels' and 'shared' must be objects")
    if not isinstance(ranks, list) or not all(map(is_number, ranks)) or len(set(ranks)) < 2:
        raise InputError(f"{where}: 'ranks' must be numbers that are not all equal, got {ranks!r:.60}")
    count = len(ranks)
    return ItemScores(
        id=str(values["id"]),
        labels=labels,
        ranks=tuple(ranks),
        lengths=_numbers(values["lengths"], "lengths", count, where),
        ordered=bool(values["ordered"]),
        shared={kind: tuple(digests) for kind, digests in shared.items()},
        rewards=_numbers(values["rewards"], "rewards", count, where),
        blank=None if values["blank"] is None else _numbers(values["blank"], "blank", count, where),
    )


def _numbers(value: Any, name: str, count: int, where: str) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != count:
        raise InputError(f"{where}: {name!r} must be a list of {count} numbers, one per rank, got {value!r:.60}")
    for i, number in enumerate(value):
        if not is_number(number):
            raise ScoreError(f"{where}: {name}[{i}] must be a finite number, got {number!r:.60}")
    return tuple(value)
