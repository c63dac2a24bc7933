"""A result as a table for people and as plain data for files."""

from __future__ import annotations

from typing import Any

from .contestant import OURS, PLAIN, PUBLISHED
from .duel import Setup, Timing
from .flops import (
    GroupShape,
    Work,
    ideal_ratio,
    last_layer_saving,
    packed_work,
    padded_work,
)
from .sizes import RELEASED_7B, ModelSize


def one_conversation(prefix: int, answer: int) -> GroupShape:
    """The main shape's single conversation, for the shares of the work."""
    return GroupShape(grids=((64, 64),), prefix=prefix, answers=(answer,))


def shares(size: ModelSize, shape: GroupShape) -> dict[str, float]:
    """The parts' shares of one conversation's work by the published procedure."""
    return {part: round(share, 4) for part, share in padded_work(size, shape, lm_head=True).shares().items()}


def shares_text(size: ModelSize, shape: GroupShape) -> str:
    """The shares of this model and of the released 7B in two lines."""
    lines = ["shares of one conversation's FLOPs by the published procedure, by formula:"]
    for name, model in (("this model", size), ("the 7B", RELEASED_7B)):
        parts = ", ".join(f"{part} {share:.1%}" for part, share in shares(model, shape).items())
        lines.append(f"  {name:<11}{parts}")
    return "\n".join(lines)


def ideals(size: ModelSize, shapes: list[GroupShape]) -> dict[str, float]:
    """By formula: how many times less work ours is than each way, and what computing the last layer less would give.

    The last is reported apart: a model of few layers gains more from it than a deep one.
    """
    work = [packed_work(size, shape) for shape in shapes]
    total = sum(part.total for part in work)
    saved = sum(last_layer_saving(size, shape) for shape in shapes)
    return {
        PUBLISHED.name: ideal_ratio(size, shapes),
        PLAIN.name: ideal_ratio(size, shapes, lm_head=False),
        "from_last_layer_at_scored_positions": total / (total - saved),
    }


def _gflops(work: Work) -> dict[str, float]:
    parts = {"vision": work.vision, "text": work.text, "lm_head": work.lm_head}
    return {part: round(flops / 1e9, 1) for part, flops in parts.items()}


def timing_data(timing: Timing, size: ModelSize, shapes: list[list[GroupShape]]) -> dict[str, Any]:
    """One workload's result; ``shapes`` are its groups' shapes, round by round."""
    flat = [shape for groups in shapes for shape in groups]
    ideal = ideals(size, flat)
    others = [name for name in timing.contestants if name != OURS.name]
    reached = {
        name: round(timing.ratio(name) / ideal[name], 4) for name in (PUBLISHED.name, PLAIN.name) if name in others
    }
    first = flat[0]
    return {
        "name": timing.workload.name,
        "groups_per_round": len(shapes[0]),
        "answers": timing.workload.answers,
        "prefix_tokens": first.prefix,
        "answer_tokens": list(first.answers),
        "median_seconds": {name: round(timing.median(name), 4) for name in timing.contestants},
        "seconds": {name: [round(value, 4) for value in timing.seconds[name]] for name in timing.contestants},
        "ratio": {name: round(timing.ratio(name), 4) for name in others},
        "ratio_by_round": {name: [round(value, 4) for value in timing.ratios(name)] for name in others},
        "ideal_ratio": {name: round(value, 4) for name, value in ideal.items()},
        "share_of_ideal": reached,
        "gflops_first_group": {
            OURS.name: _gflops(packed_work(size, first)),
            PUBLISHED.name: _gflops(padded_work(size, first, lm_head=True)),
            PLAIN.name: _gflops(padded_work(size, first, lm_head=False)),
        },
        "largest_score_difference": timing.difference,
        "score_spread": round(timing.spread, 4),
        "peak_bytes": timing.peak_bytes,
        "rest_bytes": timing.rest_bytes,
    }


def settings_data(setup: Setup, size: ModelSize, shape: GroupShape) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "dtype": setup.dtype,
        "threads": setup.threads,
        "score_tolerance": setup.tolerance,
        "model": size.config() | {"lm_head_rows_computed": size.lm_head_rows},
        "shares": shares(size, shape),
        "shares_in_the_7b": shares(RELEASED_7B, shape),
    }


COMPARED = f"{'ratio':>8}{'by round':>16}{'ideal':>8}{'of it':>7}{'peak MB':>9}"
"""The head of the columns that `compared` fills."""
LEGEND = "ratio: its median time over ours; ideal: the same by FLOPs, allowed attention pairs only"


def compared(row: dict[str, Any], name: str) -> str:
    """The columns that say how a contestant compares with ours: blank where there is nothing to compare."""
    ratio, ideal, reached, between = "", "", "", ""
    if name in row["ratio"]:
        by_round = row["ratio_by_round"][name]
        ratio, between = f"{row['ratio'][name]:.2f}x", f"{min(by_round):.2f}-{max(by_round):.2f}"
    if name in row["share_of_ideal"]:
        ideal, reached = f"{row['ideal_ratio'][name]:.2f}x", f"{row['share_of_ideal'][name]:.0%}"
    peak = f"{row['peak_bytes'][name] / 1e6:,.0f}" if name in row["peak_bytes"] else ""
    return f"{ratio:>8}{between:>16}{ideal:>8}{reached:>7}{peak:>9}"


def table(rows: list[dict[str, Any]]) -> str:
    """Medians, ratios and memory of every workload and contestant."""
    head = f"{'workload':<10}{'contestant':<23}{'seconds':>9}{COMPARED}"
    lines = [head, "-" * len(head)]
    for row in rows:
        for name, seconds in row["median_seconds"].items():
            lines.append(f"{row['name']:<10}{name:<23}{seconds:>9.3f}{compared(row, name)}")
    return "\n".join([*lines, LEGEND])
