"""Speed and memory of Mixed Preference Optimization with pictures, against TRL's own ``DPOTrainer`` in the same run.

Both train the same weights on the same pairs in the same order and batches, with the losses ``sigmoid``, ``bco_pair``
and ``sft``: one picture of about 1,024 visual tokens, a prompt of 64 tokens and answers of 160 to 200, the vision tower
frozen, in float32, with the same optimizer and no activation checkpointing, each in a process of its own. The losses of
the first steps are compared first: trainers that disagree are not timed. Then they take turns, step by step; medians
are reported, and beside each ratio the one that the arithmetic alone would give. The time is from pairs on disk to
changed weights, with the reference: ours is computed for all pairs before the first step, and each step is charged its
part; TRL's is part of every step. What a later pass over the same pairs takes is said apart: ours needs no reference
then, and TRL's is computed again.

    ours  ``vlreward.policy``, variant ``trl``: both answers of a pair in one trie pack, the LM head on answers only
    trl   ``DPOTrainer`` (its environment: benchmarks/peers/install.py trl); with pictures it refuses to compute the
          reference before, so it holds a second model. Its LM head is made to run on answers only, as on a GPU

The model is that of ``train.py`` but for the vocabulary, which is as large as the LM head: here it is trained.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import environments, machine, report
from harness.command import measured
from harness.contestant import MPO_OURS, MPO_TRAINERS, MPO_TRL, choose
from harness.flops import GroupShape, Work, packed_work, padded_work, preference_work
from harness.pairs import Pair, made_up_pairs
from harness.preference import BETA, WEIGHTS, order_of, write_policy_recipe, write_trl_job
from harness.race import Course, Lap, Race, run
from harness.random_model import tensor_shapes, write_model
from harness.sizes import BENCH_POLICY, QUICK_POLICY, RELEASED_7B, ModelSize
from harness.training import Task
from train import shapes_of

PROJECT = Path(__file__).resolve().parents[1]
RESULT = PROJECT / "benchmarks" / "results" / "mpo.json"
# Most that the losses of one step may differ, relatively.
TOLERANCE = 1e-4
PAIR_TOKENS = 2048
"""More than one pair of this workload, less than two."""
PIXELS = (3136, 12845056)
COMPARED_STEPS = 2
LEARNING_RATE = 1e-5
TRL_CHOICES = {
    "precompute_ref_log_probs": "left out: refused with pictures",
    "padding_free": "left out: switched off in this version",
    "reference": "a second model in memory, run in every step: its own default",
    "lm_head": "on answer tokens only, as on a GPU; by itself it runs on all tokens on a CPU",
    "attention": "sdpa",
    "images": "its own collator, with the processor's default backend",
    "logging": "each step, as ours; nothing reported or saved",
}
"""What TRL was told, and why."""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [contestant.name for contestant in MPO_TRAINERS]
    parser.add_argument("--quick", action="store_true", help="a tiny model and two rounds: does it run at all")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"trainers: {', '.join(names)}")
    parser.add_argument("--rounds", type=int, help="rounds of one step each (default 5; 2 with --quick)")
    parser.add_argument("--batch", type=int, default=2, help="pairs of a step and a forward pass (default 2)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of every trainer")
    parser.add_argument("--env-dir", type=Path, default=environments.DEFAULT_FOLDER, help="where environments live")
    parser.add_argument("--python", type=Path, help="an interpreter that has TRL, in place of one of an environment")
    parser.add_argument("--folder", type=Path, help="where the random model is made and kept (default: thrown away)")
    parser.add_argument(
        "--out", type=Path, help=f"result file (default {RESULT.relative_to(PROJECT)}, none for --quick)"
    )
    return parser.parse_args()


def interpreters(arguments: argparse.Namespace) -> dict[Any, Path]:
    """The trainers that can run, and theirs."""
    if arguments.python is None or MPO_TRL.name not in (arguments.only or [MPO_TRL.name]):
        return choose(MPO_TRAINERS, arguments.only, arguments.env_dir)
    return {MPO_OURS: Path(sys.executable), MPO_TRL: arguments.python}


def check_memory(size: ModelSize, names: list[str], batch: int) -> None:
    """See that the trainers fit beside one another: they are both held while one of them trains.

    Raises:
        SystemExit: they do not.
    """
    numbers = sum(math.prod(shape) for _, shape in tensor_shapes(size))
    # Weights, gradients and AdamW's two states in float32, and TRL's reference; libraries, and one's activations.
    needed = sum((20 if name == MPO_TRL.name else 16) * numbers + 10**9 for name in names)
    needed += batch * 16 * size.layers * 2 * PAIR_TOKENS * (size.hidden + size.intermediate)
    found = machine.available_bytes()
    if found is not None and found < needed:
        raise SystemExit(
            f"the trainers need about {needed / 1e9:.0f} GB, and {found / 1e9:.0f} GB are free; end what else runs"
        )


def lay_out(batch: int, model: Path, pairs: list[Pair], folder: Path) -> dict[str, Path]:
    """Write the run in both trainers' words; trainer's name → its file."""
    task = Task(
        model=model,
        batch=batch,
        micro_batch=batch,
        pack_tokens=batch * PAIR_TOKENS,
        steps=len(pairs) // batch,
        epochs=1,
        learning_rate=LEARNING_RATE,
        schedule="constant",
        warmup_steps=0,
        min_pixels=PIXELS[0],
        max_pixels=PIXELS[1],
    )
    recipe = write_policy_recipe(task, pairs, folder)
    in_order = [pairs[number] for number in order_of(recipe)]
    return {MPO_OURS.name: recipe, MPO_TRL.name: write_trl_job(task, in_order, folder / MPO_TRL.name)}


def work_of(name: str, size: ModelSize, shape: GroupShape, *, later: bool) -> Work:
    """What a pair takes a trainer, by formula, the reference included where there is one.

    Padding between the pairs of a batch is left out, in TRL's favour.
    """
    written = sum(shape.answers)
    if name == MPO_OURS.name:
        forward, passes, sights = packed_work(size, shape), 3 if later else 4, 0 if later else 1
    else:
        forward, passes, sights = padded_work(size, shape, lm_head=False), 4, 2
    return preference_work(size, shape, forward, head_tokens=written, passes=passes, sights=sights)


def ideal(size: ModelSize, shapes: list[GroupShape], *, later: bool) -> float:
    """By formula: how many times less work ours is than TRL's."""
    ours, theirs = (
        sum(work_of(name, size, shape, later=later).total for shape in shapes) for name in (MPO_OURS.name, MPO_TRL.name)
    )
    return theirs / ours


