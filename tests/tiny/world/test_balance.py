"""Words and length alone do not tell right from wrong."""

from __future__ import annotations

import functools
import itertools
import zlib
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest

from vlreward.tiny.world import FAMILIES, SPLITS
from vlreward.tiny.world.combinations import Split
from vlreward.tiny.world.draft import Draft

from .reading import drafts, tokens, words_of

SEEING = [name for name, family in FAMILIES.items() if family.sees]
HASHES = 2**15


def longer_wins(items: Iterable[Draft]) -> tuple[float, float]:
    """How often the longer one of a right and a wrong answer is right, in letters and in words; ties count half."""
    letters, words = [], []
    for item in items:
        right = words_of(item.right)
        wrong = [words_of(answer) for answer, _ in item.wrong]
        letters.append(np.mean([(np.sign(len(right) - len(text)) + 1) / 2 for text in wrong]))
        sizes = [len(tokens(text)) for text in wrong]
        words.append(np.mean([(np.sign(len(tokens(right)) - size) + 1) / 2 for size in sizes]))
    return float(np.mean(letters)), float(np.mean(words))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_longer_answer_is_right_half_of_the_time(family: str) -> None:
    both = [draft for split in SPLITS for draft in drafts(family, split, 2500)]
    for share in longer_wins(both):
        assert 0.48 <= share <= 0.52


@pytest.mark.parametrize("family", [name for name in SEEING if name != "editing"])
def test_wrong_answers_are_longer_and_shorter(family: str) -> None:
    lengths = [
        np.sign(len(words_of(answer)) - len(words_of(draft.right)))
        for draft in drafts(family, "train", 400)
        for answer, _ in draft.wrong
    ]
    assert np.mean(np.equal(lengths, 1)) > 0.15
    assert np.mean(np.equal(lengths, -1)) > 0.15


def features(question: str, answer: str) -> Counter[int]:
    """Words, pairs of neighbours, words with each word of the question, and length, by their hash."""
    asked, said = tokens(question), tokens(answer)
    names = [f"1 {word}" for word in said] + [f"2 {a} {b}" for a, b in itertools.pairwise(said)]
    names += [f"q {word} {other}" for word in set(said) for other in set(asked)]
    names += ["shared"] * len(set(said) & set(asked)) + ["repeated"] * (len(said) - len(set(said)))
    names += ["words"] * len(said) + ["tens of letters"] * (len(answer) // 10)
    return Counter(zlib.crc32(name.encode()) % HASHES for name in names)


Sparse = tuple[np.ndarray, np.ndarray, np.ndarray, int]


def differences(items: Iterable[Draft]) -> Sparse:
    """Features of the right answer less those of a wrong one, a row per pair: rows, columns, values, number of rows."""
    rows, columns, values, row = [], [], [], 0
    for item in items:
        question = words_of(item.prompt)
        right = features(question, words_of(item.right))
        for answer, _ in item.wrong:
            both = Counter(right)
            both.subtract(features(question, words_of(answer)))
            kept = [(column, value) for column, value in both.items() if value]
            rows += [row] * len(kept)
            columns += [column for column, _ in kept]
            values += [value for _, value in kept]
            row += 1
    return np.array(rows), np.array(columns), np.array(values, dtype=float), row


def margins(weights: np.ndarray, data: Sparse) -> np.ndarray:
    rows, columns, values, count = data
    return np.bincount(rows, values * weights[columns], count)


def fitted(data: Sparse, penalty: float = 3e-4, steps: int = 120) -> np.ndarray:
    """Logistic regression on pairs (Bradley-Terry with linear scores), by Adam on the whole batch."""
    rows, columns, values, count = data
    weights, first, second = np.zeros(HASHES), np.zeros(HASHES), np.zeros(HASHES)
    for step in range(1, steps + 1):
        pull = -1 / (1 + np.exp(margins(weights, data))) / count
        slope = np.bincount(columns, values * pull[rows], HASHES) + penalty * weights
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
        weights -= 0.03 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-9)
    return weights


def accuracy(weights: np.ndarray, data: Sparse) -> float:
    """Share of pairs whose right answer scores higher; ties count half."""
    return float(np.mean((np.sign(np.round(margins(weights, data), 9)) + 1) / 2))


@functools.cache
def learnt(family: str, split: Split, train: int) -> np.ndarray:
    return fitted(differences(drafts(family, split, train)))


def blind(family: str, split: Split, train: int, test: int) -> float:
    return accuracy(learnt(family, split, train), differences(drafts(family, split, test, start=train)))


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("family", SEEING)
def test_words_alone_do_not_tell(family: str, split: Split) -> None:
    assert blind(family, split, 4000, 4000) <= 0.53


@pytest.mark.slow
@pytest.mark.parametrize("family", SEEING)
def test_words_learnt_in_training_do_not_tell_in_the_held_out_world(family: str) -> None:
    assert accuracy(learnt(family, "train", 4000), differences(drafts(family, "heldout", 4000))) <= 0.53


def test_the_blind_model_learns_where_words_do_tell() -> None:
    """The text family needs no picture: if this failed, the tests above would show nothing."""
    assert blind("text", "train", 1500, 500) > 0.65
