"""Speed and memory of scoring, against the published procedure and other tools in the same run: ``make bench``.

Everybody scores the same groups with the same weights, dtype and threads, each in a process of its own. Scores are
compared first: contestants that disagree are not timed. Then everybody takes turns, round after round, with new
pictures in every round so that nobody answers from a cache; medians are reported, and beside each ratio the one that
the arithmetic alone would give. The time is from messages to numbers: reading, resizing and tokenizing are in it.

    ours                   this project: the trie pack, the last layer at scored positions only
    ours-whole-last-layer  the trie pack alone, so that what the last layer saves can be told apart
    published              the published scoring procedure: the whole model with its LM head, a right-padded batch
    plain                  the same without the LM head
    ms-swift               its engine, when its environment is there (benchmarks/peers/install.py ms-swift)
    sentence-transformers  its CrossEncoder, likewise
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from harness import environments, machine, report
from harness.command import measured
from harness.contestant import CONTESTANTS, choose
from harness.duel import Setup, Timing, measure_memory, run
from harness.flops import GroupShape
from harness.random_model import write_model
from harness.sizes import BENCH, QUICK, ModelSize
from harness.workload import Workload, shape_of, standard_workloads

PROJECT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("VLREWARD_SHARED", PROJECT.parent / "shared"))
RESULT = PROJECT / "benchmarks" / "results" / "score.json"
# Most that two contestants may differ on one conversation, whose scores spread over one. Measured 5e-6 in float32.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.15}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [contestant.name for contestant in CONTESTANTS]
    parser.add_argument("--quick", action="store_true", help="a tiny model and two rounds: does it run at all")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"contestants: {', '.join(names)}")
    parser.add_argument("--answers", type=int, nargs="+", metavar="N", help="answers per group (default 1 2 8 32)")
    parser.add_argument("--rounds", type=int, help="rounds per workload (default 5; 2 with --quick)")
    parser.add_argument("--dtype", choices=sorted(TOLERANCE), default="float32")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of every contestant")
    parser.add_argument(
        "--peer-answers",
        type=int,
        default=8,
        help="all but ours and published sit out above this N, where memory is not measured either",
    )
    parser.add_argument("--no-memory", action="store_true", help="leave the memory runs out")
    parser.add_argument("--no-puzzles", action="store_true", help="leave the real groups out")
    parser.add_argument("--env-dir", type=Path, default=environments.DEFAULT_FOLDER, help="where environments live")
    parser.add_argument("--folder", type=Path, help="where the random model is made and kept (default: thrown away)")
    parser.add_argument(
        "--out", type=Path, help=f"result file (default {RESULT.relative_to(PROJECT)}, none for --quick)"
    )
    return parser.parse_args()


def real_tokenizer() -> Path | None:
    """A folder with the released models' tokenizer, which makes real text as long as it really is."""
    folder = SHARED / "golden" / "ms-swift" / "checkpoint"
    return folder if (folder / "tokenizer.json").is_file() else None


def count_shapes(timings: list[Timing], model: Path, folder: Path, rounds: int) -> list[list[list[GroupShape]]]:
    """The shapes of every group of every round of every workload."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    return [
        [[shape_of(group, tokenizer) for group in timing.workload.groups(i, folder)] for i in range(rounds)]
        for timing in timings
    ]


def measure(arguments: argparse.Namespace, size: ModelSize, folder: Path) -> dict[str, Any]:
    """Everything: the model, the runs, the result."""
    contestants = choose(CONTESTANTS, arguments.only, arguments.env_dir)
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    answers = arguments.answers or ([1, 2] if arguments.quick else [1, 2, 8, 32])
    puzzles = None if arguments.no_puzzles else SHARED / "data" / "puzzlevqa"
    workloads: list[Workload] = standard_workloads(answers, puzzles)
    tokenizer = real_tokenizer()
    model = folder / "model"
    if not (model / "preprocessor_config.json").is_file():
        write_model(model, size, form="sequence-classification", tokenizer=tokenizer)
    setup = Setup(
        model=model,
        dtype=arguments.dtype,
        threads=arguments.threads,
        folder=folder,
        pythons={contestant.name: python for contestant, python in contestants.items()},
        tolerance=TOLERANCE[arguments.dtype],
    )
    shape = report.one_conversation(prefix=1118, answer=182)
    print(report.shares_text(size, shape), flush=True)
    timings, versions = run(setup, list(contestants), workloads, rounds=rounds, peer_answers=arguments.peer_answers)
    if not arguments.no_memory:
        small = [timing for timing in timings if timing.workload.answers <= arguments.peer_answers]
        measure_memory(setup, list(contestants), small[:1] if arguments.quick else small)
    shapes = count_shapes(timings, model, folder, rounds)
    return {
        "what": "benchmarks/score.py",
        "machine": machine.describe(),
        "versions": versions,
        "rounds": rounds,
        "tokenizer": "released" if tokenizer else "made here",
        "settings": report.settings_data(setup, size, shape),
        "workloads": [report.timing_data(timing, size, s) for timing, s in zip(timings, shapes, strict=True)],
    }


def main() -> int:
    """Measure, print the table, write the result."""
    arguments = parse()
    size = QUICK if arguments.quick else BENCH
    return measured(
        arguments,
        RESULT,
        lambda folder: measure(arguments, size, folder),
        lambda result: report.table(result["workloads"]),
    )


if __name__ == "__main__":
    sys.exit(main())