def pass_data(lap: Lap, size: ModelSize, shapes: list[GroupShape], pairs: int, *, later: bool) -> dict[str, Any]:
    """What one pass over the pairs takes; ``pairs`` are those of a round."""
    names, others = list(lap.seconds), [name for name in lap.seconds if name != MPO_OURS.name]
    ratio = {name: lap.median(name) / lap.median(MPO_OURS.name) for name in others}
    by_formula = ideal(size, shapes, later=later)
    return {
        "pass": "later" if later else "first",
        "pairs_per_second": {name: round(pairs / lap.median(name), 5) for name in names},
        "seconds_per_round": {name: [round(value, 3) for value in lap.seconds[name]] for name in names},
        "cpu_seconds_per_round": {name: [round(value, 3) for value in lap.cpu_seconds[name]] for name in names},
        "ratio": {name: round(value, 4) for name, value in ratio.items()},
        "ratio_by_round": {name: [round(value, 4) for value in lap.ratios(name)] for name in others},
        "ideal_ratio": {name: round(by_formula, 4) for name in others},
        "ideal_ratio_in_the_7b": {name: round(ideal(RELEASED_7B, shapes, later=later), 4) for name in others},
        "share_of_ideal": {name: round(ratio[name] / by_formula, 4) for name in others},
        "gflops_first_pair": {
            name: round(work_of(name, size, shapes[0], later=later).total / 1e9, 1) for name in names
        },
        "peak_bytes": lap.peak_bytes,
    }


