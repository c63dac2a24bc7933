"""Preference pairs from groups whose answers have been scored: which are kept, which are not, and why.

Where the right answer is known, right answers are chosen and wrong ones rejected, and the reward only says which of
them; where it is not, the reward says all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from vlreward.data.content import text_of
from vlreward.data.convert import Conversion, convert_rankings
from vlreward.data.length_bias import LengthBias, LengthBiasCount
from vlreward.data.rankings import RankingRow
from vlreward.errors import ConfigError, InputError
from vlreward.types import Group, Ranking

ALL_RIGHT = "all answers right"
ALL_WRONG = "all answers wrong"
ONE_ANSWER = "all answers the same"
UNFINISHED = "no finished answer to choose"
BELOW_MARGIN = "rewards closer than the margin"
OVER_CAP = "beyond the most pairs of a prompt"
UNBALANCED = "left out for the balance of lengths"


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """How pairs are made of scored answers."""

    top: int = 1
    """How many of a prompt's best answers are chosen from."""
    bottom: int = 1
    """How many of its worst answers are rejected from; each of the best is paired with each of these."""
    per_prompt: int | None = None
    """Most pairs of a prompt, those with the largest differences of rewards first; None: all."""
    margin: float = 0.0
    """Least difference of the two rewards. Pairs of a right and a wrong answer need none."""
    length_balance: float | None = None
    """How far the share of pairs whose chosen answer is the longer one may be from a half, 0.05 for 45 % to 55 %: the
    pairs with the smallest differences of rewards on the larger side are left out. None: as it comes."""

    def __post_init__(self) -> None:
        for name in ("top", "bottom", "per_prompt"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.margin < 0:
            raise ConfigError(f"margin must not be below 0, got {self.margin}")
        if self.length_balance is not None and not 0 <= self.length_balance < 0.5:
            raise ConfigError(f"length_balance must be in [0, 0.5), got {self.length_balance}")


@dataclass(frozen=True, kw_only=True)
class ScoredGroup:
    """A prompt's answers and what is known of each, in their order."""

    group: Group
    rewards: tuple[float, ...]
    """From the reward model."""
    right: tuple[bool, ...] | None = None
    """By the key of correct answers; None: the prompt has none."""
    unfinished: frozenset[int] = frozenset()
    """The answers that were cut off at a limit of tokens: they may be rejected, and are never chosen."""

    def __post_init__(self) -> None:
        for name, values in (("rewards", self.rewards), ("right", self.right)):
            if values is not None and len(values) != len(self.group):
                raise InputError(f"group {self.group.id!r}: {len(values)} {name} for {len(self.group)} answers")


@dataclass(frozen=True, kw_only=True)
class BuiltPair:
    """A chosen and a rejected answer."""

    ranking: Ranking
    """The chosen answer first; with the difference of rewards as its margin where the reward has decided."""
    difference: float
    """The reward of the chosen answer minus that of the rejected one; below 0 where a key knows better."""
    lengths: tuple[int, int]
    """Characters of the chosen and of the rejected answer."""
    by_key: bool
    """Whether the key has decided."""


@dataclass(frozen=True, kw_only=True)
class PairReport:
    """What became of the groups."""

    groups: int
    """How many there were."""
    with_key: int
    """How many of them had a key of correct answers."""
    used: int
    """How many gave a pair."""
    dropped: dict[str, int]
    """The others, by reason."""
    pairs: int
    by_key: int
    """Pairs of a right and a wrong answer."""
    left_out: dict[str, int]
    """Pairs that were possible and are not there, by reason."""
    key_and_reward_agree: float | None
    """Of the pairs by key, the share in which the right answer has the larger reward; None without such pairs."""
    difference: float | None
    """The mean difference of rewards; None without pairs."""
    chosen_length: float | None
    """Mean characters of the chosen answers."""
    rejected_length: float | None
    """Mean characters of the rejected ones."""
    length_bias: LengthBias
    """How often the longer answer is the chosen one."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


def build_pairs(scored: Iterable[ScoredGroup], settings: PairSettings) -> tuple[list[BuiltPair], PairReport]:
    """Make pairs; the same input gives the same pairs in the same order.

    Equal answers of a group count once. Groups without a usable pair are counted, never an error.
    """
    pairs: list[BuiltPair] = []
    dropped: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    groups = with_key = 0
    for item in scored:
        groups += 1
        with_key += item.right is not None
        found = _pairs_of(item, settings, left_out)
        if isinstance(found, str):
            dropped[found] += 1
        else:
            pairs += found
    used = groups - dropped.total()
    if settings.length_balance is not None:
        kept = _balanced(pairs, settings.length_balance)
        left_out[UNBALANCED] += len(pairs) - len(kept)
        pairs = kept
    report = _report(
        pairs, groups=groups, with_key=with_key, used=used, dropped=dict(dropped), left_out=dict(+left_out)
    )
    return pairs, report


def _pairs_of(item: ScoredGroup, settings: PairSettings, left_out: Counter[str]) -> list[BuiltPair] | str:
    """A group's pairs, or why it has none."""
    order = _order(item)
    if len(order) < 2:
        return ONE_ANSWER
    good = bad = order
    if item.right is not None:
        good = [i for i in order if item.right[i]]
        bad = [i for i in order if not item.right[i]]
        if not bad or not good:
            return ALL_WRONG if bad else ALL_RIGHT
    good = [i for i in good if i not in item.unfinished][: settings.top]
    if not good:
        return UNFINISHED
    made = []
    for chosen, rejected in product(good, bad[::-1][: settings.bottom]):
        difference = item.rewards[chosen] - item.rewards[rejected]
        if item.right is not None or (difference > 0 and difference >= settings.margin):
            made.append((chosen, rejected))
        elif difference > 0:
            left_out[BELOW_MARGIN] += 1
    made.sort(key=lambda pair: item.rewards[pair[1]] - item.rewards[pair[0]])
    left_out[OVER_CAP] += len(made[settings.per_prompt :]) if settings.per_prompt else 0
    return [_built(item, *pair) for pair in made[: settings.per_prompt]] or BELOW_MARGIN


def _order(item: ScoredGroup) -> list[int]:
    """The different answers from best to worst; those of one reward in their order."""
    first: dict[Any, int] = {}
    for i, response in enumerate(item.group.responses):
        first.setdefault(response, i)
    return sorted(first.values(), key=lambda i: -item.rewards[i])


def _built(item: ScoredGroup, chosen: int, rejected: int) -> BuiltPair:
    group, responses = item.group, item.group.responses
    difference = item.rewards[chosen] - item.rewards[rejected]
    name = None if group.id is None else f"{group.id}/{chosen}-{rejected}"
    pair = Group(group.messages, [responses[chosen], responses[rejected]], id=name, task=group.task)
    by_key = item.right is not None
    return BuiltPair(
        ranking=Ranking(group=pair, ranks=(0, 1), margin=None if by_key else difference),
        difference=difference,
        lengths=(len(text_of(responses[chosen])), len(text_of(responses[rejected]))),
        by_key=by_key,
    )


def _balanced(pairs: Sequence[BuiltPair], balance: float) -> list[BuiltPair]:
    """Without the least certain pairs of the side, longer or shorter chosen answers, that is too large."""
    longer = [i for i, pair in enumerate(pairs) if pair.lengths[0] > pair.lengths[1]]
    shorter = [i for i, pair in enumerate(pairs) if pair.lengths[0] < pair.lengths[1]]
    larger, smaller = (longer, shorter) if len(longer) > len(shorter) else (shorter, longer)
    most = int(len(smaller) * (0.5 + balance) / (0.5 - balance) + 1e-9)  # 3 of 2.9999999
    kept = sorted(larger, key=lambda i: -pairs[i].difference)[:most]
    surplus = set(larger) - set(kept)
    return [pair for i, pair in enumerate(pairs) if i not in surplus]


def _report(pairs: Sequence[BuiltPair], **counts: Any) -> PairReport:
    lengths = LengthBiasCount()
    for pair in pairs:
        lengths.add(pair.lengths, (0, 1))
    by_key = [pair for pair in pairs if pair.by_key]
    chosen, rejected = ([pair.lengths[side] for pair in pairs] for side in (0, 1))
    return PairReport(
        pairs=len(pairs),
        by_key=len(by_key),
        key_and_reward_agree=_mean([pair.difference > 0 for pair in by_key]),
        difference=_mean([pair.difference for pair in pairs]),
        chosen_length=_mean(chosen),
        rejected_length=_mean(rejected),
        length_bias=lengths.result(),
        **counts,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def write_pairs(
    pairs: Sequence[BuiltPair], output: str | Path, *, format: str = "trl", overwrite: bool = False
) -> Conversion:
    """Write pairs in a format that ``vlreward train``, TRL, LLaMA-Factory or ms-swift reads.

    Args:
        pairs: at least one.
        output: a ``.jsonl``, ``.ndjson`` or ``.parquet`` file; it appears when it is complete.
        format: the name of a format of preference data.
        overwrite: whether the file may be there already.

    Raises:
        ConfigError: there is no such format, or the output is there already.
        InputError: there are no pairs.
        UnsupportedError: a pair has no place in the format.
    """
    if not pairs:
        raise InputError(f"{output}: no pairs to write; the report says what became of the groups")
    rows = (
        RankingRow(where=f"pair {pair.ranking.group.id or number}", number=number, format=None, content=pair.ranking)
        for number, pair in enumerate(pairs, start=1)
    )
    return convert_rankings(rows, output, format, overwrite=overwrite)
