"""verl's compute_score; the reward manager is tried in contract_verl.py."""

from __future__ import annotations

from typing import Any

import pytest

from vlreward.errors import InputError
from vlreward.integrations.verl import VerlReward, compute_score
from vlreward.policy.rewards import MatchFirst

from .seeing import SeeingEngine, array, asked, picture, reward_of

RED = picture("red")


@pytest.mark.parametrize(
    "extra_info",
    [
        {"raw_prompt": array(asked("What?", RED))},
        {"raw_prompt": asked("What?", RED), "images": [RED]},
        {"prompt": "<image>What?", "images": [RED], "raw_prompt": None, "index": 3},
        {"question": "<image>What?", "images": array([RED]), "split": "train"},
    ],
)
def test_one_answer(extra_info: dict[str, Any]) -> None:
    score = VerlReward(SeeingEngine())("geo3k", "A", "key", extra_info)
    assert score == {"score": reward_of(asked("What?", RED), "A")}


def test_combined_with_the_ground_truth() -> None:
    function = VerlReward(SeeingEngine(), combine=MatchFirst())
    named = {"data_source": "d", "solution_str": "<answer>4</answer>", "ground_truth": "4", "others": 1}
    assert function(**named, extra_info={"question": "2 + 2?"}) == {"score": 1.0}


def test_without_a_prompt() -> None:
    with pytest.raises(InputError, match="geo3k: extra_info has none of raw_prompt, prompt, question"):
        VerlReward(SeeingEngine())("geo3k", "A", "key", {"index": 3})


def test_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []

    def open_engine(**options: Any) -> SeeingEngine:
        told.append(options)
        return SeeingEngine()

    monkeypatch.setattr("vlreward.integrations.verl.open_engine", open_engine)
    info = {"question": "Why?"}
    score = compute_score("d", "So.", "key", info, server="http://127.0.0.1:8080", squash="tanh")
    assert score == {"score": reward_of("Why?", "So.")}
    assert told == [{"server": "http://127.0.0.1:8080", "squash": "tanh"}]
