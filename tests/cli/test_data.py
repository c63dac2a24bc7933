"""``vlreward data``: what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_parser import run
from vlreward.cli import tables

WriteRows = Callable[..., Path]

PAIR = {"prompt": "What is it?", "chosen": "A cat, of course.", "rejected": "A dog."}


@pytest.fixture(autouse=True)
def in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_check_in_a_pipe(write_rows: WriteRows, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows([PAIR, PAIR | {"chosen": "A dog."}], "pairs.jsonl")
    write_rows([{"query": "what is it?"}], "bench.jsonl")
    code, out, err = run(["data", "check", "pairs.jsonl", "--against", "bench.jsonl"], capsys)
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert (found["rankings"], found["equal_answers"], found["overlaps"][0]["questions"]) == (2, 1, 2)
    assert found["length_bias"]["longer_better"] == 1.0


def test_check_on_a_terminal(
    write_rows: WriteRows, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    write_rows([PAIR, PAIR | {"image": "gone.png"}, PAIR, {"prompt": "q"}, PAIR | {"task": "chat"}], "pairs.jsonl")
    write_rows([{"query": "what is it?", "image": "gone.png"}], "bench.jsonl")
    command = ["data", "check", "pairs.jsonl", "--against", "bench.jsonl", "--most", "1"]
    code, out, _ = run(command, capsys)
    assert code == 2
    for words in (
        "trl",
        "5: 4 rankings (4 of 2 responses), 2 with errors",
        "2 exact duplicates",
        "the longer answer is better in 100.0% of 4 comparisons (95 % interval 51.0% to 100.0%); 0 of equal length",
        "1 rankings with pictures",
        "bench.jsonl (1 items): 4 rows ask its questions",
        "1 of its pictures cannot be opened",
        "pairs.jsonl:3: says what pairs.jsonl:1 says",
        "pairs.jsonl:2: image: gone.png: no such file",
        "… and 1 more",
        "chat 1",
    ):
        assert words in out
    assert run([*command, "--json"], capsys)[1].startswith("{")


def test_check_of_nothing_to_complain_of(
    write_rows: WriteRows, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "on_terminal", lambda: True)
    ranked = {"messages": "q", "responses": ["a", "b"], "ranks": [0, 0]}
    write_rows([ranked], "pairs.jsonl")
    code, out, _ = run(["data", "check", "pairs.jsonl"], capsys)
    assert code == 0
    assert "no two answers of different lengths are compared" in out
    assert "none" in out


def test_how_a_file_is_read(write_rows: WriteRows, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows([PAIR | {"score": 1, "other": 2, "image": "gone.png"}], "pairs.jsonl")
    assert run(["data", "check", "pairs.jsonl"], capsys)[0] == 2
    options = ["--ignore", "score", "--ignore", "other", "--no-pictures", "--format", "trl", "--media-dir", "pics"]
    code, out, _ = run(["data", "check", "pairs.jsonl", *options], capsys)
    assert (code, json.loads(out)["errors"]) == (0, 0)


def test_convert(write_rows: WriteRows, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows([PAIR, {"prompt": "q"}], "pairs.jsonl")
    command = ["data", "convert", "pairs.jsonl", "out.jsonl", "--to", "llamafactory"]
    code, _, err = run(command, capsys)
    assert (code, err) == (2, "error: pairs.jsonl:2: no 'chosen'; a comparison needs 'chosen' and 'rejected'\n")
    code, out, _ = run([*command, "--on-error", "skip"], capsys)
    assert code == 0
    assert json.loads(out)["written"] == 1
    monkeypatch.setattr(tables, "on_terminal", lambda: True)
    code, out, _ = run([*command, "--on-error", "skip", "--overwrite"], capsys)
    assert out.splitlines() == [
        "out.jsonl: 1 rows of llamafactory (were trl)",
        "skipped: 1 rows, the first of them:",
        "  pairs.jsonl:2: no 'chosen'; a comparison needs 'chosen' and 'rejected'",
        "described in dataset_info.json",
    ]


def test_pictures_are_extracted(write_rows: WriteRows, capsys: pytest.CaptureFixture[str]) -> None:
    uri = "data:image/png;base64,iVBORw0KGgo="
    write_rows([{"question": "q", "image": uri, "chosen": "a", "rejected": "b"}], "pairs.jsonl")
    command = ["data", "convert", "pairs.jsonl", "out.jsonl", "--to", "llamafactory"]
    code, _, err = run(command, capsys)
    assert code == 2
    assert "a picture in memory" in err
    assert run([*command, "--extract-pictures", "pics"], capsys)[0] == 0
    [picture] = Path("pics").iterdir()
    assert json.loads(Path("out.jsonl").read_text())["images"] == [f"pics/{picture.name}"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["data"], "say what: vlreward data check FILE, or vlreward data convert IN OUT --to FORMAT"),
        (["data", "chekc"], "chekc"),
        (["data", "check"], "the following arguments are required: FILE"),
        (["data", "check", "gone.jsonl"], "gone.jsonl: no such file"),
        (["data", "check", "a.jsonl", "--format", "tlr"], "unknown key 'tlr'; did you mean 'trl'?"),
        (["data", "convert", "a.jsonl", "b.jsonl"], "the following arguments are required: --to"),
        (["data", "convert", "pairs.jsonl", "b.jsonl", "--to", "llama-factory"], "did you mean 'llamafactory'?"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    argv: list[Any], expected: str, write_rows: WriteRows, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows([PAIR], "pairs.jsonl")
    code, out, err = run(argv, capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("action", ["check", "convert"])
def test_every_action_has_help(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(["data", action, "--help"], capsys)
    assert code == 0
    assert out.startswith(f"usage: vlreward data {action}")
    assert "%(" not in out
