"""The recipe of the reproduction; and it runs to its end with a small model and says that its figures are others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.evaluate.benchmark_data import vl_rows, write_vl_parquet
from vlreward.errors import ConfigError
from vlreward.evaluate.benchmarks import benchmark_of
from vlreward.evaluate.benchmarks.rewardbench import SECTIONS


@pytest.fixture
def recipe(root: Path) -> Path:
    return root / "recipes" / "reproduce-skywork.yaml"


@pytest.fixture
def example(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root / "examples"))
    import reproduce_skywork

    return reproduce_skywork


def write_rewardbench(path: Path, subsets: list[str]) -> Path:
    rows = [
        {"prompt": f"Q{i}", "chosen": f"yes {i}", "rejected": f"no, {i}", "subset": subset, "id": i}
        for i, subset in enumerate(subsets)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_recipe_expects_what_is_published(recipe: Path, example: ModuleType) -> None:
    run = example.read_reproduction(recipe)
    assert [expected.name for expected in run.benchmarks] == ["vl-rewardbench", "rewardbench"]
    for expected in run.benchmarks:
        (paper,) = (entry.figures for entry in benchmark_of(expected.name).published if entry.system == run.system)
        assert expected.expected == {name: pytest.approx(100 * share) for name, share in paper.items()}
        assert all(0 < points < 2 for points in expected.tolerance.values())
        perfect = {"groups": {}, "accuracy": 1.0, "macro": None}
        compared = {name: (ours, points) for name, _, ours, points in example.compared(expected, perfect)}
        assert compared["macro"] == (None, expected.tolerance["macro"])
    assert (run.benchmarks[0].expected["overall"], run.benchmarks[1].expected["macro"]) == (73.1, 90.1)


def test_the_recipe_pins_what_the_benchmarks_take(recipe: Path, example: ModuleType) -> None:
    run = example.read_reproduction(recipe)
    for expected in run.benchmarks:
        assert expected.revision == benchmark_of(expected.name).select().data_revision
        assert re.fullmatch("[0-9a-f]{40}", expected.revision)
    assert re.fullmatch("[0-9a-f]{40}", run.revision)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modle": "x"}, "reproduce.yaml: unknown key 'modle'; did you mean 'model'?"),
        ({"benchmarks": [{"name": "vl-rewardbench", "expected": {"macro": 1}}]}, "benchmarks[0]: no 'tolerance'"),
        (
            {"benchmarks": [{"name": "vl-rewardbench", "expected": {"macro": 1}, "tolerance": {}}]},
            "expected has macro, tolerance has ",
        ),
        (
            {"benchmarks": [{"name": "rewardbenck", "expected": {}, "tolerance": {}}]},
            "unknown key 'rewardbenck'; did you mean 'rewardbench'?",
        ),
    ],
)
def test_what_is_no_such_recipe_is_named(
    tmp_path: Path, example: ModuleType, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "reproduce.yaml"
    path.write_text(yaml.safe_dump({"model": "m", "output": "o", "benchmarks": []} | change))
    with pytest.raises(ConfigError) as error:
        example.read_reproduction(path)
    assert message in str(error.value)


@pytest.mark.slow
def test_it_compares_with_the_paper(root: Path, recipe: Path, tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    subsets = [subset for section in SECTIONS.values() for subset in section]
    small = tmp_path / "small.yaml"
    small.write_text(recipe.read_text().replace("dtype: bfloat16", "dtype: float32"))
    command = [sys.executable, str(root / "examples" / "reproduce_skywork.py"), str(small)]
    command += ["--model", str(checkpoint()), "--out", str(tmp_path / "out")]
    command += ["--data", f"vl-rewardbench={write_vl_parquet(tmp_path / 'vl', vl_rows(8))}"]
    command += ["--data", f"rewardbench={write_rewardbench(tmp_path / 'filtered.jsonl', subsets)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert "vl-rewardbench: 8 items of a local copy, model a local copy" in done.stdout
    assert ["overall", "paper", "73.1", "ours"] in [line[:4] for line in lines]
    assert ["macro", "paper", "90.1", "ours"] in [line[:4] for line in lines]
    assert "warning: general: 2 items where 183 are expected" in done.stdout
    saved = json.loads((tmp_path / "out" / "rewardbench.json").read_text())
    assert saved["n"] == len(subsets)
