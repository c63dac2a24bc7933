"""Speed and memory of training on pairs, against LLaMA-Factory and ms-swift in the same run.

Everybody trains the same weights on the same pairs in the same order: one picture of about 1,024 visual tokens, a
prompt of 64 tokens and answers of 160 to 200, the vision tower frozen, in float32, with the same optimizer, one pair to
a forward pass and no activation checkpointing, each in a process of its own. The losses of the first steps are compared
first: trainers that disagree are not timed. Then everybody takes turns, step by step; medians are reported, and beside
each ratio the one that the arithmetic alone would give. The time is from pairs on disk to changed weights. In the
second epoch ours has the vision tower's output from its cache.

    ours          this project: both answers of a pair in one trie pack
    ms-swift      ``swift rlhf --rlhf_type rm`` (its environment: benchmarks/peers/install.py ms-swift)
    llamafactory  ``stage: rm`` (benchmarks/peers/install.py llamafactory); it computes the LM head too, of which it is
                  given as many rows as keep the head's share of the work what it is in the 7B
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
from harness.contestant import TRAIN_LLAMA_FACTORY, TRAIN_MS_SWIFT, TRAIN_OURS, TRAINERS, choose
from harness.flops import GroupShape, Work, packed_work, padded_work, trained_work
from harness.pairs import Pair, made_up_pairs, write_sharegpt
from harness.race import Course, Race, run
from harness.random_model import tensor_shapes, write_model
from harness.sizes import BENCH, QUICK, RELEASED_7B, ModelSize
from harness.training import Task, order_of, write_llama_factory, write_recipe, write_swift
from harness.workload import shape_of

PROJECT = Path(__file__).resolve().parents[1]
RESULT = PROJECT / "benchmarks" / "results" / "train.json"
EPOCHS = 2
# Most that two trainers may differ in the loss of one step. Measured 1e-5 in the first steps.
TOLERANCE = 2e-3
PACK_TOKENS = 2048
"""More than one pair of this workload, less than two."""
PIXELS = (3136, 12845056)
COMPARED_STEPS = 2


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [contestant.name for contestant in TRAINERS]
    parser.add_argument("--quick", action="store_true", help="a tiny model and two rounds: does it run at all")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"trainers: {', '.join(names)}")
    parser.add_argument("--rounds", type=int, help="rounds per epoch, of one step each (default 5; 2 with --quick)")
    parser.add_argument("--batch", type=int, default=2, help="pairs of an optimizer step (default 2)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of every trainer")
    parser.add_argument("--env-dir", type=Path, default=environments.DEFAULT_FOLDER, help="where environments live")
    parser.add_argument("--folder", type=Path, help="where the random model is made and kept (default: thrown away)")
    parser.add_argument(
        "--out", type=Path, help=f"result file (default {RESULT.relative_to(PROJECT)}, none for --quick)"
    )
    return parser.parse_args()


def check_memory(size: ModelSize, trainers: int) -> None:
    """See that all trainers fit beside one another: they are all held while one of them trains.

    Raises:
        SystemExit: they do not.
    """
    numbers = sum(math.prod(shape) for name, shape in tensor_shapes(size) if name != "lm_head.weight")
    # Weights, gradients and AdamW's two states in float32; libraries and a share of one trainer's activations.
    needed, found = trainers * (16 * numbers + 2 * 10**9), machine.available_bytes()
    if found is not None and found < needed:
        raise SystemExit(
            f"{trainers} trainers need about {needed / 1e9:.0f} GB, and {found / 1e9:.0f} GB are free; "
            f"end what else runs, or name fewer with --only"
        )


def lay_out(arguments: argparse.Namespace, model: Path, pairs: list[Pair], folder: Path) -> dict[str, Path]:
    """Write the run in everybody's words; trainer's name → its file."""
    task = Task(
        model=model,
        batch=arguments.batch,
        micro_batch=1,
        pack_tokens=PACK_TOKENS,
        steps=EPOCHS * len(pairs) // arguments.batch,
        epochs=EPOCHS,
        learning_rate=1e-5,
        schedule="constant",
        warmup_steps=0,
        min_pixels=PIXELS[0],
        max_pixels=PIXELS[1],
    )
    recipe = write_recipe(task, write_sharegpt(pairs, folder / "data"), folder)
    in_order = [pairs[number] for number in order_of(recipe)]
    return {
        TRAIN_OURS.name: recipe,
        TRAIN_LLAMA_FACTORY.name: write_llama_factory(task, in_order, folder / TRAIN_LLAMA_FACTORY.name),
        TRAIN_MS_SWIFT.name: write_swift(task, in_order, folder / TRAIN_MS_SWIFT.name),
    }


def shapes_of(pairs: list[Pair], model: Path) -> list[GroupShape]:
    """What the pairs are to a model."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    groups = []
    for pair in pairs:
        content = [{"type": "image", "image": pair.picture}, {"type": "text", "text": pair.question}]
        groups.append({"messages": [{"role": "user", "content": content}], "responses": [pair.chosen, pair.rejected]})
    return [shape_of(group, tokenizer) for group in groups]


