"""Score a published model on benchmarks and compare with what its paper says.

    python examples/reproduce_skywork.py recipes/reproduce-skywork.yaml

The recipe says which model, at which commits, what is expected and how far off a figure may be. Needs a GPU with 24 GB
or more and the hub, or local copies (--model, --data vl-rewardbench=PATH). Interrupted, the same command goes on. It
ends with 1 when a figure is further from the paper's than its tolerance.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlreward.errors import ConfigError, require
from vlreward.evaluate.benchmarks import benchmark_of
from vlreward.train.config import build


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A benchmark, and what is expected there."""

    name: str
    """As ``vlreward eval`` calls it."""
    expected: dict[str, Any]
    """Figures in percent, by the names of groups, and ``overall`` or ``macro``."""
    tolerance: dict[str, Any]
    """Points, by the same names."""
    revision: str | None = None
    """Commit of the data on the hub."""

    def __post_init__(self) -> None:
        benchmark_of(self.name)
        if self.expected.keys() != self.tolerance.keys():
            raise ConfigError(f"expected has {', '.join(self.expected)}, tolerance has {', '.join(self.tolerance)}")


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A model on some benchmarks."""

    model: str
    """Folder or hub id."""
    benchmarks: tuple[Expected, ...]
    output: str
    """Folder for scores and figures."""
    revision: str | None = None
    """Commit of a hub id."""
    system: str | None = None
    """What the benchmarks' published figures call it."""
    dtype: str = "auto"


def read_reproduction(path: Path) -> Reproduction:
    """Read the recipe.

    Raises:
        ConfigError: it is no such recipe; the message names the key.
    """
    yaml = require("yaml", extra="train", purpose="reading a recipe")
    return build(Reproduction, yaml.safe_load(path.read_text(encoding="utf-8")), str(path))


def evaluate(run: Reproduction, expected: Expected, data: str | None) -> dict[str, Any]:
    """The figures of one benchmark, as ``vlreward eval --json`` prints them."""
    scores = Path(run.output) / f"{expected.name}.jsonl"
    command = [sys.executable, "-m", "vlreward.cli", "eval", expected.name, "--model", run.model, "--json"]
    command += ["--dtype", run.dtype, "--output", str(scores)]
    command += ["--revision", run.revision] if run.revision else []
    if data:
        command += ["--data", data]
    elif expected.revision:
        command += ["--data-revision", expected.revision]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    scores.with_suffix(".json").write_text(done.stdout)
    about = json.loads(scores.with_name(scores.name + ".meta.json").read_text())["about"]
    commits = {f"{what}_commit": about[f"{what}_commit"] or "a local copy" for what in ("model", "data")}
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures | commits


def compared(expected: Expected, found: Mapping[str, Any]) -> Iterator[tuple[str, float, float | None, float]]:
    """Name, the figure that is expected, ours and the tolerance; percent."""
    ours = {name: share["accuracy"] for name, share in found["groups"].items()}
    ours |= {"overall": found["accuracy"], "macro": found["macro"]}
    for name, figure in expected.expected.items():
        share = ours.get(name)
        yield name, figure, None if share is None else 100 * share, expected.tolerance[name]


def reproduce(run: Reproduction, data: Mapping[str, str]) -> bool:
    """Score what is not scored yet, print all figures, and say whether every one is within its tolerance."""
    Path(run.output).mkdir(parents=True, exist_ok=True)
    within = True
    for expected in run.benchmarks:
        found = evaluate(run, expected, data.get(expected.name))
        print(f"{expected.name}: {found['n']:,} items of {found['data_commit']}, model {found['model_commit']}")
        for warning in found["warnings"]:
            print(f"  warning: {warning}")
        for figure, wanted, ours, tolerance in compared(expected, found):
            fits = ours is not None and abs(ours - wanted) <= tolerance
            within = within and fits
            said = "–" if ours is None else f"{ours:.1f}"
            print(f"  {figure:14} paper {wanted:5.1f}   ours {said:>5}   ± {tolerance}{'' if fits else '  differs'}")
    return within


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="such as recipes/reproduce-skywork.yaml")
    parser.add_argument("--model", help="another folder or hub id than the recipe's")
    parser.add_argument("--data", action="append", default=[], metavar="BENCHMARK=PATH", help="a local copy")
    parser.add_argument("--out", help="another folder for scores and figures than the recipe's")
    options = parser.parse_args()
    run = read_reproduction(options.recipe)
    if options.model:
        run = replace(run, model=options.model, revision=None)
    if options.out:
        run = replace(run, output=options.out)
    return 0 if reproduce(run, dict(pair.split("=", 1) for pair in options.data)) else 1


if __name__ == "__main__":
    sys.exit(main())
