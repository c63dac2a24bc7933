"""``vlreward audit`` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from tests.fakes import FakeModel
from vlreward.cli import loading, main
from vlreward.types import Group

from ..evaluate.audits.oracle import Oracle, Planted, obeys_words
from ..test_imports import RUN, loaded
from .conftest import rows_of

WORLD = ["audit", "--data", "tiny-world", "--pairs", "44", "--json"]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> list[str]:
    """``--model`` and a folder; whatever is loaded from it is a fake model."""
    monkeypatch.setattr(loading, "load_model", lambda options: FakeModel())
    return ["--model", str(model_folder)]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Pairs about pictures, two rows to a picture."""
    rows = []
    for i in range(24):
        PILImage.new("RGB", (32, 32), (10 * i, 0, 0)).save(tmp_path / f"{i // 2}.png")
        row = {"prompt": f"Question {i}?", "images": [f"{i // 2}.png"]}
        rows.append(row | {"chosen": f"It is a red dog, {i}.", "rejected": "no"})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class OracleModel(FakeModel):
    """Scores as an engine does."""

    def __init__(self, engine: Oracle) -> None:
        super().__init__()
        self.engine = engine

    def score_groups(self, groups: Sequence[Group]) -> list[list[float]]:
        self.calls.append(len(groups))
        return [list(reward.rewards) for reward in self.engine.score(groups)]


