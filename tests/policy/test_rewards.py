"""Rules of form and how rules combine, against definitions written out and values worked by hand."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlreward.errors import ConfigError
from vlreward.policy.rewards import FormatRule, MatchFirst, RuleSum

PIECES = st.lists(
    st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", " ", "\n", "x", "2 < 3"]), max_size=9
)


def slow_format(response: str) -> float:
    tags = re.findall(r"</?(?:think|answer)>", response)
    if tags != ["<think>", "</think>", "<answer>", "</answer>"]:
        return 0.0
    between = response.partition("</think>")[2].partition("<answer>")[0]
    return float(response.startswith("<think>") and response.endswith("</answer>") and not between.strip())


@given(PIECES)
def test_format_is_tags_once_in_order(pieces: list[str]) -> None:
    response = "".join(pieces)
    assert FormatRule()(response) == slow_format(response.strip())


def test_format_by_hand() -> None:
    assert FormatRule()("<think>a\nb</think>\n<answer>c</answer>\n") == 1.0
    assert FormatRule()("<think>a</think><think>b</think><answer>c</answer>") == 0.0
    assert FormatRule(r"(Yes|No)\..*")("Yes.\nIt is.") == 1.0
    with pytest.raises(ConfigError, match="is not a regular expression"):
        FormatRule("(")


@given(st.floats(-30, 30), st.floats(0, 1), st.floats(0, 1), st.floats(-2, 2), st.floats(-2, 2))
def test_combinations_are_the_formulas(reward: float, right: float, form: float, weight: float, other: float) -> None:
    added = RuleSum(rule=lambda *_: right, weight=weight, format=lambda _: form, format_weight=other)
    assert added("r", "a", reward) == pytest.approx(right + weight * reward + other * form)
    first = MatchFirst(rule=lambda *_: right)
    assert first("r", "a", reward) == pytest.approx(right + (1 - right) / (1 + math.exp(-reward)))


def test_combinations_by_hand() -> None:
    added = RuleSum(format=FormatRule(), weight=0.5)
    right = "<think>hm</think><answer>Red.</answer>"
    assert added(right, "red", 2.0) == 1 + 0.5 * 2 + 1
    assert added("blue", "red", -2.0) == 0.5 * -2
    assert added(right, None, 2.0) == 0.5 * 2 + 1
    assert RuleSum(rule=None)("red", "red", 2.0) == 2.0
    assert MatchFirst()(right, "red", -9.0) == 1.0
    assert MatchFirst()("blue", "red", 0.0) == 0.5
    assert MatchFirst()("red", None, math.log(3)) == pytest.approx(0.75)
