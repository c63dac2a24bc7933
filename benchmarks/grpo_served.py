"""Does a policy learn from a reward that is served? The bundled one, with TRL's GRPOTrainer and examples/grpo_trl.py.

    python benchmarks/grpo_served.py --trl .envs/trl/bin/python    # a quarter of an hour on two cores
    python benchmarks/grpo_served.py --page                        # only the page again, from results/grpo_served.json

For every seed a server of its own gets the answers to prompts of the rendered world while GRPO trains, with their
pictures. What the trainer logged of each step is kept; the figures stand between two markers in docs/rl.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import machine
from readme_table import replaced
from serve import PROJECT, free_port, serving
from vlreward.data.writing import write_groups
from vlreward.policy.loop import Prompts
from vlreward.tiny.bundled import bundled_model
from vlreward.train.worlds import WorldData

RESULT = PROJECT / "benchmarks" / "results" / "grpo_served.json"
PAGE = PROJECT / "docs" / "rl.md"
EXAMPLE = PROJECT / "examples" / "grpo_trl.py"
MARKS = ("<!-- served: written by benchmarks/grpo_served.py -->", "<!-- end of served -->")
FAMILIES = ("captions", "counting", "relations", "reasoning")
SETTINGS = ("steps", "questions", "prompts", "answers", "learning_rate")
START = 9_000_000
"""Scenes that no training of the bundled models has seen."""


def train(seed: int, chosen: argparse.Namespace) -> list[float]:
    """The mean reward of every step of a run."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        world = WorldData(items=chosen.questions, start=START + seed * chosen.questions, families=FAMILIES)
        write_groups(folder / "prompts.jsonl", Prompts(world=world).groups())
        serve = [
            sys.executable,
            "-m",
            "vlreward.cli",
            "serve",
            "--model",
            chosen.reward,
            "--port",
            str(port),
            "--quiet",
        ]
        with serving(serve, port, 1, folder / "server.txt") as address:
            values = {
                "policy": chosen.policy,
                "server": address,
                "data": folder / "prompts.jsonl",
                "out": folder / "out",
                "steps": chosen.steps,
                "prompts-per-step": chosen.prompts,
                "answers": chosen.answers,
                "answer-tokens": 64,
                "learning-rate": chosen.learning_rate,
                "seed": seed,
            }
            command = [str(chosen.trl), str(EXAMPLE)]
            command += [word for key, value in values.items() for word in (f"--{key}", str(value))]
            variables = os.environ | {"PYTHONPATH": str(PROJECT / "src")}
            done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
            if done.returncode:
                raise SystemExit(f"{EXAMPLE}: {done.stderr[-2000:]}")
        state = json.loads((folder / "out" / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry["reward"] for entry in state["log_history"] if "reward" in entry]


def ends(rewards: list[float]) -> tuple[float, float]:
    """The mean reward of the first quarter of the steps, and of the last."""
    size = max(1, len(rewards) // 4)
    return statistics.fmean(rewards[:size]), statistics.fmean(rewards[-size:])


def written(page: str, result: dict[str, Any]) -> str:
    """The page with these figures."""
    return replaced(page, "\n".join([MARKS[0], "", figures(result), "", MARKS[1]]), MARKS, PAGE.name)


def figures(result: dict[str, Any]) -> str:
    """What came out, in words."""
    runs, machine, settings = result["runs"], result["machine"], result["settings"]
    size = max(1, settings["steps"] // 4)
    told = " and ".join(
        f"{first:+.2f} to {last:+.2f} (seed {run['seed']})" for run in runs for first, last in [ends(run["rewards"])]
    )
    return (
        f"{settings['steps']} steps of {settings['prompts']} of {settings['questions']} prompts with "
        f"{settings['answers']} answers each, the bundled policy with the bundled reward model behind "
        f"`vlreward serve`: from the first {size} steps to the last the mean reward went from {told}. "
        f"(`benchmarks/grpo_served.py`, learning rate {settings['learning_rate']:g}, TRL {result['trl']}, "
        f"{machine['processor']}, {machine['cores']} cores, {machine['date']}.)"
    )


def trl_version(python: Path) -> str:
    """Of an interpreter."""
    question = "from importlib.metadata import version; print(version('trl'))"
    done = subprocess.run([str(python), "-c", question], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"--trl {python}: has no TRL; benchmarks/peers/install.py trl makes an environment with it")
    return done.stdout.strip()


def main() -> int:
    """Train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", type=Path, metavar="PYTHON", help="interpreter of an environment with TRL")
    parser.add_argument("--policy", help="folder of the policy (default: the bundled one)")
    parser.add_argument("--reward", help="folder of the reward model (default: the bundled one)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="S", help="(default: 0 1)")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--questions", type=int, default=32, help="different prompts, which come again in every epoch")
    parser.add_argument("--prompts", type=int, default=8, help="of a step")
    parser.add_argument("--answers", type=int, default=8, help="to a prompt")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--page", action="store_true", help="train nothing: write the page from the results")
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args()
    if not chosen.page:
        if chosen.trl is None:
            parser.error("--trl: name an interpreter with TRL")
        chosen.policy = chosen.policy or str(bundled_model("policy"))
        chosen.reward = chosen.reward or str(bundled_model("reward"))
        result = {
            "what": "benchmarks/grpo_served.py",
            "machine": machine.describe(),
            "trl": trl_version(chosen.trl),
            "settings": {name: vars(chosen)[name] for name in SETTINGS},
            "runs": [{"seed": seed, "rewards": train(seed, chosen)} for seed in chosen.seeds],
        }
        print(figures(result))
        chosen.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if chosen.out == RESULT:
        page = written(PAGE.read_text(encoding="utf-8"), json.loads(RESULT.read_text(encoding="utf-8")))
        PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
