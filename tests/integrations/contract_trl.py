"""The real GRPOTrainer calls our reward function; run by test_contracts.py where TRL is installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from vlreward.data.content import text_of
from vlreward.integrations.trl import GRPOReward
from vlreward.tiny.random_checkpoint import write_random_checkpoint
from vlreward.types import parse_response

from .seeing import SeeingEngine, asked, picture, reward_of

trl = pytest.importorskip("trl", reason="TRL is not installed here")

COLOURS = ("red", "blue")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("grpo") / "policy", 1, form="none")


class Told(GRPOReward):
    """Remembers what it was told, and what it said."""

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        rewards = super().__call__(prompts, completions, **columns)
        texts = [text_of(parse_response(item, "")) for item in completions]
        self.told = list(zip(texts, columns["name"], strict=True))
        self.said = rewards
        return rewards


@pytest.mark.parametrize("column", ["image", "images"])
def test_a_step_with_pictures(policy: Path, tmp_path: Path, column: str) -> None:
    from datasets import Dataset

    def shown(colour: str) -> Any:
        return picture(colour, 56) if column == "image" else [picture(colour, 56)]

    rows = [
        {"prompt": [{"role": "user", "content": "What colour?"}], column: shown(colour), "name": colour}
        for colour in COLOURS
    ]
    engine = SeeingEngine()
    reward = Told(engine)
    config = trl.GRPOConfig(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=6,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
    )
    trainer = trl.GRPOTrainer(
        model=str(policy), reward_funcs=reward, args=config, train_dataset=Dataset.from_list(rows)
    )
    trainer.train()
    assert engine.calls == [[4, 4]]
    wanted = [reward_of(asked("What colour?", picture(colour, 56)), text) for text, colour in reward.told]
    assert reward.said == wanted
    logged = trainer.state.log_history[0]
    assert logged["rewards/vlreward/mean"] == pytest.approx(sum(wanted) / len(wanted), abs=1e-5)


def test_the_example_raises_the_reward(policy: Path, tmp_path: Path) -> None:
    rows = []
    for colour in COLOURS:
        picture(colour, 56).save(tmp_path / f"{colour}.png")
        row = {"id": colour, "prompt": "<image>What colour?", "images": [f"{colour}.png"], "answer": colour}
        rows.append(json.dumps(row) + "\n")
    (tmp_path / "prompts.jsonl").write_text("".join(rows))
    judge = write_random_checkpoint(tmp_path / "judge")
    command = [sys.executable, str(ROOT / "examples" / "grpo_trl.py"), "--policy", policy, "--model", judge]
    command += ["--data", "prompts.jsonl", "--out", "out", "--steps", 20, "--prompts-per-step", 2, "--answers", 16]
    command += ["--answer-tokens", 2, "--learning-rate", 1e-2]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*map(str, command)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, last = map(float, re.findall(r"steps (\S+), of the last 4 (\S+)", done.stdout)[0])
    # A random model likes some answers of two tokens better than others, which is soon learned.
    assert last > first + 0.5
    assert (tmp_path / "out" / "model.safetensors").is_file()
