"""The reward function that TRL's GRPOTrainer calls, in the forms in which TRL calls it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from vlreward.errors import ConfigError, InputError
from vlreward.integrations.trl import GRPOReward, rule
from vlreward.policy.answers import exact_match
from vlreward.policy.rewards import MatchFirst

from .seeing import SeeingEngine, asked, picture, reward_of

RED, BLUE = picture("red"), picture("blue")


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_conversations_with_pictures_in_place() -> None:
    engine = SeeingEngine()
    prompts = [asked("What?", RED), asked("What?", RED), asked("Where?", BLUE)]
    columns: dict[str, Any] = {"image": [RED, RED, BLUE], "trainer_state": object(), "completion_ids": [[1]] * 3}
    rewards = GRPOReward(engine)(prompts=prompts, completions=[said("A"), said("B"), said("C")], **columns)
    assert rewards == [reward_of(p, a) for p, a in zip(prompts, "ABC", strict=True)]
    assert engine.calls == [[2, 1]]


@pytest.mark.parametrize("columns", [{"image": [RED, None]}, {"images": [[RED], None]}, {"images": [[RED], []]}])
def test_pictures_in_columns(columns: dict[str, Any]) -> None:
    prompts = [[{"role": "user", "content": "What?"}]] * 2
    rewards = GRPOReward(SeeingEngine())(prompts=prompts, completions=[said("A"), said("B")], **columns)
    assert rewards == [reward_of(asked("What?", RED), "A"), reward_of("What?", "B")]


def test_plain_text() -> None:
    rewards = GRPOReward(SeeingEngine())(prompts=["Why?", "Why?"], completions=["So.", "Thus."])
    assert rewards == [reward_of("Why?", "So."), reward_of("Why?", "Thus.")]


def test_a_templated_prompt_is_refused() -> None:
    with pytest.raises(InputError, match=r"prompts\[0\]: a chat template has been applied to it"):
        GRPOReward(SeeingEngine())(prompts=["<|im_start|>user\nWhy?<|im_end|>\n"], completions=["So."])


def test_none_where_it_cannot_be_scored() -> None:
    function = GRPOReward(SeeingEngine(), skip_unscorable=True)
    assert function(prompts=["Why?", "Why?"], completions=["So.", "too long"]) == [reward_of("Why?", "So."), None]


def test_combined_with_a_rule() -> None:
    function = GRPOReward(SeeingEngine(), combine=MatchFirst(), answer="solution")
    rewards = function(prompts=["Why?", "Why?"], completions=["So.", "Thus."], solution=["so", None])
    assert rewards[0] == 1.0
    assert rewards[1] == pytest.approx(MatchFirst()("Thus.", None, reward_of("Why?", "Thus.")))
    with pytest.raises(InputError, match="no column 'solution'; it has: answer"):
        function(prompts=["Why?"], completions=["So."], answer=["so"])


def test_rules_alone() -> None:
    check = rule(exact_match, answer="solution")
    assert check.__name__ == "exact_match"
    keys = ["red", "red", None]
    assert check(prompts=["?"] * 3, completions=[said("Red."), "blue", "red"], solution=keys) == [True, False, None]
    assert rule(len, name="length")(prompts=["?"], completions=["abc"], completion_ids=[[1]]) == [3]
    with pytest.raises(ConfigError, match="has no __name__; give a name"):
        rule(MatchFirst())


def test_names_in_the_log() -> None:
    assert GRPOReward(SeeingEngine()).__name__ == "vlreward"
    assert GRPOReward(SeeingEngine(), name="reward").__name__ == "reward"


def test_no_file_needs_torch_or_a_trainer_to_be_imported() -> None:
    names = ("trl", "verl", "ms_swift", "openrlhf", "easyr1", "opening")
    code = "; ".join(f"import vlreward.integrations.{name}" for name in names)
    code += "; import sys; sys.exit(bool({'torch', 'transformers', 'trl', 'verl', 'swift'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
