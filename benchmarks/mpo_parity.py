"""The losses of our preference training, step by step, against those of TRL's ``DPOTrainer``.

Both start from the same weights and see the same pairs in the same order, in float64 and in float32, on the CPU, with
the losses ``sigmoid``, ``bco_pair`` and ``sft`` there and the variant ``trl`` of ``mpo`` here. TRL runs as it is
installed; it also says what each of its losses was made of, so that the pure functions can be compared alone.

    python benchmarks/mpo_parity.py             compare
    python benchmarks/mpo_parity.py --fixture   and write the fixture that the tests read
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from harness import environments
from harness.tokenizer import WORDS
from harness.training import ADAMW
from vlreward.policy.recipe import PolicyRecipe, read_policy_recipe
from vlreward.policy.trainer import train_policy

PROJECT = Path(__file__).resolve().parents[1]
FIXTURE = PROJECT / "tests" / "fixtures" / "trl-mpo"
PUBLISHED = PROJECT / "tests" / "fixtures" / "published"
CHECKPOINT = PUBLISHED / "checkpoint"
# Pictures of whole cells, which nobody resizes.
PICTURES = ("square.png", "wide.png")
PAIRS, BATCH, LEARNING_RATE = 20, 4, 1e-4
ATOL = {"float64": 1e-6, "float32": 1e-5}
"""How far the losses of a step may be apart. Measured 5e-7 and 1e-6: what TRL's head gives is float32 in both."""
TRAINER: dict[str, Any] = {"optim": "adamw_torch_fused", "use_cpu": True, "logging_steps": 1, "report_to": "none"}


def made_up_rows(folder: Path | None = None) -> list[dict[str, Any]]:
    """Pairs in TRL's form; paths of pictures are absolute, or start at ``folder``."""
    choose = random.Random(0)

    def say(least: int, most: int) -> str:
        return " ".join(choose.choices(WORDS, k=choose.randint(least, most)))

    def picture() -> str:
        path = PUBLISHED / "images" / choose.choice(PICTURES)
        return str(path) if folder is None else os.path.relpath(path, folder)

    return [
        {
            "prompt": [{"role": "user", "content": say(2, 8)}],
            "chosen": [{"role": "assistant", "content": say(1, 12)}],
            "rejected": [{"role": "assistant", "content": say(1, 12)}],
            "images": [picture()],
        }
        for _ in range(PAIRS)
    ]


def write_rows(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Write them as JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe_for(rows: Path, folder: Path, dtype: str, *, pack_tokens: int = 16_384) -> PolicyRecipe:
    """One epoch of ours; nothing frozen, as in TRL."""
    optimizer = {"learning_rate": LEARNING_RATE, "schedule": "constant", "warmup": 0.0, **ADAMW}
    stage = {
        "name": "mpo",
        "data": [{"path": str(rows)}],
        "batch": BATCH,
        "pack_tokens": pack_tokens,
        "objective": {"loss": "mpo", "variant": "trl"},
        "parts": {"vision": "train"},
        "optimizer": optimizer,
    }
    content = {
        "model": str(CHECKPOINT),
        "output": str(folder / "ours"),
        "dtype": dtype,
        "trainer": TRAINER | {"save_strategy": "no", "disable_tqdm": True},
        "stages": [stage],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return read_policy_recipe(path)


def losses_of(recipe: PolicyRecipe) -> list[float]:
    """Train by a recipe; the loss of each step."""
    logged: list[dict[str, float]] = []
    train_policy(recipe, log=logged.append)
    return [figures["loss"] for figures in logged if "loss" in figures]


def order_of(recipe: PolicyRecipe) -> list[int]:
    """The numbers of the pairs in the order in which our trainer sees them."""
    import torch

    from vlreward.train.run import load_start, prepare_data

    (stage,) = recipe.stages
    model, _ = load_start(recipe, stage, recipe.model, torch.device("cpu"), first=True, weights=False)
    data = prepare_data(recipe, stage, model, 1, lambda _what, _count: None)
    assert not data.dropped, data.dropped
    numbers: list[int] = data.plan.numbers_E.tolist()
    return numbers


def run_trl(rows: Path, folder: Path, dtype: str, python: Path) -> dict[str, Any]:
    """What TRL saw.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    trainer = TRAINER | {"save_strategy": "no", "num_train_epochs": 1, "per_device_train_batch_size": BATCH}
    trainer |= {"learning_rate": LEARNING_RATE, "lr_scheduler_type": "constant", **ADAMW}
    out = folder / f"trl-{dtype}.json"
    job = {"checkpoint": str(CHECKPOINT), "rows": str(rows), "dtype": dtype, "out": str(out), "trainer": trainer}
    path = folder / f"job-{dtype}.json"
    path.write_text(json.dumps(job))
    script = PROJECT / "benchmarks" / "peers" / "train_trl.py"
    variables = os.environ | {"HF_HUB_OFFLINE": "1"}
    outcome = subprocess.run(
        [str(python), str(script), str(path)], capture_output=True, text=True, env=variables, check=False
    )
    if outcome.returncode:
        raise RuntimeError(f"TRL: {outcome.stderr[-3000:]}")
    seen: dict[str, Any] = json.loads(out.read_text())
    return seen


def main() -> int:
    """Compare, print, and with --fixture write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixture", action="store_true", help="make the tests' fixture anew")
    parser.add_argument("--env-dir", type=Path, default=environments.DEFAULT_FOLDER, help="where environments live")
    parser.add_argument("--python", type=Path, help="an interpreter that has TRL, in place of one of an environment")
    arguments = parser.parse_args()
    python = arguments.python or environments.build(environments.TRL, arguments.env_dir / environments.TRL.name)
    within = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept: dict[str, Any] = {"dtypes": {}}
        rows = made_up_rows()
        data = write_rows(rows, folder)
        for dtype, atol in ATOL.items():
            recipe = recipe_for(data, folder / dtype, dtype)
            kept["order"] = order_of(recipe)
            in_order = write_rows([rows[number] for number in kept["order"]], folder / "in-order")
            seen = run_trl(in_order, folder, dtype, python)
            ours, theirs = losses_of(recipe), [step["loss"] for step in seen["steps"]]
            furthest = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
            print(f"{dtype}: {len(ours)} steps, losses {theirs[0]:.4f} to {theirs[-1]:.4f}; furthest {furthest:.1e}")
            within = within and furthest <= atol
            kept["versions"] = seen["versions"]
            kept["dtypes"][dtype] = {"steps": seen["steps"], "furthest": furthest}
    if arguments.fixture:
        shutil.rmtree(FIXTURE, ignore_errors=True)
        write_rows(made_up_rows(FIXTURE), FIXTURE)
        (FIXTURE / "losses.json").write_text(json.dumps(kept) + "\n")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
