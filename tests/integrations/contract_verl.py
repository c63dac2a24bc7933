"""verl itself loads our manager and our function; run by test_contracts.py where verl is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vlreward.errors import ConfigError

from .seeing import array, asked, picture, reward_of

verl = pytest.importorskip("verl", reason="verl is not installed here")

FUNCTION = """
from tests.integrations.seeing import SeeingEngine
from vlreward.integrations.verl import VerlReward

compute_score = VerlReward(SeeingEngine())
"""
MANAGER = {"path": "pkg://vlreward.integrations.verl_manager", "name": "VLRewardManager"}


class Tokenizer:
    """Tokens are the characters of a text; 0 is a special one."""

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str:
        return "".join(chr(int(i)) for i in ids if not skip_special_tokens or i != 0)


def config_of(function: str | None, manager: dict[str, Any]) -> Any:
    from omegaconf import OmegaConf

    custom = {"path": function, "name": "compute_score"}
    return OmegaConf.create({"reward": {"custom_reward_function": custom, "reward_manager": manager}})


def importlib_manager() -> dict[str, Any]:
    return {"source": "importlib", "name": MANAGER["name"], "module": {"path": MANAGER["path"], "name": None}}


def batch(prompts: list[Any], answers: list[str]) -> Any:
    """As the agent loop makes them: answers padded on the right, what is no tensor beside them."""
    import torch
    from tensordict import TensorDict

    width = max(map(len, answers))
    responses = torch.tensor([[*map(ord, answer), *[0] * (width - len(answer))] for answer in answers])
    tensors = {
        "prompts": torch.ones(len(answers), 2, dtype=torch.long),
        "responses": responses,
        "attention_mask": torch.cat([torch.ones(len(answers), 2), (responses != 0)], dim=1).long(),
    }
    beside = {
        "raw_prompt": array(prompts),
        "data_source": array(["world"] * len(answers)),
        "reward_model": array([{"ground_truth": "key"}] * len(answers)),
        "extra_info": array([{"index": 1}] * len(answers)),
    }
    return verl.DataProto(TensorDict(tensors, batch_size=len(answers)), beside, {})


@pytest.fixture
def function(tmp_path: Path) -> str:
    (tmp_path / "function.py").write_text(FUNCTION)
    return str(tmp_path / "function.py")


@pytest.mark.parametrize("manager", [importlib_manager(), {"source": "register", "name": "vlreward"}])
def test_manager(function: str, manager: dict[str, Any]) -> None:
    from verl.trainer.ppo.reward import load_reward_manager

    import vlreward.integrations.verl_manager  # noqa: F401 - registers it

    loaded = load_reward_manager(config_of(function, manager), Tokenizer())
    prompts = [asked("What?", picture("red")), asked("Why?")]
    data = batch(prompts, ["A cat.", "So."])
    for i, (prompt, answer) in enumerate(zip(prompts, ["A cat.", "So."], strict=True)):
        told = loaded.loop.run_until_complete(loaded.run_single(data[i : i + 1]))
        assert told["reward_score"] == pytest.approx(reward_of(prompt, answer))
        assert set(told["reward_extra_info"]) == {"score"}
    assert [info.keys() for info in data.non_tensor_batch["extra_info"]] == [{"index": 1}.keys()] * 2
    scores = type(loaded).assemble_rm_scores(data, [1.0, 2.0])
    assert scores.sum(dim=1).tolist() == [1.0, 2.0]


def test_function_without_our_manager(function: str) -> None:
    from verl.trainer.ppo.reward import load_reward_manager

    loaded = load_reward_manager(config_of(function, {"source": "register", "name": "naive"}), Tokenizer())
    prompt = asked("What?", picture("red"))
    data = batch([prompt], ["A cat."])
    # This is where the agent loop puts the prompt while answers come in.
    data.non_tensor_batch["tool_extra_fields"] = array([{"raw_prompt": prompt}])
    told = loaded.loop.run_until_complete(loaded.run_single(data))
    assert told["reward_score"] == pytest.approx(reward_of(prompt, "A cat."))


def test_our_module_is_found_by_its_name() -> None:
    from verl.trainer.ppo.reward import get_custom_reward_fn

    config = config_of("pkg://vlreward.integrations.verl", {})
    config.reward.custom_reward_function.reward_kwargs = {"model": "no/such/folder", "server": "http://127.0.0.1:1"}
    with pytest.raises(ConfigError, match="name a server"):
        get_custom_reward_fn(config)(data_source="d", solution_str="A", ground_truth="", extra_info={"question": "?"})


def test_the_manager_needs_a_function() -> None:
    from verl.trainer.ppo.reward import load_reward_manager

    with pytest.raises(ConfigError, match=r"needs reward\.custom_reward_function\.path"):
        load_reward_manager(config_of(None, importlib_manager()), Tokenizer())
