"""The result of ``benchmarks/mpo.py`` as Markdown, for ``readme_table.py``; nothing but the result is looked at."""

from __future__ import annotations

from typing import Any

_PASSES = {"first": "first, with the reference", "later": "each later one"}


def markdown(result: dict[str, Any]) -> list[str]:
    """A table and how it was measured, line by line; TRL's columns only where it took part."""
    raced = any("trl" in row["ratio"] for row in result["passes"])
    heads = ["pass over the pairs", "vlreward, a pair"]
    heads += ["TRL takes", "arithmetic alone", "peak memory: vlreward", "TRL"] if raced else ["peak memory: vlreward"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in result["passes"]:
        cells = [_PASSES[row["pass"]], f"{1 / row['pairs_per_second']['ours']:.1f} s"]
        if raced:
            cells += [f"{row['ratio']['trl']:.2f}×", f"{row['ideal_ratio']['trl']:.2f}×"]
        cells += [f"{row['peak_bytes'][name] / 1e9:.1f} GB" for name in row["pairs_per_second"]]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", _how(result)]


def _how(result: dict[str, Any]) -> str:
    machine, settings = result["machine"], result["settings"]
    pair, peer = settings["first_pair"], ""
    if "trl" in result["versions"]:
        peer = (
            f"TRL {result['versions']['trl']['trl']} holds a second model for the reference and runs it in every step, "
            "since it cannot compute the reference before when there are pictures. "
        )
    return (
        f"Medians of {result['rounds']} alternating steps of {settings['pairs_of_a_step']} pairs, {settings['dtype']}, "
        f"{settings['threads']} threads; one picture and a prompt of {pair['prefix']:,} tokens together, answers of "
        f"{min(pair['answers'])} tokens and more; the vision tower frozen; a random model as above. {peer}The losses "
        f"differed by {result['largest_loss_difference']:.0e} at most (`make bench-mpo`, {machine['processor']}, "
        f"{machine['cores']} cores, {machine['date']})."
    )
