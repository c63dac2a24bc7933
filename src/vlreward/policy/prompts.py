"""Files of prompts, and what is known of the answers that were sampled for them."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlreward.data.group_rows import GROUP_KEYS, answer_key, unfinished_responses
from vlreward.data.groups import GroupRow, group_of
from vlreward.data.ranking_format import Reading
from vlreward.data.rewards import read_rewards
from vlreward.data.rows import BadRow, Row, RowIds, read_rows, scan_rows
from vlreward.data.writing import group_to_row
from vlreward.errors import InputError
from vlreward.types import Group, parse_response

from .answers import Match, exact_match, right_answers
from .blind import BlindSettings, answers_to_cut, cut_group
from .pairs import ScoredGroup
from .sampling import Sampled


def scan_prompts(path: str | Path) -> Iterator[GroupRow]:
    """The prompts of a groups file, whose rows may do without ``responses``.

    The group of a row has one empty response, so that a prompt is the same whatever responses stand beside it.

    Raises:
        InputError: the file itself is missing, empty, of an unknown kind or unreadable.
    """
    path = Path(path)
    return _scan(scan_rows(path), Reading(folder=path.parent))


def _scan(rows: Iterator[Row | BadRow], reading: Reading) -> Iterator[GroupRow]:
    nothing = (parse_response("", "no response"),)
    for row in rows:
        content: Group | InputError
        try:
            if isinstance(row, BadRow):
                raise row.error
            content = replace(group_of(_with_response(row), reading), responses=nothing)
        except InputError as error:
            content = error
        yield GroupRow(where=row.where, content=content)


def _with_response(row: Row) -> Row:
    """A row of a groups file that has no responses, with an empty one."""
    if "messages" not in row.data or row.data.get("responses") is not None or not row.data.keys() <= set(GROUP_KEYS):
        return row
    return replace(row, data=row.data | {"responses": [""]})


def sampled_row(sampled: Sampled, folder: Path | None = None) -> dict[str, Any]:
    """A prompt and its answers as the row of a groups file; see `group_to_row`."""
    row = group_to_row(sampled.group, folder)
    return row | ({"unfinished": sorted(sampled.unfinished)} if sampled.unfinished else {})


def read_answer_keys(path: str | Path) -> dict[str, str]:
    """The right answers that the rows of a groups file name, by the rows' ids.

    Raises:
        InputError: the file or a row cannot be read, or no row names one.
    """
    ids, keys = RowIds(), {}
    for row in read_rows(path):
        name, key = ids.claim(row), answer_key(row)
        if key is not None:
            keys[name] = key
    if not keys:
        raise InputError(f"{path}: no row has an 'answer'; add the right answers, or leave the file out")
    return keys


def read_scored(
    sampled: str | Path,
    rewards: str | Path,
    *,
    keys: Mapping[str, str] | None = None,
    match: Match = exact_match,
) -> Iterator[ScoredGroup]:
    """Answers with their rewards, and whether they are right where that is known.

    Args:
        sampled: a groups file, as ``vlreward sample`` writes it.
        rewards: what ``vlreward score`` wrote of it: the same groups in the same order.
        keys: right answers by the groups' ids; else what a row's ``answer`` says.
        match: whether an answer says what its key says.

    Raises:
        InputError: a row cannot be read, or the two files are not of the same groups.
    """
    reading, found = Reading(folder=Path(sampled).parent), read_rewards(rewards)
    for row in read_rows(sampled):
        group = group_of(row, reading)
        reward = next(found, None)
        if reward is None or reward.id != group.id or len(reward.rewards) != len(group):
            raise InputError(f"{row.where}: not the group that {rewards} has rewards of there; score this file again")
        key = (keys or {}).get(group.id or "", answer_key(row))
        item = ScoredGroup(group=group, rewards=reward.rewards, unfinished=unfinished_responses(row))
        yield item.judged(None if key is None else functools.partial(right_answers, key=key, match=match))
    if next(found, None) is not None:
        raise InputError(f"{rewards}: has rewards of more groups than {sampled} has; score this file again")


def scan_cut(scored: Iterable[ScoredGroup], settings: BlindSettings) -> Iterator[GroupRow]:
    """The answers that are to be cut, each as a group of its own; see `vlreward.policy.blind`.

    Raises:
        InputError: there are none.
    """
    passed_over: Counter[str] = Counter()
    found = False
    for item in scored:
        numbers = answers_to_cut(item, settings)
        if isinstance(numbers, str):
            passed_over[numbers] += 1
            continue
        found = True
        for number in numbers:
            group = cut_group(item.group, number)
            yield GroupRow(where=f"answer {group.id!r}", content=group)
    if not found:
        reasons = ", ".join(f"{count:,} with {reason}" for reason, count in passed_over.items())
        raise InputError(f"no answer to cut; groups: {reasons or 'none'}")


def read_continued(path: str | Path) -> Iterator[Group]:
    """What the policy went on with, a group for each answer that was cut, as ``vlreward sample --blind`` writes it.

    Raises:
        InputError: the file or a row cannot be read.
    """
    reading = Reading(folder=Path(path).parent)
    for row in read_rows(path):
        yield group_of(row, reading)
