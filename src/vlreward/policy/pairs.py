"""Preference pairs from groups whose answers have been scored: which are kept, which are not, and why.

Where the right answer is known, right answers are chosen and wrong ones rejected, and the reward only says which of
them; where it is not, the reward says all. Beside a prompt's other answers, what the policy goes on with when it does
not see the picture can be rejected, see `vlreward.policy.blind`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

from vlreward.data.content import text_of
from vlreward.data.convert import Conversion, convert_rankings
from vlreward.data.length_bias import LengthBias, LengthBiasCount
from vlreward.data.rankings import RankingRow
from vlreward.errors import ConfigError, InputError
from vlreward.types import Group, Ranking, Response

from .blind import BlindNegatives, BlindReport, BlindSettings

ALL_RIGHT = "all answers right"
ALL_WRONG = "all answers wrong"
ONE_ANSWER = "all answers the same"
UNFINISHED = "no finished answer to choose"
BELOW_MARGIN = "rewards closer than the margin"
OVER_CAP = "beyond the most pairs of a prompt"
UNSURE = "the chosen answer's reward is not among the largest"
UNBALANCED = "left out for the balance of lengths"

Judge: TypeAlias = Callable[[Group], tuple[bool, ...] | None]
"""Which of a group's answers are right; None where that is not known."""


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """How pairs are made of scored answers."""

    top: int = 1
    """How many of a prompt's best answers are chosen from."""
    bottom: int = 1
    """How many of its worst answers are rejected from; each of the best is paired with each of these."""
    per_prompt: int | None = None
    """Most pairs of a prompt's own answers, those with the largest differences of rewards first; None: all."""
    margin: float = 0.0
    """Least difference of the two rewards. Pairs of a right and a wrong answer need none."""
    surest: float | None = None
    """Share of the pairs that stay, 0.5 for half of them: those whose chosen answers have the largest rewards. Of a
    prompt that the policy cannot answer the best answer is wrong, and its reward is low. Equal rewards stay together.
    None: all. Pairs of a right and a wrong answer need not be among them, nor count."""
    length_balance: float | None = None
    """How far the share of pairs whose chosen answer is the longer one may be from a half, 0.05 for 45 % to 55 %: the
    pairs with the smallest differences of rewards on the larger side, and before them those without one, are left out.
    None: as it comes."""
    blind: BlindSettings | None = None
    """Which answers are cut and gone on with without the pictures, which is rejected; None: none. To be sampled before
    the pairs are made."""

    def __post_init__(self) -> None:
        for name in ("top", "bottom", "per_prompt"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.margin < 0:
            raise ConfigError(f"margin must not be below 0, got {self.margin}")
        if self.surest is not None and not 0 < self.surest <= 1:
            raise ConfigError(f"surest must be in (0, 1], got {self.surest}")
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
    judge: Judge | None = None
    """Says of other answers to the prompt whether they are right; None: nobody does."""

    def __post_init__(self) -> None:
        for name, values in (("rewards", self.rewards), ("right", self.right)):
            if values is not None and len(values) != len(self.group):
                raise InputError(f"group {self.group.id!r}: {len(values)} {name} for {len(self.group)} answers")

    def judged(self, judge: Judge | None) -> ScoredGroup:
        """With what somebody says of right answers, such as `vlreward.policy.gold.Gold.right`; None: nobody does."""
        return replace(self, right=None if judge is None else judge(self.group), judge=judge)

    def is_right(self, response: Response) -> bool | None:
        """Whether another answer to the prompt is right; None where that is not known."""
        right = None if self.judge is None else self.judge(replace(self.group, responses=(response,)))
        return None if right is None else right[0]

    def order(self) -> list[int]:
        """The different answers from best to worst; those of one reward in their order."""
        first: dict[Any, int] = {}
        for i, response in enumerate(self.group.responses):
            first.setdefault(response, i)
        return sorted(first.values(), key=lambda i: -self.rewards[i])

    def may_be_chosen(self, number: int) -> bool:
        """Whether an answer is finished and, where that is known, right."""
        return number not in self.unfinished and (self.right is None or self.right[number])


@dataclass(frozen=True, kw_only=True)
class BuiltPair:
    """A chosen and a rejected answer."""

    ranking: Ranking
    """The chosen answer first; with the difference of rewards as its margin where the reward has decided."""
    difference: float | None
    """The reward of the chosen answer minus that of the rejected one, below 0 where a key knows better; None for an
    answer that ends blindly, which has none."""
    lengths: tuple[int, int]
    """Characters of the chosen and of the rejected answer."""
    reward: float | None = None
    """The reward of the chosen answer, where that has decided."""
    by_key: bool = False
    """Whether the key has decided."""
    blind: bool = False
    """Whether the rejected answer is the chosen one's beginning, gone on with without the pictures."""


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
    """How many there are of every kind."""
    by_key: int
    """Pairs of a right and a wrong answer."""
    left_out: dict[str, int]
    """Pairs that were possible and are not there, by reason."""
    key_and_reward_agree: float | None
    """Of the pairs by key, the share in which the right answer has the larger reward; None without such pairs."""
    difference: float | None
    """The mean difference of rewards, where it is known; None where it never is."""
    chosen_length: float | None
    """Mean characters of the chosen answers."""
    rejected_length: float | None
    """Mean characters of the rejected ones."""
    length_bias: LengthBias
    """How often the longer answer is the chosen one."""
    blind: BlindReport | None = None
    """What became of the answers that were gone on with without the pictures; None: there were none."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


def build_pairs(
    scored: Iterable[ScoredGroup], settings: PairSettings, blind: Iterable[Group] | None = None
) -> tuple[list[BuiltPair], PairReport]:
    """Make pairs; the same input gives the same pairs in the same order.

    Equal answers of a group count once. Groups without a usable pair are counted, never an error.

    Args:
        scored: answers with their rewards.
        settings: which pairs are made.
        blind: what the policy went on with without the pictures, see `vlreward.policy.blind.BlindNegatives`.

    Raises:
        ConfigError: the settings ask for blind negatives, and there are none.
        InputError: the blind negatives are of other answers.
    """
    if settings.blind is not None and blind is None:
        raise ConfigError("blind: the answers have not been cut and gone on with; sample that first, or drop it")
    negatives = None if blind is None else BlindNegatives(blind)
    pairs: list[BuiltPair] = []
    dropped: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    groups = with_key = 0
    for item in scored:
        groups += 1
        with_key += item.right is not None
        found = _pairs_of(item, settings, left_out)
        cut = [] if negatives is None else [_blind_pair(item, *pair) for pair in negatives.of(item)]
        if isinstance(found, str):
            dropped[found] += not cut
            found = []
        pairs += found + cut
    used = groups - dropped.total()
    if settings.surest is not None:
        kept = _surest(pairs, settings.surest)
        left_out[UNSURE] += len(pairs) - len(kept)
        pairs = kept
    if settings.length_balance is not None:
        kept = _balanced(pairs, settings.length_balance)
        left_out[UNBALANCED] += len(pairs) - len(kept)
        pairs = kept
    report = _report(
        pairs,
        groups=groups,
        with_key=with_key,
        used=used,
        dropped=dict(+dropped),
        left_out=dict(+left_out),
        blind=None if negatives is None else negatives.report(),
    )
    return pairs, report


def _pairs_of(item: ScoredGroup, settings: PairSettings, left_out: Counter[str]) -> list[BuiltPair] | str:
    """A group's pairs, or why it has none."""
    order = item.order()
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


def _built(item: ScoredGroup, chosen: int, rejected: int) -> BuiltPair:
    difference, by_key = item.rewards[chosen] - item.rewards[rejected], item.right is not None
    ranking = _ranking(
        item.group, chosen, item.group.responses[rejected], str(rejected), None if by_key else difference
    )
    reward = None if by_key else item.rewards[chosen]
    return BuiltPair(ranking=ranking, difference=difference, lengths=_lengths(ranking), reward=reward, by_key=by_key)


def _blind_pair(item: ScoredGroup, chosen: int, rejected: Response) -> BuiltPair:
    ranking = _ranking(item.group, chosen, rejected, "blind", None)
    return BuiltPair(ranking=ranking, difference=None, lengths=_lengths(ranking), blind=True)


def _ranking(group: Group, chosen: int, rejected: Response, name: str, margin: float | None) -> Ranking:
    id = None if group.id is None else f"{group.id}/{chosen}-{name}"
    pair = Group(group.messages, [group.responses[chosen], rejected], id=id, task=group.task)
    return Ranking(group=pair, ranks=(0, 1), margin=margin)


def _lengths(ranking: Ranking) -> tuple[int, int]:
    chosen, rejected = ranking.group.responses
    return len(text_of(chosen)), len(text_of(rejected))


def _surest(pairs: Sequence[BuiltPair], share: float) -> list[BuiltPair]:
    """Without the pairs that the reward has made and whose chosen answers have the smallest rewards."""
    rewards = sorted((pair.reward for pair in pairs if pair.reward is not None), reverse=True)
    if not rewards:
        return list(pairs)
    least = rewards[math.ceil(share * len(rewards)) - 1]
    return [pair for pair in pairs if pair.reward is None or pair.reward >= least]


def _balanced(pairs: Sequence[BuiltPair], balance: float) -> list[BuiltPair]:
    """Without the least certain pairs of the side, longer or shorter chosen answers, that is too large."""
    longer = [i for i, pair in enumerate(pairs) if pair.lengths[0] > pair.lengths[1]]
    shorter = [i for i, pair in enumerate(pairs) if pair.lengths[0] < pair.lengths[1]]
    larger, smaller = (longer, shorter) if len(longer) > len(shorter) else (shorter, longer)
    most = int(len(smaller) * (0.5 + balance) / (0.5 - balance) + 1e-9)  # 3 of 2.9999999
    kept = sorted(larger, key=lambda i: -_certainty(pairs[i]))[:most]
    surplus = set(larger) - set(kept)
    return [pair for i, pair in enumerate(pairs) if i not in surplus]


def _certainty(pair: BuiltPair) -> float:
    return -math.inf if pair.difference is None else pair.difference


def _report(pairs: Sequence[BuiltPair], **counts: Any) -> PairReport:
    lengths = LengthBiasCount()
    for pair in pairs:
        lengths.add(pair.lengths, (0, 1))
    by_key = [pair for pair in pairs if pair.by_key]
    chosen, rejected = ([pair.lengths[side] for pair in pairs] for side in (0, 1))
    return PairReport(
        pairs=len(pairs),
        by_key=len(by_key),
        key_and_reward_agree=_mean([_certainty(pair) > 0 for pair in by_key]),
        difference=_mean([pair.difference for pair in pairs if pair.difference is not None]),
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
