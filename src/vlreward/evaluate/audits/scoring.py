"""Pairs and all of their variants through an engine, and what it said of them, a row each."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlreward.data.content import Looker, conversation_digest
from vlreward.data.marks import media_of
from vlreward.data.ranking_format import is_number
from vlreward.data.rows import Row
from vlreward.engines.base import Engine
from vlreward.errors import EngineError, InputError, ScoreError
from vlreward.types import Group, Message, Reward

from ..benchmarks.benchmark import Shared
from ..scores import Values, good_rows
from .audit import Audit
from .measures import PairRewards
from .pair import Conversation, DataSet, LeftOut, Pair, Sides

Plan = Mapping[str, Mapping[str, Sides | LeftOut]]
"""The variants of a pair and their controls, by audit and variant."""


@dataclass(frozen=True, kw_only=True)
class ScoredPair:
    """A pair's rewards, as it is and as it was changed."""

    id: str
    shared: Mapping[Shared, tuple[str, ...]]
    """Digests of what makes pairs one cluster."""
    before: PairRewards
    after: Mapping[str, Mapping[str, PairRewards | str]]
    """By audit and variant, or its control; words where a variant does not apply."""

    def cluster_keys(self) -> set[Hashable]:
        """What it may have in common with other pairs."""
        return {(kind, digest) for kind, digests in self.shared.items() for digest in digests}


def plan_of(pair: Pair, audits: Sequence[Audit], data: DataSet) -> Plan:
    """All variants of a pair, with their controls; the same again whenever it is asked.

    Raises:
        MediaError: a picture cannot be read; the message names the pair.
    """
    plan: dict[str, dict[str, Sides | LeftOut]] = {}
    for audit in audits:
        plan[audit.name] = changes = {}
        for variant in audit.variants:
            changes[variant.name] = variant.make(pair, data)
            if variant.control and isinstance(changes[variant.name], Sides):
                changes[variant.control_name] = variant.control(pair, data)
    return plan


def score_pairs(engine: Engine, pairs: Sequence[Pair], audits: Sequence[Audit], data: DataSet) -> list[Values]:
    """``{"id", "shared", "rewards", "audits"}`` of each pair: the rewards of the better and of the worse response, as
    they are and for each variant of each audit, or why a variant does not apply.

    All conversations about a pair go to the engine in one call, each of them once, so that prompts and pictures are
    computed once. Responses to one prompt stand in an order that only their contents decide: which one is better, and
    where it stood in a file, cannot reach the engine.

    Args:
        engine: what scores.
        pairs: some of the pairs of ``data``; scored in one call.
        audits: which variants.
        data: all pairs.

    Raises:
        EngineError: the engine answered short.
        ScoreError: a reward is not a finite number.
        MediaError: a picture cannot be read.
    """
    plans = [plan_of(pair, audits, data) for pair in pairs]
    asked = [_Asked(pair, plan) for pair, plan in zip(pairs, plans, strict=True)]
    groups = [group for one in asked for group in one.groups]
    rewards = engine.score(groups)
    if len(rewards) != len(groups):
        raise EngineError(f"{len(rewards)} rewards came back for {len(groups)} groups")
    answers = iter(rewards)
    return [one.row([next(answers) for _ in one.groups]) for one in asked]


class _Known:
    """Digests of conversations; pictures are looked at once."""

    def __init__(self) -> None:
        self._looker = Looker(decode=False)

    def of(self, messages: Sequence[Message]) -> int:
        """Equal for the same text, pictures and roles."""
        return conversation_digest(messages, [self._looker.look(part) for part in media_of(messages)])

    def key(self, conversation: Conversation) -> int:
        """Of prompt and response."""
        return self.of((*conversation.messages, *conversation.response))

    def keys(self, sides: Sides) -> tuple[int, int]:
        """Of both sides."""
        return self.key(sides.chosen), self.key(sides.rejected)


class _Asked:
    """The conversations about one pair as groups, one for each prompt, and the way back from their rewards."""

    def __init__(self, pair: Pair, plan: Plan) -> None:
        self._pair, self._plan, self._known = pair, plan, _Known()
        prompts: dict[int, dict[int, Conversation]] = {}
        every = [sides for variants in plan.values() for sides in variants.values() if isinstance(sides, Sides)]
        for conversation in (side for sides in (pair.sides, *every) for side in sides):
            key = self._known.of(conversation.messages)
            prompts.setdefault(key, {})[self._known.key(conversation)] = conversation
        self._keys = [sorted(prompts[key]) for key in sorted(prompts)]
        self.groups = []
        for key, keys in zip(sorted(prompts), self._keys, strict=True):
            said = [prompts[key][one] for one in keys]
            responses = [conversation.response for conversation in said]
            self.groups.append(Group(said[0].messages, responses, id=pair.id, task=pair.group.task))

    def row(self, rewards: Sequence[Reward]) -> Values:
        """What was said of the pair.

        Raises:
            EngineError: there are too few rewards.
        """
        by_key: dict[int, float] = {}
        for reward, keys in zip(rewards, self._keys, strict=True):
            if len(reward.rewards) != len(keys):
                raise EngineError(
                    f"group {self._pair.id!r}: {len(reward.rewards)} rewards came back for {len(keys)} responses"
                )
            by_key |= zip(keys, reward.rewards, strict=True)

        def said(sides: Sides) -> list[float]:
            return [by_key[key] for key in self._known.keys(sides)]

        return {
            "id": self._pair.id,
            "shared": {kind: list(digests) for kind, digests in self._pair.shared.items()},
            "rewards": said(self._pair.sides),
            "audits": {
                audit: {name: said(to) if isinstance(to, Sides) else to.reason for name, to in variants.items()}
                for audit, variants in self._plan.items()
            },
        }


def read_audits(path: str | Path, unusable: list[str] | None = None) -> Iterator[ScoredPair]:
    """Read rows that `score_pairs` made.

    Args:
        path: the file.
        unusable: takes what rows say that have an error instead of rewards; without, such a row is an error.

    Raises:
        InputError: there is no such file, or a row is not one of these; the message starts with file and line.
        ScoreError: a reward is not a finite number.
    """
    return map(parse_scored, good_rows(path, unusable))


def parse_scored(row: Row) -> ScoredPair:
    """One such row."""
    values, where = row.data, row.where
    if missing := [key for key in ("id", "shared", "rewards", "audits") if key not in values]:
        raise InputError(f"{where}: no row of vlreward audit: {', '.join(map(repr, missing))} missing")
    if not isinstance(values["audits"], dict) or not isinstance(values["shared"], dict):
        raise InputError(f"{where}: 'audits' and 'shared' must be objects")
    after = {
        audit: {
            name: value if isinstance(value, str) else _rewards(value, f"{where}: {audit}: {name}")
            for name, value in variants.items()
        }
        for audit, variants in values["audits"].items()
    }
    shared = {kind: tuple(digests) for kind, digests in values["shared"].items()}
    before = _rewards(values["rewards"], f"{where}: rewards")
    return ScoredPair(id=str(values["id"]), shared=shared, before=before, after=after)


def _rewards(value: Any, where: str) -> PairRewards:
    if not isinstance(value, list) or len(value) != 2:
        raise InputError(f"{where}: expected the rewards of two responses, got {value!r:.60}")
    for number in value:
        if not is_number(number):
            raise ScoreError(f"{where}: a reward must be a finite number, got {number!r:.60}")
    return PairRewards(*value)
