"""What people see of an evaluation."""

from __future__ import annotations

import io

from rich.console import Console

from vlreward.cli.eval_table import summary_table
from vlreward.evaluate.benchmarks import benchmark_of
from vlreward.evaluate.scores import ItemScores
from vlreward.evaluate.summary import summarise

PAIRS = benchmark_of("pairs")


def shown(*rewards: tuple[float, ...]) -> str:
    scores = [
        ItemScores(
            id=str(i),
            labels={"task": "text" if i % 2 else "charts"},
            ranks=tuple(range(len(values))),
            lengths=(1.0,) * len(values),
            ordered=True,
            shared={},
            rewards=values,
            blank=None,
        )
        for i, values in enumerate(rewards)
    ]
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(summary_table(summarise(PAIRS, scores, model="m"), PAIRS))
    return " ".join(console.export_text().split())


def test_the_best_of_several_are_shown_where_there_are_several() -> None:
    text = shown((3.0, 2.0, 1.0), (1.0, 2.0, 0.5), (2.0, 1.0), (1.0, 2.0))
    assert "best of N rankings best first 95 % interval at random blanked τ" in text
    assert "all 2 50.0 % 0.0 – 100.0 33.3 % +0.67" in text
    assert "charts 1 100.0 % 33.3 % +1.00 text 1 0.0 % 33.3 % +0.33" in text
    assert "best of N" not in shown((2.0, 1.0), (1.0, 2.0))
