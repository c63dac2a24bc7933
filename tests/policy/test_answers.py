"""Right or wrong by a key."""

from __future__ import annotations

import signal
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from vlreward import Group
from vlreward.errors import MissingDependency
from vlreward.policy.answers import exact_match, final_answer, math_match, right_answers, tagged_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is 4, so the answer is 4.", "4."),
        ("Answer: B\nBecause of that.", "B"),
        ("I count five.\nFinal answer: five", "five"),
        ("So \\boxed{\\frac{1}{2}} it is, not \\boxed{{3}}.", "{3}"),
        ("\\boxed{7", "7"),
        ("  red ", "red"),
        ("<think>\\boxed{5}? The answer is 6.</think> <answer> 7 </answer>", "7"),
        ("<answer>It is \\boxed{7}.</answer>", "7"),
        ("", ""),
    ],
)
def test_the_final_answer(text: str, expected: str) -> None:
    assert final_answer(text) == expected


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("Red.", "Red."),
        ("I see.\n<answer> red </answer>", "red"),
        ("<answer>blue</answer> no: <answer>\nred\n</answer>", "red"),
        ("<answer>red", "<answer>red"),
        ("", ""),
    ],
)
def test_tagged_answer(response: str, answer: str) -> None:
    assert tagged_answer(response) == answer


@pytest.mark.parametrize(
    ("answer", "key", "right"),
    [
        ("The answer is (B).", "B", True),
        ("**Yes**.", "yes", True),
        ("Red  Square", "red square", True),
        ("The answer is 14.", "4", False),
        ("4.5", "4.5", True),
        ("-4", "4", False),
        ("answer machine", "answer machine", True),
        ("The sky is red.", "red", False),
        ("", "red", False),
        ("<think>Blue? No.</think>\n<answer>Red</answer>", "red", True),
        ("<think>Red?</think>\n<answer>Blue</answer>", "red", False),
    ],
)
def test_exact_match(answer: str, key: str, right: bool) -> None:
    assert exact_match(answer, key) is right


def test_right_answers_of_a_group() -> None:
    group = Group("1 + 1?", ["2", [{"type": "text", "text": "Answer: 2"}], "3"])
    assert right_answers(group, "2") == (True, True, False)


def test_math_is_compared_by_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(MissingDependency, match=r"pip install 'vlreward\[math\]'"):
        math_match("1/2", "0.5")
    fake = types.ModuleType("math_verify")

    # As math-verify: its limits are kept by signals, which only the main thread may set.
    def timed(seconds: int | None) -> None:
        if seconds is not None:
            signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGALRM))

    def parse(text: str, *, parsing_timeout: int | None = 5) -> list[float]:
        timed(parsing_timeout)
        return [] if text == "x" else [float(text.strip("$").replace("x", "1"))]

    def verify(gold: list[float], answer: list[float], *, timeout_seconds: int | None = 5) -> bool:
        timed(timeout_seconds)
        return gold == answer

    fake.parse, fake.verify = parse, verify  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "math_verify", fake)
    assert math_match("<think>1</think><answer>0.5</answer>", "0.5")
    with ThreadPoolExecutor(1) as other:
        assert other.submit(math_match, "0.50", "0.5").result()
    assert math_match("0.50", "0.5")
    assert not math_match("0.51", "0.5")
    assert math_match("1", "x")
