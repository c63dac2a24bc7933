"""``vlreward report`` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from tests.fakes import FakeModel
from vlreward.cli import loading, main
from vlreward.cli.audit_pairs import drawn
from vlreward.evaluate.benchmarks import benchmark_of
from vlreward.evaluate.comparison import compare_scores
from vlreward.evaluate.scores import read_scores
from vlreward.types import Group

from ..test_imports import RUN, loaded

AUDITS = ["--audits", "blind,injection"]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> list[str]:
    """``--model`` and a folder; whatever is loaded from it is a fake model."""
    monkeypatch.setattr(loading, "load_model", lambda options: FakeModel())
    return ["--model", str(model_folder), "--quiet"]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Pairs about pictures, two rows to a picture; that of the last two is not there."""
    rows = []
    for i in range(24):
        if i < 22:
            PILImage.new("RGB", (32, 32), (10 * i, 0, 0)).save(tmp_path / f"{i // 2}.png")
        row = {"prompt": f"Question {i}?", "images": [f"{i // 2}.png"]}
        rows.append(row | {"chosen": f"It is a red dog, {i}.", "rejected": "no"})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def said(argv: Sequence[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(list(argv)) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def plain(values: Any) -> Any:
    """As JSON has it."""
    return json.loads(json.dumps(values))


def test_the_world_is_reported_as_it_was_found(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, audited, output = tmp_path / "s.jsonl", tmp_path / "a.jsonl", tmp_path / "r.html"
    found = said(["eval", "tiny-world", "--pairs", "22", "--seed", "-5", "-o", str(scores), *model], capsys)
    audit = ["audit", "--data", "tiny-world", "--pairs", "11", "--seed", "0", *AUDITS, "-o", str(audited), *model]
    findings = said(audit, capsys)
    monkeypatch.setattr(loading, "load_model", None)
    answer = said(["report", str(scores), str(audited), "-o", str(output), "--worst", "3"], capsys)
    assert (answer["page"], answer["model"], answer["missing"]) == (str(output), model[1], [])
    report = json.loads(output.with_suffix(".json").read_text("utf-8"))
    (evaluation,), (audits,) = report["evaluations"], report["audits"]
    for name, value in found.items():
        if name != "groups":
            assert evaluation["summary"][name] == value
    assert {name: share["accuracy"] for name, share in evaluation["summary"]["groups"].items()} == {
        name: share["accuracy"] for name, share in found["groups"].items()
    }
    assert len(evaluation["worst"]) == 3
    assert evaluation["worst"][0]["better"]["prompt"]
    pictures = findings.pop("pictures")
    assert {name: audits[name] for name in findings} == findings
    assert pictures.items() <= report["pictures"].items()
    assert evaluation["settings"]["max_pixels"] == 200704
    assert [part["settings"]["seed"] for part in (evaluation, audits)] == [-5, 0]
    assert [part["settings"]["pairs"] for part in (evaluation, audits)] == [22, 11]
    assert report["checkpoint"] == json.loads(scores.with_name("s.jsonl.meta.json").read_text())["config"]["checkpoint"]
    assert output.read_text("utf-8").count("background-image") == len(report["pictures"])
    again = tmp_path / "again.html"
    said(["report", str(scores), str(audited), "-o", str(again), "--worst", "3"], capsys)
    assert again.read_bytes() == output.read_bytes()


def test_missing_pictures_are_the_first_line(
    model: list[str], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, audited, output = tmp_path / "s.jsonl", tmp_path / "a.jsonl", tmp_path / "r.html"
    said(["eval", "pairs", str(pairs), "--allow-missing", "-o", str(scores), *model], capsys)
    findings = said(["audit", "--data", str(pairs), "--allow-missing", *AUDITS, "-o", str(audited), *model], capsys)
    answer = said(["report", str(scores), str(audited), "-o", str(output)], capsys)
    first, second = answer["missing"]
    assert first.startswith("pairs: pairs.jsonl: 2 of 24 items cannot be used")
    assert second == f"audits on {pairs}: {findings['warnings'][0]}"
    body = output.read_text("utf-8").partition("<body>")[2]
    assert body.lstrip().startswith('<p class="missing" role="alert"><strong>Items are missing.</strong> pairs: pairs')
    values = json.loads(output.with_suffix(".json").read_text("utf-8"))
    findings.pop("pictures")
    assert {name: values["audits"][0][name] for name in findings} == findings
    pairs.unlink()
    said(["report", str(scores), "-o", str(output), "--overwrite"], capsys)
    assert "They cannot be shown" in output.read_text("utf-8")
    assert main(["report", str(audited), "-o", str(output), "--overwrite"]) == 2
    assert "pairs.jsonl: no such file" in capsys.readouterr().err


def test_pictures_of_pairs_that_were_not_drawn_are_not_missed(
    model: list[str], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = ("23", "24")  # whose picture is not there
    number = max(n for n in range(1, 24) if not drawn([str(i + 1) for i in range(24)], n).intersection(without))
    audited, output = tmp_path / "a.jsonl", tmp_path / "r.html"
    said(["audit", "--data", str(pairs), "--pairs", str(number), *AUDITS, "-o", str(audited), *model], capsys)
    answer = said(["report", str(audited), "-o", str(output)], capsys)
    assert answer["missing"] == []
    assert "Items are missing" not in output.read_text("utf-8")


def test_options_are_named_and_the_data_read_again_by_them(
    model: list[str], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in pairs.read_text("utf-8").splitlines()[:22]]
    own = tmp_path / "away" / "own.jsonl"
    own.parent.mkdir()
    own.write_text("".join(json.dumps(row | {"note": 1}) + "\n" for row in rows), encoding="utf-8")
    how = ["--ignore", "note", "--media-dir", str(tmp_path)]
    scores, audited, output = tmp_path / "s.jsonl", tmp_path / "a.jsonl", tmp_path / "r.html"
    argv = ["eval", "pairs", str(own), *how, "-o", str(scores), *model]
    found = said([*argv, "--cluster-by", "none"], capsys)
    audit = ["audit", "--data", str(own), "--pairs", "20", *how, *AUDITS, "-o", str(audited), *model]
    findings = said(audit, capsys)
    said(["report", str(scores), str(audited), "-o", str(output)], capsys)
    values = json.loads(output.with_suffix(".json").read_text("utf-8"))
    (evaluation,), (audits,) = values["evaluations"], values["audits"]
    assert evaluation["summary"]["interval"] == found["interval"]
    assert evaluation["worst"][0]["better"]["prompt_pictures"]
    findings.pop("pictures")
    assert {name: audits[name] for name in findings} == findings
    asked = {"ignore": "note", "media_dir": str(tmp_path)}
    assert asked | {"cluster_by": "none"} == {
        name: evaluation["settings"][name] for name in ("ignore", "media_dir", "cluster_by")
    }
    assert asked | {"pairs": 20} == {name: audits["settings"][name] for name in ("ignore", "media_dir", "pairs")}
    assert "format" not in evaluation["settings"]
    assert "<dt>cluster_by</dt><dd>none</dd>" in output.read_text("utf-8")


class Other(FakeModel):
    """Scores otherwise: the longer response is always better."""

    def score_groups(self, groups: Sequence[Group]) -> list[list[float]]:
        return [[float(len(str(response))) for response in group.responses] for group in groups]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Reports of two models on the same pairs; not to be changed."""
    folder = tmp_path_factory.mktemp("two")
    for name, fake in (("a", FakeModel()), ("b", Other())):
        model = folder / name
        model.mkdir()
        (model / "config.json").write_text(json.dumps({"name": name}))
        scores, audited, tail = f"{model}.jsonl", f"{model}-audit.jsonl", ["--model", str(model), "--quiet"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loading, "load_model", lambda options, fake=fake: fake)
            assert main(["eval", "tiny-world", "--pairs", "22", "-o", scores, *tail]) == 0
            audit = ["audit", "--data", "tiny-world", "--pairs", "11", "--audits", "blind", "-o", audited]
            assert main([*audit, *tail]) == 0
        assert main(["report", scores, audited, "-o", f"{model}.html"]) == 0
    return folder / "a.json", folder / "b.json"


def test_two_models_are_compared(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    found = said(["report", "compare", str(first), str(second)], capsys)
    world = benchmark_of("tiny-world")
    expected = compare_scores(
        read_scores(first.with_suffix(".jsonl")),
        read_scores(second.with_suffix(".jsonl")),
        shared=world.shared,
        grouping=world.grouping,
        judge=world.judge,
    )
    assert found["benchmarks"] == {"tiny-world": plain(asdict(expected))}
    assert found["benchmarks"]["tiny-world"]["overall"]["mcnemar"] is not None
    ours, theirs = (json.loads(path.read_text("utf-8"))["audits"][0]["audits"][0]["variants"][0] for path in two)
    beside = found["audits"][0]
    assert (beside["audit"], beside["variant"]) == ("blind", "blank")
    for side, variant in ((beside["first"], ours), (beside["second"], theirs)):
        assert side == {name: variant[name] for name in ("effect", "interval", "verdict")}
    assert found["warnings"] == []
    same = said(["report", "compare", str(first), str(first)], capsys)
    assert same["warnings"] == ["both reports are of the same checkpoint"]
    assert same["benchmarks"]["tiny-world"]["overall"]["difference"] == 0
    monkeypatch.setattr("vlreward.cli.tables.on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["report", "compare", str(first), str(second)]) == 0
    shown = capsys.readouterr().out
    for words in ("A: ", "tiny-world", "overall", "family: captions", "task: reasoning", "blind: blank", "McNemar"):
        assert words in shown


def test_reports_that_cannot_be_compared_are_refused(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = two
    values = json.loads(first.read_text("utf-8"))
    broken = {
        "empty.json": ({**values, "evaluations": [], "audits": []}, "no benchmark and no audit in common"),
        "form.json": ({**values, "report": 99}, "a report of form 99, not 1"),
        "keys.json": ({**values, "evaluations": [{"title": "t"}]}, "not as vlreward report wrote it"),
        "other.json": ({"a": 1}, "no report of vlreward; give the .json"),
        "text.json": (None, "no report of vlreward"),
    }
    for name, (content, message) in broken.items():
        path = tmp_path / name
        path.write_text("no json" if content is None else json.dumps(content))
        assert main(["report", "compare", str(path), str(second)]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1


def test_scores_of_two_models_are_no_report(
    two: tuple[Path, Path],
    model: list[str],
    write_rows: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    a, b = (str(path.with_suffix(".jsonl")) for path in two)
    rewards = str(tmp_path / "rewards.jsonl")
    assert main(["score", str(write_rows(3)), *model, "-o", rewards]) == 0
    capsys.readouterr()
    alone = tmp_path / "alone.jsonl"
    alone.write_bytes(Path(a).read_bytes())
    new = ["-o", str(tmp_path / "new.html")]
    for argv, message in (
        ([a, b, *new], f"{b}: of another model than {a}: checkpoint"),
        ([a, a, *new], "2 files are scores of tiny-world"),
        ([rewards, *new], "rewards.jsonl: rows of vlreward score; a report is made of"),
        ([str(alone), *new], "no alone.jsonl.meta.json beside it"),
        (["nowhere.jsonl", *new], "nowhere.jsonl: no such file"),
        ([a, "-o", str(two[0].with_suffix(".html"))], "a.html: is there already"),
        ([a, "-o", str(tmp_path / "page.pdf")], "page.pdf: a report is a page; name it .html"),
        ([a, "-o", str(tmp_path / "no" / "page.html")], "its folder does not exist"),
        (["compare", a], "1 reports: vlreward report compare takes two"),
        (["compare", a, b, "--worst", "3"], "has no use for --worst"),
        (["compare", a, b], "no report of vlreward"),
    ):
        assert main(["report", *argv]) == 2
        out, err = capsys.readouterr()
        assert not out
        assert message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "new.html").exists()


def test_no_model_is_needed(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = str(tmp_path / "s.jsonl")
    said(["eval", "tiny-world", "--pairs", "11", "-o", scores, *model], capsys)
    assert "torch" not in loaded(RUN.format(["report", scores, "-o", str(tmp_path / "r.html")]))
    assert (tmp_path / "r.json").is_file()
    assert loaded(RUN.format(["report", "--help"])) == set()
    monkeypatch.setattr("vlreward.cli.tables.on_terminal", lambda: True)
    assert main(["report", scores, "-o", str(tmp_path / "r.html"), "--overwrite"]) == 0
    assert f"Written to {tmp_path / 'r.html'}, and as data to" in capsys.readouterr().out
