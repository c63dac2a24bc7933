"""ms-swift itself loads our plugin and calls what it registered; run by test_contracts.py where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .seeing import asked, picture, reward_of

pytest.importorskip("swift", reason="ms-swift is not installed here")

PLUGIN = """
from tests.integrations.seeing import SeeingEngine
from vlreward.integrations.ms_swift import register

register(engine=SeeingEngine())
"""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    from swift.rl_core.data import GRPOSample
    from swift.utils import import_external_file

    folder = tmp_path_factory.mktemp("swift")
    (folder / "plugin.py").write_text(PLUGIN)
    import_external_file(str(folder / "plugin.py"))
    picture("red").save(folder / "red.png")
    image = str(folder / "red.png")
    rows = [
        {"messages": [{"role": "user", "content": "<image>What?"}, answer("A")], "images": [image], "solution": "a"},
        {"messages": [{"role": "user", "content": "What?"}, answer("B")], "images": [image], "solution": "b"},
        {"messages": [{"role": "user", "content": "Why?"}, answer("C")], "solution": "c"},
    ]
    return [GRPOSample.from_row(row) for row in rows]


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def wanted() -> list[float]:
    seen = asked("What?", picture("red"))
    return [reward_of(seen, "A"), reward_of(seen, "B"), reward_of("Why?", "C")]


def test_reward_function(samples: list[Any]) -> None:
    import torch
    from swift.rewards import orms
    from swift.rl_core.grpo_algorithm import compute_rewards_per_func

    function = orms["vlreward"](args=None)
    rewards = compute_rewards_per_func(samples, [function], [None], device=torch.device("cpu"))
    assert rewards[:, 0].tolist() == pytest.approx(wanted(), abs=1e-5)


def test_reward_model_plugin(samples: list[Any]) -> None:
    import torch
    from swift.rewards import rm_plugins
    from swift.rl_core.grpo_algorithm import compute_rewards_per_func

    model = torch.nn.Linear(1, 1)
    model.model_dir = str(Path("unused"))
    plugin = rm_plugins["vlreward"](model=model, template=None)
    rewards = compute_rewards_per_func(samples, [model], [plugin], device=torch.device("cpu"))
    assert rewards[:, 0].tolist() == pytest.approx(wanted(), abs=1e-5)