def settings_data(arguments: argparse.Namespace, size: ModelSize, first: GroupShape) -> dict[str, Any]:
    """What the numbers depend on."""
    one = report.one_conversation(prefix=first.prefix, answer=first.answers[0])
    return {
        "dtype": "float32",
        "threads": arguments.threads,
        "pairs_of_a_step": arguments.batch,
        "pairs_of_a_forward_pass": arguments.batch,
        "activation_checkpointing": False,
        "losses": WEIGHTS,
        "beta": BETA,
        "learning_rate": LEARNING_RATE,
        "loss_tolerance": TOLERANCE,
        "trl": TRL_CHOICES,
        "model": size.config(),
        "shares_of_a_forward_pass": report.shares(size, one),
        "shares_in_the_7b": report.shares(RELEASED_7B, one),
        "first_pair": asdict(first),
    }


def measure(arguments: argparse.Namespace, size: ModelSize, folder: Path) -> dict[str, Any]:
    """Everything: the model, the runs, the result."""
    contestants = interpreters(arguments)
    check_memory(size, [contestant.name for contestant in contestants], arguments.batch)
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    model = folder / "policy"
    if not (model / "preprocessor_config.json").is_file():
        write_model(model, size, form="value-head")
    pairs = made_up_pairs((COMPARED_STEPS + rounds) * arguments.batch, folder)
    with tempfile.TemporaryDirectory(dir=folder) as runs:
        course = Course(
            model=model,
            threads=arguments.threads,
            folder=folder,
            runs=lay_out(arguments.batch, model, pairs, Path(runs)),
            pythons={contestant.name: python for contestant, python in contestants.items()},
            min_pixels=PIXELS[0],
            max_pixels=PIXELS[1],
            compared_steps=COMPARED_STEPS,
            round_steps=1,
            rounds=rounds,
            tolerance=TOLERANCE,
        )
        race = run(course, list(contestants), epochs=1)
    return result_of(race, arguments, size, shapes_of(pairs, model), rounds)


def result_of(
    race: Race, arguments: argparse.Namespace, size: ModelSize, shapes: list[GroupShape], rounds: int
) -> dict[str, Any]:
    """What was measured, as it is written."""
    (lap,) = race.laps
    first = race.with_reference(lap, 1 / (COMPARED_STEPS + rounds))
    return {
        "what": "benchmarks/mpo.py",
        "machine": machine.describe(),
        "versions": race.versions,
        "rounds": rounds,
        "settings": settings_data(arguments, size, shapes[0]),
        "largest_loss_difference": race.difference,
        "losses": race.losses,
        "rest_bytes": race.rest_bytes,
        "reference_seconds": {name: round(seconds, 3) for name, seconds in race.reference_seconds.items()},
        "passes": [
            pass_data(first, size, shapes, arguments.batch, later=False),
            pass_data(lap, size, shapes, arguments.batch, later=True),
        ],
    }


def table(passes: list[dict[str, Any]]) -> str:
    """Speed, ratios and memory of every pass and trainer."""
    head = f"{'pass':<7}{'trainer':<10}{'pairs/s':>10}{report.COMPARED}"
    lines = [head, "-" * len(head)]
    for row in passes:
        for name, speed in row["pairs_per_second"].items():
            lines.append(f"{row['pass']:<7}{name:<10}{speed:>10.4f}{report.compared(row, name)}")
    return "\n".join([*lines, report.LEGEND, "first: with the reference; later: ours has it, and the tower's output"])


def main() -> int:
    """Measure, print the table, write the result."""
    arguments = parse()
    size = QUICK_POLICY if arguments.quick else BENCH_POLICY
    return measured(
        arguments, RESULT, lambda folder: measure(arguments, size, folder), lambda result: table(result["passes"])
    )


if __name__ == "__main__":
    sys.exit(main())
