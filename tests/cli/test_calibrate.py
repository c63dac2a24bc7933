"""``vlreward calibrate`` as a user runs it: on scores of an evaluation, on preferences, and then ``compare``."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlreward import Group, RewardModel
from vlreward.cli import loading, main
from vlreward.cli.calibrate_table import diagram_bar
from vlreward.cli.fingerprint import checkpoint_fingerprint
from vlreward.cli.run_record import RunRecord
from vlreward.evaluate.calibration import ReliabilityBin
from vlreward.model.calibration import CALIBRATION, Calibration, Temperature, bradley_terry

from ..test_imports import RUN, loaded


@pytest.fixture
def model(checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A model folder of one's own."""
    return Path(shutil.copytree(checkpoint(), tmp_path / "model"))


def write_scores(path: Path, margins: list[float], **changes: Any) -> Path:
    rows = [
        {
            "id": str(i),
            "labels": {},
            "ranks": [0, 1],
            "lengths": [1, 1],
            "ordered": False,
            "shared": {},
            "rewards": [margin - 2.0, -2.0],
            "blank": None,
        }
        | changes
        for i, margin in enumerate(margins)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_record(scores: Path, model: Path, *, complete: bool = True, **config: Any) -> None:
    values = {"verb": "eval", "benchmark": "pairs", "checkpoint": checkpoint_fingerprint(model), **config}
    about = {"model": "its name", "input": "pairs.jsonl"}
    record = RunRecord(config=values, about=about, groups=9, complete=complete, resolved={"max_pixels": 1000})
    record.save(scores.with_name(scores.name + ".meta.json"))


def too_sure(number: int = 300) -> list[float]:
    """Margins of a model that is right as often as σ(margin / 4) says."""
    chance = np.random.default_rng(0)
    sizes = np.abs(chance.normal(0, 6, number))
    right = chance.random(number) < [bradley_terry(size / 4) for size in sizes]
    return [float(margin) for margin in np.where(right, sizes, -sizes)]


@pytest.fixture
def scores(model: Path, tmp_path: Path) -> Path:
    path = write_scores(tmp_path / "scores.jsonl", too_sure())
    write_record(path, model)
    return path


def said(argv: list[Any], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main([str(word) for word in argv]) == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def refused(argv: list[Any], capsys: pytest.CaptureFixture[str]) -> str:
    assert main([str(word) for word in argv]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    return err


def test_scores_become_a_map_that_compare_uses(
    model: Path, scores: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_model", None)  # nothing is scored
        found = said(["calibrate", "-m", model, "--scores", scores, "--json"], capsys)
    assert found["output"] == str(model / CALIBRATION)
    assert found["map"]["kind"] == "temperature"
    assert 2.5 < found["map"]["temperature"] < 6.5
    assert found["warnings"] == []
    expected = {"scores": str(scores), "benchmark": "pairs", "data": "pairs.jsonl", "settings": {"max_pixels": 1000}}
    counts = {"items": 300, "clusters": 300, "fitted": 150, "tested": 150, "seed": 0}
    assert found["fitted_on"] == expected | counts
    assert found["after"]["brier"] < found["before"]["brier"]
    assert found["after"]["brier_interval"][1] < 0
    assert sum(item["n"] for item in found["before"]["bins"]) == 150
    assert found["scale"]["n"] == 600
    kept = Calibration.read(model / CALIBRATION)
    assert isinstance(kept.map, Temperature)
    assert kept.map.temperature == found["map"]["temperature"]
    row = said(["compare", "-m", model, "-p", "Q", "-r", "A.", "-r", "B."], capsys)
    assert row["probability"] == kept.map.probability(row["rewards"][0] - row["rewards"][1])
    assert row["calibrated"] is True
    one = RewardModel.from_pretrained(model)
    assert one.compare(Group("Q", ["A.", "B."])) == pytest.approx(row["probability"])
    assert one.calibration == kept


def test_again_by_scores_from_before_and_after(
    model: Path, scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """calibration.json does not change what the model scores."""
    argv = ["calibrate", "-m", model, "--json", "--scores"]
    said([*argv, scores], capsys)
    assert "calibration.json: is there already; write to another file, or replace it with --overwrite" in refused(
        [*argv, scores], capsys
    )
    later = write_scores(tmp_path / "later.jsonl", too_sure())
    write_record(later, model)
    for path in (scores, later, scores, later):
        assert said([*argv, path, "--overwrite", "--map", "isotonic"], capsys)["map"]["kind"] == "isotonic"
    other = tmp_path / "map.json"
    assert said([*argv, scores, "-o", other, "--seed", "1"], capsys)["output"] == str(other)
    assert Calibration.read(other).head == Calibration.read(model / CALIBRATION).head


def test_preferences_are_scored(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pairs that the model is mostly right about, in the order of the file or by an evaluation."""
    answers = [[f"It is {i}.", f"Perhaps {i * 7 % 13}?"] for i in range(60)]
    rewards = RewardModel.from_pretrained(model).score_groups(
        [Group(f"Question {i}", pair) for i, pair in enumerate(answers)]
    )
    data = tmp_path / "pairs.jsonl"
    with data.open("w", encoding="utf-8") as file:
        for i, (pair, (first, second)) in enumerate(zip(answers, rewards, strict=True)):
            chosen = int((first < second) != (i % 6 == 0))
            row = {"prompt": f"Question {i}", "chosen": pair[chosen], "rejected": pair[1 - chosen]}
            file.write(json.dumps(row) + "\n")
    output = tmp_path / "scores.jsonl"
    said(["eval", "pairs", data, "-m", model, "-o", output, "--json"], capsys)
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    found = said(["calibrate", "-m", model, "--scores", output, "-o", ours], capsys)
    again = said(["calibrate", "-m", model, "--data", data, "-o", theirs, "-q"], capsys)
    assert not (model / CALIBRATION).exists()
    assert found["map"]["temperature"] == pytest.approx(again["map"]["temperature"], rel=1e-3)
    assert found["after"]["brier"] == pytest.approx(again["after"]["brier"], rel=1e-3)
    assert again["fitted_on"]["items"] == 60
    assert again["fitted_on"]["settings"]["max_pixels"] == found["fitted_on"]["settings"]["max_pixels"]
    one, other = Calibration.read(ours), Calibration.read(theirs)
    assert (one.head, one.checkpoint) == (other.head, other.checkpoint)


def test_what_is_not_known_is_said(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_scores(tmp_path / "scores.jsonl", too_sure(100))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"id": "x", "error": "no such picture"}\n')
    found = said(["calibrate", "-m", model, "--scores", path], capsys)
    unknown = "no record beside the scores says of which model they are"
    assert found["warnings"] == ["left out: 1 items that say an error instead of scores", unknown]
    write_record(path, model, complete=False, checkpoint=checkpoint_fingerprint(model))
    found = said(["calibrate", "-m", model, "--scores", path, "--overwrite"], capsys)
    assert found["warnings"][1] == "the run is not finished: 9 items are there"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"checkpoint": "0" * 32}, "scores of another model: its name with fingerprint 000"),
        ({"verb": "score"}, "rows of vlreward score, not scores of vlreward eval"),
        ({"question": "Is it good?"}, "scored with --question 'Is it good?', here it is None; give the same options"),
    ],
)
def test_scores_of_something_else_are_refused(
    model: Path, scores: Path, config: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(scores, model, **config)
    assert f"scores.jsonl: {message}" in refused(["calibrate", "-m", model, "--scores", scores], capsys)
    assert not (model / CALIBRATION).exists()


def test_a_map_of_another_model_vouches_for_nothing(
    model: Path, scores: Path, checkpoint: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(["calibrate", "-m", model, "--scores", scores], capsys)
    trained = Path(shutil.copytree(checkpoint(seed=5), tmp_path / "trained"))
    shutil.copy(model / CALIBRATION, trained)
    assert "another model" in refused(["calibrate", "-m", trained, "--scores", scores, "--overwrite"], capsys)
    assert "fitted for another reward head" in refused(
        ["compare", "-m", trained, "-p", "Q", "-r", "A", "-r", "B"], capsys
    )


@pytest.mark.parametrize(
    ("margins", "changes", "message"),
    [
        ([1.0] * 30, {}, "scores.jsonl: 30 items in 30 clusters are too few for a map of kind temperature"),
        ([-1.0] * 60, {}, "scores.jsonl: in 30 comparisons the better response does not get the larger reward"),
        ([1.0, float("nan")], {}, "scores.jsonl:2: "),
        ([1.0], {"rewards": [1.0, None]}, "scores.jsonl:1: rewards[1] must be a finite number, got None"),
        ([1.0], {"ranks": [0, 0]}, "scores.jsonl:1: 'ranks' must be numbers that are not all equal"),
        ([], {}, "scores.jsonl"),
        ([1.0] * 60, {"id": "7"}, "scores.jsonl: item '7' has 60 scores; an item counts once"),
        ([1.0] * 60, {"rewards": [2.0, 2.0]}, "scores.jsonl: in 30 comparisons the better response does not get"),
    ],
)
def test_scores_that_cannot_be_used_are_named(
    model: Path,
    tmp_path: Path,
    margins: list[float],
    changes: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_scores(tmp_path / "scores.jsonl", margins, **changes)
    assert message in refused(["calibrate", "-m", model, "--scores", path], capsys)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-m", "."], "one of the arguments --scores --data is required"),
        (["-m", ".", "--scores", "a", "--data", "b"], "not allowed with argument --scores"),
        (["--scores", "a"], "no model: name one with --model"),
        (["-m", "nowhere/at/all", "--scores", "a"], "nowhere/at/all: no such folder"),
        (["-m", "{model}", "--scores", "no.jsonl"], "no.jsonl: no such file"),
        (["-m", "{model}", "--data", "no.jsonl"], "no.jsonl: no such file"),
        (["-m", "{model}", "--scores", "{scores}", "-o", "no/such/map.json"], "no/such/map.json: cannot be written"),
        (["-m", "{model}", "--scores", "a", "--map", "platt"], "--map: invalid choice: 'platt'"),
    ],
)
def test_mistakes_are_one_line(
    argv: list[str], message: str, model: Path, scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(model=model, scores=scores) for word in argv]
    with contextlib.suppress(SystemExit):
        assert main(["calibrate", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_people_get_a_diagram(
    kind: str, model: Path, scores: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlreward.cli.tables.on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["calibrate", "-m", str(model), "--scores", str(scores), "--map", kind]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert all(len(line) <= 80 for line in lines)
    shown = " ".join(" ".join(lines).split())
    assert f"{kind} " in shown
    for words in ("before: σ(margin)", "95 – 100", "tested on 150 other", "Brier score", "mean", "and spread"):
        assert words in shown
    assert any("█" in line and "┃" in line for line in lines)


def test_bars_start_at_a_half() -> None:
    def bar(confidence: float, right: float) -> str:
        return diagram_bar(ReliabilityBin(low=0.5, high=0.55, n=1, confidence=confidence, right=right, interval=None))

    assert bar(0.5, 0.2) == "┃" + "·" * 19
    assert bar(1.0, 1.0) == "█" * 19 + "┃"
    assert bar(0.9, 0.75) == "█" * 10 + "·" * 6 + "┃" + "·" * 3
    assert bar(0.6, 0.75) == "█" * 4 + "┃" + "█" * 5 + "·" * 10


def test_help_brings_nothing() -> None:
    assert loaded(RUN.format(["calibrate", "--help"])) == set()
