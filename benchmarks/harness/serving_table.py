"""The result of ``benchmarks/serve.py`` as Markdown, for ``readme_table.py``; nothing but the result is looked at."""

from __future__ import annotations

from typing import Any

_TRAFFIC = {
    "grouped": "a picture and {answers} answers in one request",
    "staggered": "the {answers} as requests of their own, at random times within 5 s",
    "unrelated": "one answer, each with a picture of its own",
}


def markdown(result: dict[str, Any]) -> list[str]:
    """A table and how it was measured, line by line."""
    lines = [
        "| requests | vlreward, answers a second | half are back after | 99 % | plain server takes |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, label in _TRAFFIC.items():
        ours = result["medians"][name]["ours"]
        ratio = result["ratios"][f"{name}: times plain"]
        cells = [label.format(answers=result["settings"]["answers"]), f"{ours['answers_per_second']:.2f}"]
        cells += [f"{ours['p50_seconds']:.1f} s", f"{ours['p99_seconds']:.1f} s", f"{ratio:.2f}×"]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", _how(result)]


def _how(result: dict[str, Any]) -> str:
    machine, settings = result["machine"], result["settings"]
    rounds = len(result["rounds"]["grouped"]["ours"])
    engine = result["ratios"]["grouped: of the engine alone"]
    return (
        f"Medians of {rounds} alternating rounds with {settings['clients']} clients on the same machine, pictures of "
        f"{settings['side']} x {settings['side']}, a random model as above; the plain server makes one forward pass "
        f"for each answer. On whole groups the server answers {engine:.2f} × as many as the engine alone in the same "
        f"run. Scores differed by {result['largest_difference']:.0e} at most (`make bench-serve`, "
        f"{machine['processor']}, {machine['cores']} cores, {machine['date']})."
    )
