"""Does a better reward make a better policy? The tiny models in their rendered world, where what is right is known.

One table, same prompts and compute: the policy as it was, the best of its answers by the reward, fine-tuning on the
best answers, DPO, MPO, and GRPO through TRL. MPO again with a random reward, with a worse reward model (an early
checkpoint) and with an oracle, and how well each of these tells the policy's right answers from wrong ones. Training
prompts differ from seed to seed, held-out prompts are the same for all; no reward is told what is right but the oracle.

    python benchmarks/closed_loop.py --trl .envs/trl/bin/python \\
        --weaker runs/tiny/stage-9-judging-forms/checkpoint-100/model

Everything is kept in --folder, cell by cell: after Ctrl-C the same command goes on, and at most the cell that was being
made is made again. Sampling and training are as recipes/tiny-mpo.yaml says, but that pairs need no margin, and that
every training has as many steps and goes through its pairs as often as that takes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from harness import closed_loop_figures as figures
from harness import machine
from harness.closed_loop import MAIN, Grpo, Matrix, make_all, rows_of, time_left
from harness.closed_loop_result import result_of
from readme_table import replaced
from vlreward.cli.fingerprint import checkpoint_fingerprint, versions
from vlreward.errors import VLRewardError
from vlreward.policy.loop import LoopRecipe, plain_loop_recipe, read_loop_recipe
from vlreward.policy.watch import WatchSettings

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "benchmarks" / "results"
RECIPE = PROJECT / "recipes" / "tiny-mpo.yaml"
PAGE = PROJECT / "docs" / "mpo.md"
MARKS = ("<!-- closed loop: written by benchmarks/closed_loop.py -->", "<!-- end of closed loop -->")
SECONDS = {"prompt": 0.10, "answer": 0.065, "score": 0.025, "step": 0.85, "grpo": 1.0}
"""What is expected until the first cell of a kind has been made, with a tiny policy of 5 million weights: for a prompt
with its eight answers, a greedy answer, the rewards of eight answers, a step of 32 pairs, a prompt of GRPO. Measured on
one core, but for GRPO, which is a guess."""
QUICK = {"prompts": 12, "held_out": 6, "steps": 2, "watch_prompts": 2}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", help="folder of the policy to improve (default: the recipe's)")
    parser.add_argument("--reward", help="folder of the reward model (default: the recipe's)")
    parser.add_argument("--weaker", help="folder of a worse one, such as an early checkpoint (default: no such row)")
    parser.add_argument("--trl", type=Path, metavar="PYTHON", help="interpreter with TRL, for GRPO (default: no GRPO)")
    parser.add_argument("--folder", type=Path, default=Path("runs/closed-loop"), help="where all cells are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="S", help="(default: 0 1 2)")
    parser.add_argument("--prompts", type=int, default=2000, help="training prompts of a seed (default: %(default)s)")
    parser.add_argument("--held-out", type=int, default=1000, help="held-out prompts (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=120, help="optimizer steps of a training (default: %(default)s)")
    parser.add_argument("--watch-prompts", type=int, default=100, help="asked while MPO trains (default: %(default)s)")
    parser.add_argument("--grpo-learning-rate", type=float, help="(default: the recipe's)")
    parser.add_argument("--grpo-prompts", type=int, default=16, help="prompts of a step of GRPO (default: %(default)s)")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="of the loop (default: recipes/tiny-mpo.yaml)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another value in the recipe")
    parser.add_argument("--only", nargs="+", metavar="CELL", help="such as mpo-reward, with what it needs")
    parser.add_argument("--quick", action="store_true", help="a few prompts and steps: does it run at all")
    parser.add_argument("--plan", action="store_true", help="say what would be made and how long it would take")
    parser.add_argument("--threads", type=int, help="of torch (default: all cores)")
    parser.add_argument("--out", type=Path, help="result, a .json (default: benchmarks/results, none for --quick)")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        vars(chosen).update(QUICK)
    return chosen


def matrix_of(chosen: argparse.Namespace) -> Matrix:
    """What the command line asks for.

    Raises:
        VLRewardError: the recipe and it do not fit together.
    """
    values = {
        **{name: value for name in ("policy", "reward") if (value := getattr(chosen, name))},
        "output": chosen.folder,
        "prompts.world.items": chosen.prompts,
        "held_out.world.items": chosen.held_out,
        # Rewards of different models have different scales, and no control is to have fewer pairs for that.
        "pairs.margin": 0.0,
        "trainer.save_strategy": '"no"',
        "trainer.disable_tqdm": "true",
        "watch": "null",
    }
    recipe = read_loop_recipe(chosen.recipe, [*(f"{name}={value}" for name, value in values.items()), *chosen.set])
    recipe.check_files()
    grpo = None
    if chosen.trl is not None:
        rate = chosen.grpo_learning_rate or recipe.training().stages[0].optimizer.learning_rate
        grpo = Grpo(python=chosen.trl, learning_rate=rate, prompts_per_step=min(chosen.grpo_prompts, chosen.prompts))
    return Matrix(
        folder=chosen.folder,
        recipe=recipe,
        seeds=tuple(chosen.seeds),
        steps=chosen.steps,
        watch=WatchSettings(every=max(1, chosen.steps // 5), prompts=chosen.watch_prompts),
        weaker=chosen.weaker,
        grpo=grpo,
    )


def claim(matrix: Matrix) -> dict[str, Any]:
    """The settings, which a folder keeps: it is gone on with under the same ones only.

    Raises:
        SystemExit: it was begun with others.
    """
    settings: dict[str, Any] = {
        "recipe": json.loads(json.dumps(plain_loop_recipe(matrix.recipe))),
        "policy": checkpoint_fingerprint(Path(matrix.recipe.policy)),
        "reward": checkpoint_fingerprint(Path(matrix.recipe.reward)),
        "steps": matrix.steps,
        "watch": {"every": matrix.watch.every, "prompts": matrix.watch.prompts},
    }
    # Rows may be added later, and are then as they would have been.
    added = {
        "weaker": None if matrix.weaker is None else checkpoint_fingerprint(Path(matrix.weaker)),
        "grpo": None if matrix.grpo is None else [matrix.grpo.learning_rate, matrix.grpo.prompts_per_step],
    }
    path = matrix.folder / "settings.json"
    before = json.loads(path.read_text()) if path.is_file() else {}
    for name, value in (settings | {name: value for name, value in added.items() if value is not None}).items():
        if before.get(name) not in (None, value):
            raise SystemExit(f"{matrix.folder}: begun with another {name}; name another --folder, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    settings |= {name: value if value is not None else before.get(name) for name, value in added.items()}
    path.write_text(json.dumps(settings, indent=1) + "\n")
    return settings


def rates(matrix: Matrix) -> dict[str, float]:
    """Seconds that are expected for a cell of each kind."""
    recipe, world = matrix.recipe, matrix.recipe.prompts.in_words()
    held_out = recipe.held_out.in_words().items
    answers = SECONDS["answer"] * held_out
    looks = matrix.steps // matrix.watch.every + 2
    train = SECONDS["step"] * matrix.steps + answers
    return {
        "answers": answers,
        "sample": SECONDS["prompt"] * world.items,
        "choices": SECONDS["prompt"] * held_out,
        "score": SECONDS["score"] * world.items,
        "judge": SECONDS["score"] * held_out,
        "control": 5.0,
        "sft": train,
        "dpo": train,
        "mpo": train + SECONDS["answer"] * looks * matrix.watch.prompts,
        "grpo": SECONDS["grpo"] * world.items + answers,
    }


def trl_version(python: Path | None) -> str:
    """TRL's version, or why there is no GRPO.

    Raises:
        SystemExit: the interpreter that was named has no TRL.
    """
    if python is None:
        return "none: --trl names no interpreter, so there is no row for GRPO"
    question = "from importlib.metadata import version; print(version('trl'))"
    try:
        done = subprocess.run([str(python), "-c", question], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SystemExit(f"--trl {python}: {error.strerror}") from error
    if done.returncode:
        raise SystemExit(f"--trl {python}: has no TRL; benchmarks/peers/install.py trl makes an environment with it")
    return done.stdout.strip()


def about(matrix: Matrix, chosen: argparse.Namespace, trl: str) -> dict[str, Any]:
    """What the result depends on."""
    recipe: LoopRecipe = matrix.recipe
    packages = {name: importlib.metadata.version(name) for name in ("accelerate", "numpy")}
    return {
        "what": "benchmarks/closed_loop.py",
        "machine": machine.describe(),
        "versions": versions() | packages | {"trl": trl},
        "settings": {
            "seeds": list(matrix.seeds),
            "prompts": chosen.prompts,
            "held_out": chosen.held_out,
            "answers": recipe.sampling.answers,
            "families": list(recipe.held_out.in_words().families or ()),
            "steps": matrix.steps,
            "batch": recipe.training().stages[0].batch,
            "learning_rate": recipe.training().stages[0].optimizer.learning_rate,
            "margin": recipe.pairs.margin,
            "surest": recipe.pairs.surest,
            "split": recipe.prompts.in_words().split,
            "policy": checkpoint_fingerprint(Path(recipe.policy)),
            "reward": checkpoint_fingerprint(Path(recipe.reward)),
            "objective": recipe.train.get("objective", {}),
            "grpo": None
            if matrix.grpo is None
            else {
                "learning_rate": matrix.grpo.learning_rate,
                "prompts_of_a_step": matrix.grpo.prompts_per_step,
            },
            "threads": torch.get_num_threads(),
        },
    }


def write(result: dict[str, Any], out: Path) -> None:
    """The result, its table, and its figures beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    out.with_suffix(".md").write_text(figures.table(result))
    if any(row["method"] == "mpo" for row in result["rows"]) and result["reward_accuracy"]:
        out.with_name(f"{out.stem}_gain.svg").write_text(figures.gain_figure(result))
    for reward, found in result["over_training"].items():
        label = f"Right answers, reward and length while MPO trains on the {reward}, mean over seeds"
        name = f"{out.stem}_training{'' if reward == MAIN else '_' + reward}.svg"
        if found["mean"]:
            out.with_name(name).write_text(figures.training_figure(found["mean"], label))


