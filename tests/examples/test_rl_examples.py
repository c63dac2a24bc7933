"""The examples of rewards for trainers; examples/grpo_trl.py runs in tests/integrations/contract_trl.py, beside TRL."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from vlreward import RewardModel
from vlreward.errors import ConfigError
from vlreward.policy.rewards import MatchFirst

from .test_examples import run


def test_verl_reward(root: Path, tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    Image.new("RGB", (56, 56), "red").save(tmp_path / "red.png")
    parts = [{"type": "image", "image": str(tmp_path / "red.png")}, {"type": "text", "text": "What colour?"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "Blue."}]
    reward = RewardModel.from_pretrained(checkpoint()).score(messages)
    said = ["--model", checkpoint(), "--image", tmp_path / "red.png", "--prompt", "What colour?", "--answer", "Blue."]
    wrong = float(run(root / "examples" / "verl_reward.py", *said, "--key", "red", cwd=tmp_path))
    assert wrong == pytest.approx(MatchFirst()("Blue.", "red", reward), abs=1e-3)


def test_verl_reward_as_verl_loads_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLREWARD_SERVER", raising=False)
    spec = importlib.util.spec_from_file_location("custom_module", root / "examples" / "verl_reward.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ConfigError, match="name a server"):
        module.compute_score(data_source="d", solution_str="A", ground_truth="b", extra_info={"question": "?"})
