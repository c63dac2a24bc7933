"""The closed loop: what its rows say, and the whole matrix in its smallest form."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import closed_loop
from harness import closed_loop_figures as figures
from harness import environments
from harness.closed_loop import DONE, Cell, make_all, rows_of, time_left
from harness.closed_loop_result import Row, _best, _ordered, row_data, shown, two_way_interval
from vlreward import Group
from vlreward.policy.overoptimisation import Judged
from vlreward.policy.pairs import ScoredGroup


def row(name: str, reward: str | None, right_SI: Sequence[Sequence[float]], method: str = "mpo") -> Row:
    return Row(
        name=name,
        method=method,
        reward=reward,
        seeds=tuple(range(len(right_SI))),
        answers=tuple(
            tuple(Judged(reward=right, length=20.0, unfinished=0.0, right=right) for right in answers)
            for answers in right_SI
        ),
        seconds=(60.0,) * len(right_SI),
    )


def test_gains_are_of_the_same_prompts() -> None:
    base = row("base", None, [[0.0, 1.0] * 50] * 3, "base")
    better = row("mpo", "reward", [[1.0, 1.0] * 50, [0.0, 1.0] * 50, [1.0, 0.0] * 50])
    found = row_data(better, base)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["gain_by_seed"] == [0.5, 0.0, 0.0]
    assert found["gain"] == pytest.approx(1 / 6)
    low, high = found["gain_interval"]
    assert low < 1 / 6 < high
    assert row_data(base, base)["gain"] is None


def test_the_interval_knows_of_seeds_and_of_prompts() -> None:
    seeds_differ = np.repeat([[0.0], [0.5], [1.0]], 400, axis=1)
    low, high = two_way_interval(seeds_differ) or (0, 0)
    assert high - low > 0.5  # however many prompts there are
    chance = np.random.Generator(np.random.PCG64(0))
    prompts_differ = np.repeat(chance.integers(0, 2, (1, 100)).astype(float), 3, axis=0)
    low, high = two_way_interval(prompts_differ) or (0, 0)
    assert 0.15 < high - low < 0.25  # as of 100 prompts, not of 300 answers


def test_claims_are_checked_by_the_figures() -> None:
    def said(gain: float, low: float) -> dict[str, Any]:
        return {"gain": gain, "gain_interval": (low, gain + 0.02)}

    rows = {"mpo": said(0.08, 0.05), "mpo, random": said(0.0, -0.02), "mpo, weaker": said(0.04, 0.02)}
    assert all(shown(rows).values())
    assert len(shown(rows)) == 3
    rows |= {"mpo": said(0.04, -0.01), "mpo, random": said(0.03, 0.01), "mpo, oracle": said(0.03, 0.0)}
    assert not any(shown(rows).values())


def test_answers_that_are_chosen_and_ordered() -> None:
    group = Group("2 + 2?", ["5", "4", "4", "3"], id="a")
    item = ScoredGroup(
        group=group, rewards=(0.5, 2.0, 2.0, 1.0), right=(False, True, True, False), unfinished=frozenset({1})
    )
    best = _best(item)
    assert [response[0].content for response in best.group.responses] == ["4"]
    assert (best.rewards, best.right, best.unfinished) == ((2.0,), (True,), frozenset({0}))
    assert _ordered(item) == 1.0
    wrong = ScoredGroup(group=group, rewards=(0.5, 0.7, 0.7, 1.0), right=item.right)
    assert _ordered(wrong) == 0.5  # of the two pairs of different answers
    assert _ordered(ScoredGroup(group=group, rewards=(0.0,) * 4, right=(False,) * 4)) is None


def test_a_cell_is_made_once_and_behind_what_it_needs(tmp_path: Path) -> None:
    made: list[str] = []

    def cell(name: str, *needs: str) -> Cell:
        def make(place: Path) -> None:
            if name == "b" and made.count("b") == 0:
                made.append("b")
                raise KeyboardInterrupt
            made.append(name)

        return Cell(name=f"seed-0/{name}", kind=name, needs=tuple(f"seed-0/{need}" for need in needs), make=make)

    cells = [Cell(name="base", kind="base", needs=(), make=lambda _: made.append("base")), cell("a"), cell("b", "a")]
    cells.append(cell("c"))
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        make_all(tmp_path, rows_of(cells, ["b"]), {"b": 120.0}, lines.append)
    make_all(tmp_path, rows_of(cells, ["b"]), {"b": 120.0}, lines.append)
    assert made == ["base", "a", "b", "b"]
    assert lines[-1] == "[3/3] seed-0/b; about 2 min left"
    assert (tmp_path / "seed-0/b" / DONE).is_file()
    assert time_left(tmp_path, cells, {"c": 30.0}) == 30.0
    with pytest.raises(SystemExit, match="--only d: not in this matrix; it has a, b, base, c"):
        rows_of(cells, ["d"])


def test_the_figures_are_whole() -> None:
    rows = [row("mpo", "reward", [[1.0, 1.0, 0.0]] * 3), row("mpo, random", "random", [[0.0, 1.0, 0.0]] * 3)]
    base = row("base", None, [[0.0, 1.0, 0.0]] * 3, "base")
    result = {
        "rows": [row_data(each, base) for each in (base, *rows)],
        "reward_accuracy": {
            "reward": {"accuracy": 0.9, "interval": (0.85, 0.95), "prompts": 90},
            "random": {"accuracy": 0.5, "interval": None, "prompts": 90},
        },
        "compared": [{"what": "mpo against sft", "gain": 0.02, "interval": (-0.01, 0.05), "seeds": [0]}],
        "shown": {"a random reward gains nothing": True},
    }
    drawn = ElementTree.fromstring(figures.gain_figure(result))
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}circle")) == 2
    table = figures.table(result)
    assert "| mpo | 66.7 | +33.3 |" in table
    assert "| reward | 90.0 | 85.0 to 95.0 | 90 |" in table
    assert "- mpo against sft: +2.0 points (-1.0 to +5.0)" in table


@pytest.fixture
def run(checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    # Random policies are hardly ever right and rarely end.
    monkeypatch.setattr("vlreward.policy.gold.is_right", lambda _, response: len(response) % 2 == 0)
    monkeypatch.setattr("vlreward.policy.prompts.unfinished_responses", lambda row: frozenset())
    values = ["sampling.max_tokens=4", "evaluation.max_tokens=4", "sampling.answers=4", "pairs.margin=0"]
    values += ["train.batch=2", "trainer.use_cpu=true"]
    values += [f"{name}.world.size=56" for name in ("prompts", "held_out")]

    def run(*options: str) -> int:
        command = ["--policy", checkpoint(form="none"), "--reward", checkpoint(), "--weaker", checkpoint(seed=1)]
        command += ["--folder", tmp_path / "cells", "--quick", "--out", tmp_path / "result.json"]
        command += [word for value in values for word in ("--set", value)]
        return closed_loop.main([*map(str, command), *options])

    return run


def test_the_plan_makes_nothing(run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--plan", "--only", "mpo-weaker") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "base"
    assert said[1:5] == [f"seed-0/{name}" for name in ("sample", "score-weaker", "pairs-weaker", "mpo-weaker")]
    assert said[-1].startswith("13 cells, about ")
    assert not (tmp_path / "cells").exists()


@pytest.mark.slow
def test_the_smallest_matrix(run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--seeds", "0", "--only", "mpo-reward", "judge-reward") == 0
    first = json.loads((tmp_path / "result.json").read_text())
    assert [row["name"] for row in first["rows"]] == ["base", "best of 4", "mpo"]
    assert "5/7" in capsys.readouterr().err
    assert run("--seeds", "0") == 0
    result = json.loads((tmp_path / "result.json").read_text())
    names = ["base", "best of 4", "sft", "dpo", "mpo"]
    controls = [f"{way}, {reward}" for reward in ("random", "weaker", "oracle") for way in ("mpo", "best of 4")]
    assert [row["name"] for row in result["rows"]] == names + controls
    again = next(row for row in result["rows"] if row["name"] == "mpo")
    assert again == first["rows"][2]  # not made again
    assert result["reward_accuracy"]["oracle"]["accuracy"] == 1.0
    assert set(result["over_training"]) == {"reward", "random", "weaker", "oracle"}
    assert [point["step"] for point in result["over_training"]["reward"]["mean"]] == [0, 1, 2]
    assert result["versions"]["trl"].startswith("none: --trl names no interpreter")
    assert str(Path.home()) not in (tmp_path / "result.json").read_text()
    for name in ("result_gain.svg", "result_training.svg", "result_training_random.svg"):
        ElementTree.fromstring((tmp_path / name).read_text())
    assert "| mpo, oracle |" in (tmp_path / "result.md").read_text()
    said = closed_loop.block(result, "results")
    assert said.startswith(closed_loop.MARKS[0])
    assert said.endswith(closed_loop.MARKS[1])
    assert "| mpo, oracle |" in said
    assert "](results/closed_loop_gain.svg)" in said
    with pytest.raises(SystemExit, match="begun with another recipe; name another --folder, or remove it"):
        run("--set", "train.batch=3")


@pytest.mark.slow
def test_grpo_through_trl(run: Callable[..., int], tmp_path: Path) -> None:
    folder = Path(os.environ.get("VLREWARD_ENVS", environments.DEFAULT_FOLDER)) / environments.TRL.name
    if not environments.is_built(environments.TRL, folder):
        pytest.skip(f"no environment {folder}; benchmarks/peers/install.py trl builds it")
    python = environments.python_of(folder)
    assert run("--seeds", "0", "--only", "grpo-reward", "--trl", str(python), "--grpo-prompts", "4") == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert [row["name"] for row in result["rows"]] == ["base", "grpo"]
    assert result["versions"]["trl"] == environments.TRL.requirements[0].partition("==")[2]
