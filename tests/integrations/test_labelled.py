"""Trainers that hand over one string with an answer: EasyR1 and OpenRLHF."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vlreward.errors import InputError
from vlreward.integrations import easyr1
from vlreward.integrations.easyr1 import EasyR1Reward
from vlreward.integrations.labels import read_label, read_prompts
from vlreward.integrations.openrlhf import OpenRLHFReward
from vlreward.policy.rewards import MatchFirst

from .seeing import SeeingEngine, picture, reward_of, seen

RED = picture("red")
PAD = "<|vision_start|>{}<|vision_end|>"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    RED.save(tmp_path / "red.png")
    rows = [
        {"id": 17, "prompt": "<image>What?", "images": ["red.png"], "answer": "red", "problem_type": "colour"},
        {"id": "18", "messages": [{"role": "user", "content": "Why?"}], "responses": ["So."]},
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_labels(prompts: Path) -> None:
    known = read_prompts(prompts)
    by_id = read_label('{"id": 17}', known, "here")
    assert (seen(by_id.prompt), by_id.answer) == (seen(read_label({"id": "17"}, known, "here").prompt), "red")
    assert read_label({"id": "18", "answer": "because"}, known, "here").answer == "because"
    inline = {"prompt": "<image>What?", "images": [str(prompts.parent / "red.png")], "answer": None}
    assert seen(read_label(json.dumps(inline), {}, "here").prompt) == seen(by_id.prompt)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("red", "expected a JSON object with the prompt or its id, got 'red'"),
        ("[1]", r"expected a JSON object with the prompt or its id, got \[1\]"),
        ('{"answer": "red"}', "neither 'prompt', 'messages' nor 'id'"),
        ('{"id": "19"}', "none of the 2 prompts has the id '19'"),
        ('{"id": "17", "anwser": "red"}', "unknown key 'anwser'; did you mean 'answer'"),
        ('{"prompt": "a", "messages": "b"}', "both 'messages' and 'prompt'"),
    ],
)
def test_labels_that_say_nothing(prompts: Path, label: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^here: {message}"):
        read_label(label, read_prompts(prompts), "here")
    with pytest.raises(InputError, match="no file of prompts is given"):
        read_label('{"id": "17"}', {}, "here")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Why?"}, "a prompt needs 'id'"),
        ({"id": 3}, "a prompt needs"),
        ({"id": "17", "prompt": "?"}, "second"),
    ],
)
def test_prompts_that_are_none(prompts: Path, row: dict[str, Any], message: str) -> None:
    with prompts.open("a") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=rf"prompts.jsonl:3: .*{message}"):
        read_prompts(prompts)


def easyr1_input(response: str, label: dict[str, Any]) -> dict[str, Any]:
    return {"response": response, "response_length": 3, "ground_truth": json.dumps(label)}


def test_easyr1(prompts: Path) -> None:
    engine = SeeingEngine()
    function = EasyR1Reward(engine, prompts=str(prompts))
    inputs = [easyr1_input("A", {"id": 17}), easyr1_input("B", {"prompt": "Why?"}), easyr1_input("C", {"id": 17})]
    picture_prompt = read_prompts(prompts)["17"].prompt
    wanted = [reward_of(picture_prompt, "A"), reward_of("Why?", "B"), reward_of(picture_prompt, "C")]
    assert function(inputs) == [{"overall": reward} for reward in wanted]
    assert engine.calls == [[2, 1]]
    assert function(inputs[1]) == {"overall": wanted[1]}
    combined = EasyR1Reward(SeeingEngine(), prompts=str(prompts), combine=MatchFirst())
    assert combined(easyr1_input("<answer>Red</answer>", {"id": 17})) == {"overall": 1.0}


def test_easyr1_configured(prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(easyr1, "open_engine", lambda **_: SeeingEngine())
    configured = partial(easyr1.compute_score, server="http://127.0.0.1:8080", prompts=str(prompts))
    assert configured([easyr1_input("A", {"id": 18})]) == [{"overall": reward_of("Why?", "A")}]


def test_openrlhf(prompts: Path) -> None:
    torch = pytest.importorskip("torch")
    function = OpenRLHFReward(SeeingEngine(), prompts=str(prompts))
    template = "<|im_start|>user\n{}What?<|im_end|>\n<|im_start|>assistant\n"
    one, four = (template.format(PAD.format("<|image_pad|>" * n)) for n in (1, 4))
    plain = template.format("")
    answers = ["A", "B", "<|vision_end|>What?<|im_end|>\n<|im_start|>assistant\nC"]
    queries = [f"{four}A<|im_end|>\n", f"{plain}B", f"{four}{answers[2]}"]
    labels = ['{"id": 17}', '{"id": 18}', '{"id": 17}']
    told = function(queries, [one, plain, one], labels)
    picture_prompt = read_prompts(prompts)["17"].prompt
    kept = answers[2].partition("<|im_end|>")[0]
    wanted = [reward_of(picture_prompt, "A"), reward_of("Why?", "B"), reward_of(picture_prompt, kept)]
    assert torch.allclose(told["rewards"], torch.tensor(wanted))
    assert torch.equal(told["rewards"], told["scores"])
    assert told["extra_logs"] == {}
    with pytest.raises(InputError, match=r"labels\[0\]: the query does not start with its prompt"):
        function(["Something else"], [one], ['{"id": 17}'])
