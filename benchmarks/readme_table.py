"""Write the README's figures from ``benchmarks/results``; ``--check`` only says whether they are those.

They stand between two markers, so that none is typed by hand: the tables of ``score.json``, ``train.json``,
``mpo.json`` and ``serve.json``, and the peak memory of ``memory_7b.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from harness import preference_table, serving_table

PROJECT = Path(__file__).resolve().parents[1]
README = PROJECT / "README.md"
RESULTS = PROJECT / "benchmarks" / "results"
BEGIN, END = "<!-- speed: written by benchmarks/readme_table.py -->", "<!-- end of speed -->"
NAMES = {
    "ours-whole-last-layer": "with a whole last layer",
    "published": "published procedure",
    "plain": "same without LM head",
    "ms-swift": "ms-swift",
    "sentence-transformers": "sentence-transformers",
}
TRAINERS = {"ms-swift": "ms-swift", "llamafactory": "LLaMA-Factory"}


def block() -> str:
    """The README's block for the results, as far as they are there."""
    lines = ["No figures yet: `make bench` makes them."]
    if (speed := _read("score.json")) is not None:
        lines = ["", *_table(speed["workloads"]), "", _how(speed)]
    if (memory := _read("memory_7b.json")) is not None:
        lines += ["", _memory(memory)]
    if (training := _read("train.json")) is not None:
        lines += ["", "Training on pairs, with the vision tower frozen:", ""]
        lines += [*_training(training["epochs"]), "", _how_trained(training)]
    if (preference := _read("mpo.json")) is not None:
        lines += ["", "Preference training (MPO) with pictures, against TRL's `DPOTrainer` with the same losses:", ""]
        lines += preference_table.markdown(preference)
    if (serving := _read("serve.json")) is not None:
        lines += ["", "Serving (`vlreward serve`):", "", *serving_table.markdown(serving)]
    return "\n".join([BEGIN, *lines, END])


def _training(epochs: list[dict[str, Any]]) -> list[str]:
    others = [name for name in TRAINERS if any(name in row["ratio"] for row in epochs)]
    heads = ["epoch", "vlreward, a pair"]
    for name in others:
        heads += [f"{TRAINERS[name]} takes", "arithmetic alone"]
    heads += ["peak memory: vlreward", *(TRAINERS[name] for name in others)]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in epochs:
        cells = [str(row["epoch"]), f"{1 / row['pairs_per_second']['ours']:.1f} s"]
        for name in others:
            cells += [_times(row["ratio"].get(name)), _times(row["ideal_ratio"].get(name))]
        cells += [f"{row['peak_bytes'][name] / 1e9:.1f} GB" for name in ("ours", *others)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _how_trained(result: dict[str, Any]) -> str:
    machine, settings = result["machine"], result["settings"]
    pair = settings["first_pair"]
    return (
        f"Medians of {result['rounds']} alternating steps of {settings['pairs_of_a_step']} pairs, {settings['dtype']}, "
        f"{settings['threads']} threads; one picture and a prompt of {pair['prefix']:,} tokens together, answers of "
        f"{min(pair['answers'])} tokens and more; a random model as above. The losses of the first steps differed by "
        f"{result['largest_loss_difference']:.0e} at most. In the second epoch vlreward has the vision tower's output "
        f"from its cache (`make bench-train`, {machine['processor']}, {machine['cores']} cores, {machine['date']})."
    )


def _memory(result: dict[str, Any]) -> str:
    return (
        f"Loading a full-size random 7B in bfloat16 and scoring one picture took at its peak "
        f"{result['peak_in_checkpoints']:.2f} × the checkpoint's {result['checkpoint_bytes'] / 1e9:.1f} GB "
        f"(`benchmarks/memory_7b.py`, {result['machine']['date']})."
    )


def _table(workloads: list[dict[str, Any]]) -> list[str]:
    others = [name for name in NAMES if any(name in row["ratio"] for row in workloads)]
    heads = ["answers to a picture", "vlreward", *(f"{NAMES[name]} takes" for name in others), "arithmetic alone"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in workloads:
        name = row["name"].removeprefix("N=")
        label = name if name.isdecimal() else f"{name} ({row['answers']} each)"
        ratios = [_times(row["ratio"].get(other)) for other in others]
        seconds = f"{row['median_seconds']['ours']:.2f} s"
        lines.append(f"| {' | '.join([label, seconds, *ratios, _times(row['ideal_ratio'].get('published'))])} |")
    return lines


def _times(ratio: float | None) -> str:
    return "—" if ratio is None else f"{ratio:.2f}×"


def _how(result: dict[str, Any]) -> str:
    machine, settings = result["machine"], result["settings"]
    first = result["workloads"][0]
    versions = ", ".join(
        f"{name} {version}" for name, version in sorted(result["versions"].get("ours", {}).items()) if name != "python"
    )
    text = (
        f"Medians of {result['rounds']} alternating rounds, {settings['dtype']}, {settings['threads']} threads; "
        f"prompts of {first['prefix_tokens']:,} tokens with their picture, answers of "
        f"{min(first['answer_tokens'])} tokens and more; a random model whose parts take the shares of the work that "
        f"they take in the 7B. Scores agreed before anything was timed. {machine['processor']}, {machine['cores']} "
        f"cores, {machine['date']}"
    )
    return f"{text}; {versions}." if versions else f"{text}."


def replaced(page: str, block: str, marks: tuple[str, str] = (BEGIN, END), name: str = README.name) -> str:
    """A page with this block, marks included, in the place of its own.

    Raises:
        SystemExit: the marks are not there, once each.
    """
    begin, end = marks
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SystemExit(f"{name}: needs the two markers once each: {begin} and {end}")
    before, rest = page.split(begin)
    return before + block + rest.split(end)[1]


def _read(name: str) -> dict[str, Any] | None:
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the README differs")
    check = parser.parse_args().check
    before = README.read_text(encoding="utf-8")
    after = replaced(before, block())
    if check:
        if before != after:
            print("README.md does not show benchmarks/results: run benchmarks/readme_table.py")
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
