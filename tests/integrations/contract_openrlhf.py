"""OpenRLHF itself loads our reward function and calls it; run by test_contracts.py where it is installed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from .seeing import asked, picture, reward_of

agent = pytest.importorskip("openrlhf.utils.agent", reason="OpenRLHF is not installed here")

FUNCTION = """
from tests.integrations.seeing import SeeingEngine
from vlreward.integrations.openrlhf import OpenRLHFReward

reward_func = OpenRLHFReward(SeeingEngine())
"""
TEMPLATE = "<|im_start|>user\n<|vision_start|>{}<|vision_end|>What?<|im_end|>\n<|im_start|>assistant\n"


def test_reward_func(tmp_path: Path) -> None:
    (tmp_path / "reward_func.py").write_text(FUNCTION)
    picture("red").save(tmp_path / "red.png")
    executor = agent.SingleTurnAgentExecutor(str(tmp_path / "reward_func.py"))
    label = json.dumps({"prompt": "<image>What?", "images": [str(tmp_path / "red.png")], "answer": "red"})
    query = TEMPLATE.format("<|image_pad|>" * 4) + "A cat.<|im_end|>"
    prompt = TEMPLATE.format("<|image_pad|>")
    (told,) = asyncio.run(executor._fetch_rewards_via_func([query], [prompt], [label]))
    assert told["rewards"].tolist() == pytest.approx([reward_of(asked("What?", picture("red")), "A cat.")], abs=1e-5)
