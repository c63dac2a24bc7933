"""``vlreward eval`` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeModel
from vlreward.cli import loading, main

from ..test_imports import RUN, loaded
from .conftest import rows_of

WORLD = ["eval", "tiny-world", "--pairs", "44", "--json"]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> list[str]:
    """``--model`` and a folder; whatever is loaded from it is a fake model."""
    monkeypatch.setattr(loading, "load_model", lambda options: FakeModel())
    return ["--model", str(model_folder)]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Question {i // 2}", "chosen": f"yes {i}", "rejected": "no"} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def figures(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_the_world_is_evaluated(model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = figures([*WORLD, *model], capsys)
    assert (found["benchmark"], found["model"], found["n"]) == ("tiny-world", model[1], 44)
    assert found["counts_expected"] == {name: 4 for name in found["counts_expected"]}
    assert len(found["counts_expected"]) == 11
    assert 0.2 < found["accuracy"] < 0.8
    assert found["interval"][0] < found["accuracy"] < found["interval"][1]
    assert found["warnings"] == []
    again = figures([*WORLD, *model], capsys)
    assert again == found
    other = figures([*WORLD, *model, "--seed", "3"], capsys)
    assert other["baselines"] != found["baselines"]


def test_a_real_checkpoint_is_evaluated(checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(["eval", "tiny-world", "--pairs", "11", "--model", str(checkpoint()), "--json"], capsys)
    assert found["n"] == 11
    assert found["baselines"]["blank"] is not None


def test_figures_come_again_from_the_scores(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "scores.jsonl"
    found = figures([*WORLD, *model, "-o", str(output)], capsys)
    assert len(rows_of(output)) == 44
    monkeypatch.setattr(loading, "load_model", None)
    assert figures(["eval", "tiny-world", "--from-scores", str(output)], capsys) == found
    moved = tmp_path / "moved.jsonl"
    output.rename(moved)
    alone = figures(["eval", "tiny-world", "--from-scores", str(moved)], capsys)
    assert alone.pop("model") is None
    assert alone.pop("warnings") == ["no record beside the scores says of which model they are"]
    assert alone.pop("counts_expected") == {}
    assert alone.items() <= found.items()


def test_recomputing_needs_no_torch(
    model: list[str], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "scores.jsonl"
    figures(["eval", "pairs", str(pairs), *model, "-o", str(output)], capsys)
    assert "torch" not in loaded(RUN.format(["eval", "pairs", "--from-scores", str(output)]))
    assert loaded(RUN.format(["eval", "--help"])) == set()


class Stops(FakeModel):
    """Scores a few chunks, then the machine is lost."""

    def score_groups(self, groups: Any) -> list[list[float]]:
        if len(self.calls) == 2:
            raise KeyboardInterrupt
        return super().score_groups(groups)


def test_an_interrupted_run_goes_on(
    model: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    argv = ["eval", "tiny-world", "--pairs", "99", "--json", *model]
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    found = figures([*argv, "-o", str(whole)], capsys)
    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_model", lambda options: Stops())
        assert main([*argv, "-o", str(output)]) == 130
        assert "64 of 99 groups are in" in capsys.readouterr().err
        begun = figures(["eval", "tiny-world", "--from-scores", str(output)], capsys)
        assert begun["n"] == 64
        assert "the run is not finished: 64 items are there" in begun["warnings"]
        assert main(argv) == 130
        assert "interrupted: nothing is kept; with --output" in capsys.readouterr().err
    assert figures([*argv, "-o", str(output)], capsys) == found
    assert output.read_bytes() == whole.read_bytes()
    assert main([*argv, "-o", str(output), "--seed", "9"]) == 2
    assert "begun with selection.seed 1000, now 9" in capsys.readouterr().err


def test_own_pairs_are_evaluated(model: list[str], pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(["eval", "pairs", str(pairs), *model], capsys)
    assert (found["n"], found["macro"], found["groups"], found["counts_expected"]) == (60, None, {}, {})
    assert found["baselines"] == {"longer": 1.0, "first": None, "blank": None}
    alone = figures(["eval", "pairs", str(pairs), *model, "--cluster-by", "none"], capsys)
    assert alone["accuracy"] == found["accuracy"]
    assert alone["interval"] != found["interval"]


def test_figures_come_again_with_the_clusters_of_the_run(
    model: list[str], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "scores.jsonl"
    found = figures(["eval", "pairs", str(pairs), *model, "--cluster-by", "none", "-o", str(output)], capsys)
    again = ["eval", "pairs", "--from-scores", str(output)]
    assert figures(again, capsys) == found
    assert figures([*again, "--cluster-by", "prompt"], capsys)["interval"] != found["interval"]


def test_what_was_left_out_is_said_again(model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"messages": f"Q{i}", "responses": ["A", "B", "C"], "ranks": [0, i % 3, i % 3]} for i in range(9)]
    source, output = tmp_path / "r.jsonl", tmp_path / "scores.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = figures(["eval", "pairs", str(source), *model, "-o", str(output)], capsys)
    assert found["n"] == 6
    assert found["baselines"]["first"] == 1.0
    assert "left out: 3 with all responses tied" in found["warnings"]
    assert figures(["eval", "pairs", "--from-scores", str(output)], capsys) == found


def test_people_get_a_table(
    model: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlreward.cli.tables.on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*WORLD[:-1], *model]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert any(line.split()[:2] == ["overall", "44"] for line in lines)
    assert any(line.split()[:3] == ["mean", "of", "each"] for line in lines)
    shown = " ".join(lines)
    assert shown.startswith(f"{model[1]} on tiny-world ")
    for words in ("captions", "task: visual question", "the longer response (in characters)", "counts half", "Apache"):
        assert words in shown
    assert all(len(line) <= 80 for line in lines[1:])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["tiny-word"], "benchmark: unknown key 'tiny-word'; did you mean 'tiny-world'?"),
        (["tiny-world"], "no model: name one with --model"),
        (["tiny-world", "f.jsonl", "-m", "."], "tiny-world takes no data; it takes: pairs, seed, split"),
        (["pairs", "-m", "."], "pairs: no file of preferences; say vlreward eval pairs FILE"),
        (["pairs", "no.jsonl", "-m", "."], "no.jsonl: no such file"),
        (["pairs", "f.jsonl", "--seed", "0", "-m", "."], "pairs takes no seed; it takes: data"),
        (["tiny-world", "--cluster-by", "prompt", "-m", "."], "--cluster-by has no use here"),
        (["tiny-world", "-o", "x.parquet", "-m", "."], "x.parquet: scores are written as JSON lines"),
        (["tiny-world", "--from-scores", "no.jsonl"], "no.jsonl: no such file"),
        (["tiny-world", "--from-scores", "f", "-m", "m"], "--from-scores takes no --model: nothing is scored"),
        (["tiny-world", "--from-scores", "f", "--seed", "0"], "--from-scores takes no --seed: nothing is scored"),
        (["tiny-world", "--from-scores", "f", "--allow-missing"], "--from-scores takes no --allow-missing: nothing"),
        (["pairs", "p.jsonl", "--from-scores", "f"], "--from-scores takes no FILE: nothing is scored"),
        (["tiny-world", "-m", "nowhere/at/all"], "nowhere/at/all: no such folder"),
    ],
)
def test_mistakes_are_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", *argv]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_scores_of_something_else_are_refused(
    model: list[str], write_rows: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "scores.jsonl"
    figures([*WORLD, *model, "-o", str(output)], capsys)
    assert main(["eval", "pairs", "--from-scores", str(output)]) == 2
    assert "scores of tiny-world, not of pairs" in capsys.readouterr().err
    groups, rewards = write_rows(3), tmp_path / "rewards.jsonl"
    assert main(["score", str(groups), *model, "-o", str(rewards)]) == 0
    assert main(["eval", "pairs", "--from-scores", str(rewards)]) == 2
    assert "rewards.jsonl: rows of vlreward score, not scores of vlreward eval" in capsys.readouterr().err
