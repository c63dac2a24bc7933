"""ms-swift's rows become prompts and answers; `register` is tried in contract_ms_swift.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vlreward.errors import InputError
from vlreward.integrations.ms_swift import SwiftPlugin, SwiftReward
from vlreward.policy.rewards import MatchFirst

from .seeing import SeeingEngine, asked, picture, reward_of

RED = picture("red")


def rows(tmp_path: Path) -> dict[str, list[Any]]:
    RED.save(tmp_path / "red.png")
    answers = [{"role": "assistant", "content": text, "loss": True} for text in ("A", "B", "too short", "D")]
    data = {"bytes": (tmp_path / "red.png").read_bytes(), "path": None}
    prompts = [
        [{"role": "user", "content": "<image>What?"}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"}],
        [
            {"role": "user", "content": "What?"},
            {"role": "assistant", "content": "It."},
            {"role": "user", "content": "?"},
        ],
        [{"role": "user", "content": "Look."}, {"role": "tool_response", "content": "Seen."}],
    ]
    return {
        "messages": [[*prompt, answer] for prompt, answer in zip(prompts, answers, strict=True)],
        "images": [[str(tmp_path / "red.png")], [data], None, None],
        "solution": ["a", "x", None, "x"],
        "trainer_state": None,  # type: ignore[dict-item]
    }


def wanted() -> list[float]:
    return [
        reward_of(asked("What?", RED), "A"),
        reward_of([{"role": "system", "content": "Be brief."}, *asked("What?", RED)], "B"),
        reward_of(
            [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "It."}, *asked("?")], "too short"
        ),
        reward_of([*asked("Look."), {"role": "tool", "content": "Seen."}], "D"),
    ]


def test_reward_function(tmp_path: Path) -> None:
    columns = rows(tmp_path)
    function = SwiftReward(args=object(), engine=SeeingEngine())
    assert function(["A", "B", "too short", "D"], **columns) == wanted()
    combined = SwiftReward(engine=SeeingEngine(), combine=MatchFirst(), answer="solution")
    rewards = combined(["A", "B", "too short", "D"], **columns)
    assert rewards[0] == 1.0
    assert rewards[2] == pytest.approx(MatchFirst()("too short", None, wanted()[2]))
    with pytest.raises(InputError, match="no column 'key'"):
        SwiftReward(engine=SeeingEngine(), combine=MatchFirst(), answer="key")(["A"], **columns)


def test_plugin(tmp_path: Path) -> None:
    class Loaded:
        model_dir = "unused"

    columns = rows(tmp_path)
    inputs = [{"messages": m, "images": i} for m, i in zip(columns["messages"], columns["images"], strict=True)]
    plugin = SwiftPlugin(model=Loaded(), template=None, engine=SeeingEngine())
    assert plugin(inputs=inputs, **columns) == wanted()


def test_a_row_must_end_in_the_completion() -> None:
    with pytest.raises(InputError, match=r"completions\[0\]: 'messages' must end in the assistant's completion"):
        SwiftReward(engine=SeeingEngine())(["A"], messages=[[{"role": "user", "content": "What?"}]])