def work_of(name: str, size: ModelSize, shape: GroupShape, epoch: int) -> Work:
    """What a pair takes a trainer, by formula."""
    if name == TRAIN_OURS.name:
        return trained_work(size, shape, packed_work(size, shape), cached=epoch > 0)
    return trained_work(size, shape, padded_work(size, shape, lm_head=name == TRAIN_LLAMA_FACTORY.name))


def ideals(size: ModelSize, shapes: list[GroupShape], names: list[str], epoch: int) -> dict[str, float]:
    """By formula: how many times less work ours is than each of the others."""
    totals = {name: sum(work_of(name, size, shape, epoch).total for shape in shapes) for name in names}
    return {name: total / totals[TRAIN_OURS.name] for name, total in totals.items() if name != TRAIN_OURS.name}


def epoch_data(race: Race, epoch: int, size: ModelSize, shapes: list[GroupShape], pairs: int) -> dict[str, Any]:
    """One epoch's result; ``pairs`` are those of a round."""
    lap = race.laps[epoch]
    others = [name for name in race.names if name != TRAIN_OURS.name]
    ratio = {name: lap.median(name) / lap.median(TRAIN_OURS.name) for name in others}
    ideal = ideals(size, shapes, race.names, epoch)
    return {
        "epoch": epoch + 1,
        "pairs_per_second": {name: round(pairs / lap.median(name), 5) for name in race.names},
        "seconds_per_round": {name: [round(value, 3) for value in lap.seconds[name]] for name in race.names},
        "cpu_seconds_per_round": {name: [round(value, 3) for value in lap.cpu_seconds[name]] for name in race.names},
        "ratio": {name: round(value, 4) for name, value in ratio.items()},
        "ratio_by_round": {name: [round(value, 4) for value in lap.ratios(name)] for name in others},
        "ideal_ratio": {name: round(ideal[name], 4) for name in others},
        "ideal_ratio_in_the_7b": {
            name: round(value, 4) for name, value in ideals(RELEASED_7B, shapes, race.names, epoch).items()
        },
        "share_of_ideal": {name: round(ratio[name] / ideal[name], 4) for name in others},
        "gflops_first_pair": {name: round(work_of(name, size, shapes[0], epoch).total / 1e9, 1) for name in race.names},
        "peak_bytes": lap.peak_bytes,
    }


def measure(arguments: argparse.Namespace, size: ModelSize, folder: Path) -> dict[str, Any]:
    """Everything: the model, the runs, the result."""
    contestants = choose(TRAINERS, arguments.only, arguments.env_dir)
    check_memory(size, len(contestants))
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    model = folder / "model"
    if not (model / "preprocessor_config.json").is_file():
        write_model(model, size, form="sequence-classification")
    pairs = made_up_pairs((COMPARED_STEPS + rounds) * arguments.batch, folder)
    with tempfile.TemporaryDirectory(dir=folder) as runs:
        course = Course(
            model=model,
            threads=arguments.threads,
            folder=folder,
            runs=lay_out(arguments, model, pairs, Path(runs)),
            pythons={contestant.name: python for contestant, python in contestants.items()},
            min_pixels=PIXELS[0],
            max_pixels=PIXELS[1],
            compared_steps=COMPARED_STEPS,
            round_steps=1,
            rounds=rounds,
            tolerance=TOLERANCE,
        )
        race = run(course, list(contestants), epochs=EPOCHS)
    shapes = shapes_of(pairs, model)
    one = report.one_conversation(prefix=shapes[0].prefix, answer=shapes[0].answers[0])
    return {
        "what": "benchmarks/train.py",
        "machine": machine.describe(),
        "versions": race.versions,
        "rounds": rounds,
        "settings": {
            "dtype": "float32",
            "threads": arguments.threads,
            "pairs_of_a_step": arguments.batch,
            "pairs_of_a_forward_pass": 1,
            "activation_checkpointing": False,
            "loss_tolerance": TOLERANCE,
            "model": size.config() | {"lm_head_rows_computed": size.lm_head_rows},
            "shares_of_a_forward_pass": report.shares(size, one),
            "shares_in_the_7b": report.shares(RELEASED_7B, one),
            "first_pair": asdict(shapes[0]),
        },
        "largest_loss_difference": race.difference,
        "losses": race.losses,
        "rest_bytes": race.rest_bytes,
        "epochs": [epoch_data(race, epoch, size, shapes, arguments.batch) for epoch in range(EPOCHS)],
    }


def table(epochs: list[dict[str, Any]]) -> str:
    """Speed, ratios and memory of every epoch and trainer."""
    head = f"{'epoch':<7}{'trainer':<14}{'pairs/s':>10}{report.COMPARED}"
    lines = [head, "-" * len(head)]
    for row in epochs:
        for name, speed in row["pairs_per_second"].items():
            lines.append(f"{row['epoch']:<7}{name:<14}{speed:>10.4f}{report.compared(row, name)}")
    return "\n".join([*lines, report.LEGEND])


def main() -> int:
    """Measure, print the table, write the result."""
    arguments = parse()
    size = QUICK if arguments.quick else BENCH
    return measured(
        arguments, RESULT, lambda folder: measure(arguments, size, folder), lambda result: table(result["epochs"])
    )


if __name__ == "__main__":
    sys.exit(main())