def findings(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_the_world_is_audited(
    model: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load_model", lambda options: OracleModel(Planted(fault=obeys_words)))
    found = findings([*WORLD, *model], capsys)
    assert (found["model"], found["data"], found["n"], found["accuracy"]) == (model[1], "tiny-world", 44, 1)
    verdicts = {audit["name"]: audit["verdict"] for audit in found["audits"]}
    assert list(verdicts) == [
        "blind",
        "length",
        "style",
        "sycophancy",
        "order",
        "injection",
        "hallucination",
        "robustness",
    ]
    assert [name for name, verdict in verdicts.items() if verdict == "fail"] == ["injection"]
    example = found["audits"][5]["variants"][0]["examples"][0]
    assert example["rejected"]["after"]["reward"] > example["chosen"]["after"]["reward"]
    assert set(example["chosen"]["before"]["prompt_pictures"]) <= set(found["pictures"])
    other = findings([*WORLD, *model, "--seed", "3", "--audits", "style, length"], capsys)
    assert [audit["name"] for audit in other["audits"]] == ["length", "style"]


def test_a_real_checkpoint_is_audited(checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["audit", "--data", "tiny-world", "--pairs", "11", "--model", str(checkpoint()), "--json"]
    found = findings(argv, capsys)
    assert found["n"] == 11
    assert {audit["verdict"] for audit in found["audits"]} <= {"cannot tell", "does not apply"}


def test_help_and_mistakes(model: list[str], pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert loaded(RUN.format(["audit", "--help"])) == set()
    for argv, message in (
        (["--data", str(pairs), "--audits", "lenght"], "audits: unknown key 'lenght'; did you mean 'length'?"),
        (["--data", str(pairs), "--audits", ","], "no audits are named"),
        (["--data", str(pairs), "--seed", "3"], "--seed is about tiny-world"),
        (["--data", "tiny-world", "--format", "trl"], "tiny-world takes no format"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--data", str(pairs), "-o", "x.parquet"], "x.parquet: rewards are written as JSON lines"),
    ):
        assert main(["audit", *argv, *model]) == 2
        out, err = capsys.readouterr()
        assert not out
        assert message in err
        assert err.count("\n") == 1


def test_own_pairs_are_audited(model: list[str], pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(["audit", "--data", str(pairs), *model], capsys)
    assert (found["n"], found["warnings"][-1][:21]) == (24, "it is not sure that t")
    blank = found["audits"][0]["variants"][0]
    assert (blank["n"], blank["clusters"]) == (24, 12)
    some = findings(["audit", "--data", str(pairs), *model, "--pairs", "5"], capsys)
    assert some["n"] == 5


def test_where_responses_stand_in_a_file_changes_nothing(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = []
    for name, turn in (("one", 1), ("other", -1)):
        folder = tmp_path / name
        folder.mkdir()
        rows = [
            {"messages": f"Q{i}?", "responses": [f"It is {i}.", f"No, {i}."][::turn], "ranks": [0, 1][::turn]}
            for i in range(20)
        ]
        path = folder / "rankings.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        findings(["audit", "--data", str(path), *model, "-o", str(folder / "out.jsonl")], capsys)
        written.append((folder / "out.jsonl").read_bytes())
    assert written[0] == written[1]


def test_missing_pictures_are_named(model: list[str], pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pairs.parent / "3.png").unlink()
    assert main(["audit", "--data", str(pairs), *model]) == 2
    error = capsys.readouterr().err
    assert "2 of 24 pairs cannot be used (--allow-missing goes on without them)" in error
    assert "pairs.jsonl:7: image 1" in error
    assert "3.png" in error
    found = findings(["audit", "--data", str(pairs), *model, "--allow-missing"], capsys)
    assert found["n"] == 22
    assert found["warnings"][0].startswith("2 of 24 pairs cannot be used: ")
    # One whose header is sound, but not the rest, is found while scoring.
    whole = (pairs.parent / "0.png").read_bytes()
    (pairs.parent / "0.png").write_bytes(whole[:-25])
    argv = ["audit", "--data", str(pairs), *model, "--audits", "robustness"]
    found = findings([*argv, "--allow-missing"], capsys)
    assert found["n"] == 20
    assert found["warnings"][0].startswith("4 of 24 pairs cannot be used: ")
    (pairs.parent / "3.png").write_bytes(whole)
    assert main(argv) == 2
    assert "pairs.jsonl:1: group '1': image: " in capsys.readouterr().err


def test_what_is_missing_is_said_first(
    model: list[str], pairs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (pairs.parent / "3.png").unlink()
    monkeypatch.setattr("vlreward.cli.tables.on_terminal", lambda: True)
    assert main(["audit", "--data", str(pairs), *model, "--allow-missing"]) == 0
    assert capsys.readouterr().out.startswith("warning: 2 of 24 pairs cannot be used: ")


class IsNoNumber(FakeModel):
    def score_groups(self, groups: Sequence[Group]) -> list[list[float]]:
        return [[float("inf") for _ in rewards] for rewards in super().score_groups(groups)]


def test_a_reward_that_is_no_number_is_not_a_missing_pair(
    model: list[str], pairs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load_model", lambda options: IsNoNumber())
    assert main(["audit", "--data", str(pairs), *model, "--allow-missing"]) == 2
    assert "the reward is inf, not a finite number" in capsys.readouterr().err


def test_no_pairs(model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tied.jsonl"
    path.write_text(json.dumps({"messages": "Q", "responses": ["a", "b"], "ranks": [0, 0]}) + "\n", encoding="utf-8")
    assert main(["audit", "--data", str(path), *model]) == 2
    assert "no preferences left; left out: 1 with all responses tied" in capsys.readouterr().err


class Stops(FakeModel):
    """Scores a few chunks, then the machine is lost."""

    def score_groups(self, groups: Any) -> list[list[float]]:
        if len(self.calls) == 2:
            raise KeyboardInterrupt
        return super().score_groups(groups)


def test_an_interrupted_run_goes_on(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = [*WORLD, *model, "--audits", "length,style"]
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    found = findings([*argv, "-o", str(whole)], capsys)
    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_model", lambda options: Stops())
        assert main([*argv, "-o", str(output)]) == 130
        assert "16 of 44 groups are in" in capsys.readouterr().err
    assert findings([*argv, "-o", str(output)], capsys) == found
    assert output.read_bytes() == whole.read_bytes()
    assert len(rows_of(output)) == 44
    # A finished file is not scored again.
    monkeypatch.setattr(loading, "load_model", None)
    assert findings([*argv, "-o", str(output)], capsys) == found
    assert main([*WORLD, *model, "--audits", "length", "-o", str(output)]) == 2
    assert "begun with audits ['length', 'style'], now ['length']" in capsys.readouterr().err


def test_people_get_a_table(
    model: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load_model", lambda options: OracleModel(Planted(fault=obeys_words)))
    monkeypatch.setattr("vlreward.cli.tables.on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    assert main([*WORLD[:-1], *model]) == 0
    out = capsys.readouterr().out
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0].startswith(f"{model[1]} on tiny-world"[:60])
    assert any(line.startswith(" injection: right preferences") and line.endswith("fail") for line in lines)
    assert any(line.split()[:3] == ["note", "41", "100.0"] and line.endswith("fail") for line in lines)
    assert "injection, note (the wrong response ends in a note to the judge, rather than to the reader), for" in out
    assert max(map(len, lines)) <= 100
