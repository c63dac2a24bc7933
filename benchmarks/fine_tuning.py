"""Fine-tune the bundled model on NLVR and PuzzleVQA by the commands of docs/fine-tuning.md, and write what comes out.

    python benchmarks/fine_tuning.py --data ../shared/data     # 70 minutes on two cores; goes on where it stopped
    python benchmarks/fine_tuning.py --page                    # only the page again, from results/fine_tuning.json

The figures stand between two markers in docs/fine-tuning.md, so that none is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import machine
from readme_table import replaced

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "fine-tuning.md"
RESULT = PROJECT / "benchmarks" / "results" / "fine_tuning.json"
MARKS = {
    name: (f"<!-- {name}: written by benchmarks/fine_tuning.py -->", f"<!-- end of {name} -->")
    for name in ("nlvr", "puzzlevqa")
}


def run(*words: str | Path) -> str:
    """A command from the project's root; its standard output."""
    command = [sys.executable, *map(str, words)]
    print("$", *command[1:], file=sys.stderr)
    return subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True).stdout


def trained(name: str, recipe_set: list[str]) -> None:
    """Train a recipe; whatever is done of it is not done again."""
    values = [word for value in recipe_set for word in ("--set", value)]
    run("-m", "vlreward.cli", "train", f"recipes/{name}.yaml", *values)


def evaluated(rows: Path, model: Path, cluster: str) -> dict[str, Any]:
    """What `vlreward eval pairs` says of a model."""
    command = ["eval", "pairs", rows, "--model", model, "--cluster-by", cluster, "--json"]
    found: dict[str, Any] = json.loads(run("-m", "vlreward.cli", *command, "-o", rows.parent.parent / "scores.jsonl"))
    return found | {"model": str(model)}


def nlvr(data: Path, runs: Path, recipe_set: list[str]) -> dict[str, Any]:
    """Sentences about drawings."""
    folder = runs / "nlvr"
    run("examples/nlvr.py", data / "nlvr", folder / "data", "--augment", "4", "--statements", "9000")
    trained("nlvr", recipe_set)
    found = evaluated(folder / "data" / "dev.jsonl", folder / "stage-2-sentences" / "model", "prompt")
    rows = [json.loads(line) for line in (data / "nlvr" / "dev.jsonl").read_text(encoding="utf-8").splitlines()]
    true = sum(row["label"] for row in rows) / len(rows)
    return found | {"majority": max(true, 1 - true)}


def puzzlevqa(data: Path, runs: Path, recipe_set: list[str]) -> dict[str, Any]:
    """Puzzles with options."""
    folder = runs / "puzzlevqa"
    run("examples/puzzlevqa.py", data / "puzzlevqa", folder / "data")
    trained("puzzlevqa", recipe_set)
    return evaluated(folder / "data" / "test.jsonl", folder / "stage-1-puzzles" / "model", "picture")


def percent(value: float | None) -> str:
    """A share for a table."""
    return "—" if value is None else f"{100 * value:.1f}"


def row(name: str, share: dict[str, Any]) -> str:
    """A line of a table: name, share right with its interval, how many."""
    interval = share.get("interval")
    between = f" ({percent(interval[0])} – {percent(interval[1])})" if interval else ""
    return f"| {name} | {percent(share['accuracy'])}{between} | {share['n']} |"


def nlvr_block(found: dict[str, Any]) -> str:
    """NLVR's figures."""
    lines = ["| | right, % (95 %, over sentences) | of |", "|---|---|---|", row("**fine-tuned**", found)]
    lines += [row(name, share) for name, share in found["groups"].items()]
    lines += [
        f"| pictures blanked | {percent(found['baselines']['blank'])} | {found['n']} |",
        f"| always the more common answer | {percent(found['majority'])} | {found['n']} |",
    ]
    return "\n".join(lines)


def puzzlevqa_block(found: dict[str, Any]) -> str:
    """PuzzleVQA's figures."""
    whole = found["best_of_n"]
    lines = [
        "| puzzle | best of its options, % | at random | pictures blanked | of |",
        "|---|---|---|---|---|",
        puzzle_row("**all**", whole),
    ]
    lines += [puzzle_row(name, share["best_of_n"]) for name, share in found["groups"].items()]
    return "\n".join(lines)


def puzzle_row(name: str, share: dict[str, Any]) -> str:
    """A line of PuzzleVQA's table; an interval only where there are many rows."""
    interval = share["interval"] if share["n"] >= 100 else None
    between = f" ({percent(interval[0])} – {percent(interval[1])})" if interval else ""
    cells = name, percent(share["accuracy"]) + between, percent(share["chance"]), percent(share["blank"]), share["n"]
    return f"| {' | '.join(map(str, cells))} |"


BLOCKS = {"nlvr": nlvr_block, "puzzlevqa": puzzlevqa_block}


def write_page(result: dict[str, Any]) -> None:
    """The figures, into the page."""
    page = PAGE.read_text(encoding="utf-8")
    for name, (begin, end) in MARKS.items():
        if name in result["sets"]:
            block = "\n".join([begin, "", BLOCKS[name](result["sets"][name]), "", end])
            page = replaced(page, block, (begin, end), PAGE.name)
    PAGE.write_text(page, encoding="utf-8")


def kept() -> dict[str, Any]:
    """The results so far."""
    found: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {"sets": {}}
    return found


def keep(name: str, found: dict[str, Any]) -> None:
    """One set's result beside the others, which another process may have written by now."""
    result = kept()
    result["sets"][name] = found
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder that holds nlvr/ and puzzlevqa/")
    parser.add_argument("--only", choices=list(BLOCKS), help="one of the two")
    parser.add_argument("--page", action="store_true", help="train nothing: write the page from the results")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another value in the recipes")
    options = parser.parse_args()
    if not options.page:
        if options.data is None:
            parser.error("--data: name the folder that holds nlvr/ and puzzlevqa/")
        for name, measured in (("nlvr", nlvr), ("puzzlevqa", puzzlevqa)):
            if options.only in (None, name):
                found = measured(options.data.resolve(), Path("runs"), options.set)
                keep(name, found | {"machine": machine.describe()})
    write_page(kept())


if __name__ == "__main__":
    main()