def block(result: dict[str, Any], folder: str) -> str:
    """What a page says of it."""
    settings, where = result["settings"], result["machine"]
    pictures = [f"![Gain by reward accuracy]({folder}/closed_loop_gain.svg)"] if result["reward_accuracy"] else []
    pictures += [f"![While MPO trains]({folder}/closed_loop_training.svg)"] if result["over_training"] else []
    kept = "" if settings["surest"] is None else f"the surest {settings['surest']:.0%} of the pairs, "
    said = (
        f"{len(settings['seeds'])} seeds of {settings['prompts']:,} prompts of the {settings['split']} world with "
        f"{settings['answers']} answers each, {kept}"
        f"{settings['steps']} steps of {settings['batch']} pairs at learning rate {settings['learning_rate']:g}; "
        f"{settings['held_out']:,} held-out prompts. {where['processor']}, {where['cores']} cores, {where['date']}."
    )
    return "\n".join([MARKS[0], "", figures.table(result).rstrip(), "", said, "", *pictures, "", MARKS[1]])


def run(chosen: argparse.Namespace) -> int:
    """Make what is missing, and write what it came to."""
    matrix = matrix_of(chosen)
    cells = rows_of(matrix.cells(), chosen.only)
    trl = trl_version(chosen.trl)
    if chosen.plan:
        print("\n".join(cell.name for cell in cells))
        print(f"{len(cells)} cells, about {time_left(matrix.folder, cells, rates(matrix)) / 3600:.1f} hours")
        return 0
    claim(matrix)
    if chosen.trl is None:
        print(trl, file=sys.stderr)
    make_all(matrix.folder, cells, rates(matrix), lambda line: print(line, file=sys.stderr, flush=True))
    gold = matrix.recipe.held_out.gold()
    assert gold is not None
    result = about(matrix, chosen, trl) | result_of(matrix, gold)
    print(figures.table(result))
    out = chosen.out or (None if chosen.quick else RESULTS / "closed_loop.json")
    if out is not None:
        write(result, out)
        print(f"written to {out}")
    if chosen.out is None and out is not None:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(replaced(page, block(result, "../benchmarks/results"), MARKS, PAGE.name), encoding="utf-8")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the result."""
    chosen = parse(arguments)
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        return run(chosen)
    except VLRewardError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on in {chosen.folder}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
