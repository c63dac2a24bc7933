"""The trie against its definition: who is whose ancestor, token by token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlreward.model.packing import (
    Column,
    IntArray,
    build_trie,
    lexicographic_order,
    pad_trie,
    plan_packs,
    shared_length,
)


def rows_of(tokens: list[int]) -> IntArray:
    """Text rows with positions 0, 1, 2, …"""
    rows = np.zeros((len(tokens), len(Column)), dtype=np.int64)
    rows[:, Column.ID] = tokens
    rows[:, [Column.MEDIUM, Column.FEATURE]] = -1
    rows[:, Column.TIME :] = np.arange(len(tokens))[:, None]
    return rows


def with_picture(tokens: list[int], at: int, medium: int, length: int) -> IntArray:
    """Text rows with a run of placeholders of one picture."""
    rows = rows_of([*tokens[:at], *[99] * length, *tokens[at:]])
    rows[at : at + length, Column.MEDIUM] = medium
    rows[at : at + length, Column.FEATURE] = np.arange(length)
    rows[at : at + length, Column.OFFSET] = np.arange(length)
    return rows


conversations = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=8)


@given(conversations)
def test_every_conversation_is_the_ancestors_of_its_last_token(tokens: list[list[int]]) -> None:
    tables = [rows_of(sequence) for sequence in tokens]
    order = lexicographic_order(tables)
    trie = build_trie([tables[i] for i in order])
    mask = trie.mask_TT
    for place, i in enumerate(order):
        ancestors = np.flatnonzero(mask[trie.last_S[place]])
        np.testing.assert_array_equal(trie.rows_TC[ancestors], tables[i])


@given(conversations)
def test_each_distinct_prefix_is_one_token(tokens: list[list[int]]) -> None:
    tables = [rows_of(sequence) for sequence in tokens]
    trie = build_trie([tables[i] for i in lexicographic_order(tables)])
    prefixes = {tuple(sequence[: n + 1]) for sequence in tokens for n in range(len(sequence))}
    assert len(trie) == len(prefixes)


@given(conversations)
def test_ancestors_of_an_ancestor_are_ancestors(tokens: list[list[int]]) -> None:
    tables = [rows_of(sequence) for sequence in tokens]
    mask = build_trie([tables[i] for i in lexicographic_order(tables)]).mask_TT
    for q in range(len(mask)):
        ancestors = np.flatnonzero(mask[q])
        assert ancestors[-1] == q
        for k in ancestors:
            np.testing.assert_array_equal(np.flatnonzero(mask[k]), ancestors[ancestors <= k])


@given(conversations, st.integers(1, 20))
def test_packs_hold_every_conversation_once_within_the_budget(tokens: list[list[int]], budget: int) -> None:
    tables = [rows_of(sequence) for sequence in tokens]
    packs = plan_packs(tables, budget)
    assert sorted(i for pack in packs for i in pack) == list(range(len(tables)))
    for pack in packs:
        assert len(build_trie([tables[i] for i in pack])) <= budget or len(pack) == 1


@given(conversations, st.randoms())
def test_the_order_of_the_input_does_not_matter(tokens: list[list[int]], random: object) -> None:
    tables = [rows_of(sequence) for sequence in tokens]
    shuffled = list(tables)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first = build_trie([tables[i] for i in lexicographic_order(tables)])
    second = build_trie([shuffled[i] for i in lexicographic_order(shuffled)])
    np.testing.assert_array_equal(first.rows_TC, second.rows_TC)
    np.testing.assert_array_equal(first.exit_T, second.exit_T)


def test_pictures_of_equal_size_but_other_content_share_only_what_is_before_them() -> None:
    first, second = with_picture([1, 2, 3], 1, 0, 4), with_picture([1, 2, 3], 1, 1, 4)
    assert shared_length(first, second) == 1
    assert shared_length(first, with_picture([1, 2, 4], 1, 0, 4)) == 6


def test_a_branch_never_ends_inside_a_media_span() -> None:
    first = with_picture([1, 2, 3], 1, 0, 4)
    late = first.copy()
    late[3:, Column.TIME] += 5  # the same picture, but its later tokens stand at other positions
    assert shared_length(first, late) == 1
    assert shared_length(first, first[:3]) == 1


def test_equal_conversations_coincide() -> None:
    trie = build_trie([rows_of([1, 2]), rows_of([1, 2])])
    assert len(trie) == 2
    assert trie.last_S.tolist() == [1, 1]


def test_a_conversation_may_be_the_prefix_of_another() -> None:
    trie = build_trie([rows_of([1]), rows_of([1, 2]), rows_of([1, 3])])
    assert trie.exit_T.tolist() == [3, 2, 3]
    assert trie.last_S.tolist() == [0, 1, 2]


@pytest.mark.parametrize("length", [2, 5])
def test_padding_attends_to_itself_only(length: int) -> None:
    trie = pad_trie(build_trie([rows_of([1, 2])]), length)
    assert len(trie) == length
    np.testing.assert_array_equal(trie.mask_TT[2:], np.eye(length, dtype=bool)[2:])
    assert not trie.mask_TT[:2, 2:].any()
