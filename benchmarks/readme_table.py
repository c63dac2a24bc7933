"""Write the README's speed table from ``benchmarks/results/score.json``; ``--check`` only says whether it is that.

The block stands between two markers, so that no figure in the README is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
README = PROJECT / "README.md"
RESULT = PROJECT / "benchmarks" / "results" / "score.json"
BEGIN, END = "<!-- speed: written by benchmarks/readme_table.py -->", "<!-- end of speed -->"
NAMES = {
    "published": "published procedure",
    "plain": "same without LM head",
    "ms-swift": "ms-swift",
    "sentence-transformers": "sentence-transformers",
}


def block(result: dict[str, Any] | None) -> str:
    """The README's block for a result of ``benchmarks/score.py``; for none, where the figures will come from."""
    if result is None:
        return f"{BEGIN}\nNo figures yet: `make bench` makes them.\n{END}"
    return "\n".join([BEGIN, "", *_table(result["workloads"]), "", _how(result), END])


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


def replaced(readme: str, result: dict[str, Any] | None) -> str:
    """The README with its block for this result.

    Raises:
        SystemExit: the markers are not there, once each.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise SystemExit(f"{README.name}: needs the two markers once each: {BEGIN} and {END}")
    before, rest = readme.split(BEGIN)
    return before + block(result) + rest.split(END)[1]


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the README differs")
    check = parser.parse_args().check
    result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else None
    before = README.read_text(encoding="utf-8")
    after = replaced(before, result)
    if check:
        if before != after:
            print("README.md does not show benchmarks/results/score.json: run benchmarks/readme_table.py")
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
