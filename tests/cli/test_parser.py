"""What the command line says before any model is loaded."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import vlreward
from vlreward.cli import main
from vlreward.cli.parser import build_parser

VERBS = [
    "score",
    "rank",
    "compare",
    "trace",
    "inspect",
    "convert",
    "data",
    "train",
    "sample",
    "best-of-n",
    "pairs",
    "mpo",
    "eval",
    "calibrate",
    "audit",
    "report",
    "serve",
    "demo",
]


def run(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        code = main(argv)
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_verbs_are_pinned(capsys: pytest.CaptureFixture[str]) -> None:
    _, verbs = build_parser()
    assert list(verbs) == VERBS
    code, out, err = run([], capsys)
    assert code == 0
    assert not err
    assert [line.split()[0] for line in out.splitlines() if re.match(r"    \w", line)] == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run([verb, "--help"], capsys)
    assert code == 0
    assert out.startswith(f"usage: vlreward {verb}")
    assert "%(" not in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"], capsys)[:2] == (0, f"vlreward {vlreward.__version__}\n")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["scor"], "unknown verb 'scor'; did you mean 'score'?"),
        (["xyzzy"], "unknown verb 'xyzzy'; see vlreward --help"),
        (["--hlep"], "unknown option '--hlep'; did you mean '--help'?"),
        (["score", "--respnse", "a"], "unknown option '--respnse'; did you mean '--response'?"),
        (["score", "--max-pixel=3"], "unknown option '--max-pixel'; did you mean '--max-pixels'?"),
        (["inspect", "m", "--jsn"], "unknown option '--jsn'; did you mean '--json'?"),
        (["score", "a", "b"], "unexpected 'b'; texts with spaces need quotes"),
        (["score", "--max-pixels", "many"], "--max-pixels: expected a positive integer, got 'many'"),
        (["score", "--max-pixels", "-3"], "--max-pixels: expected a positive integer, got '-3'"),
        (["score", "--fps", "nan"], "--fps: expected a positive number, got 'nan'"),
        (["score", "--on-error", "explode"], "--on-error: invalid choice: 'explode'"),
        (["convert", "m", "out"], "the following arguments are required: --to"),
        (["score", "-p", "Q", "-r", "A"], "no model: name one with --model FOLDER_OR_HUB_ID, or set VLREWARD_MODEL"),
        (["score", "-m", "m"], "no prompt: say it with --prompt (and --image, --video), or give a groups file"),
        (["score", "-m", "m", "-p", "Q"], "no responses: give an answer with --response"),
        (["rank", "-m", "m", "-p", "Q", "-r", "A"], "1 responses: give 2 answers with --response"),
        (["compare", "-m", "m", "-p", "Q", "-r", "A", "-r", "B", "-r", "C"], "3 responses: this verb takes 2"),
        (["score", "-m", "m", "f.jsonl", "-p", "Q"], "give either a groups FILE or --prompt"),
        (["score", "-m", "m", "-p", "Q", "-r", "A", "-o", "out.jsonl"], "--output needs a groups FILE"),
        (["score", "-m", "nowhere/at/all", "-p", "Q", "-r", "A"], "nowhere/at/all: no such folder"),
        (["score", "-m", ".", "no.jsonl"], "no.jsonl: no such file"),
        (["score", "-m", ".", "no.jsonl", "-o", "x.csv"], "x.csv: unknown kind of file to write"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    argv: list[str], expected: str, capsys: pytest.CaptureFixture[str], fake_loading: None
) -> None:
    code, out, err = run(argv, capsys)
    assert code == 2
    assert not out
    assert err.startswith("error: ")
    assert expected in err
    assert err.count("\n") == 1


@pytest.fixture
def fake_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model for whoever names a folder that is there."""
    from pathlib import Path

    from tests.fakes import FakeModel
    from vlreward.cli import loading

    real = loading.load_model
    monkeypatch.setattr(
        loading, "load_model", lambda options: FakeModel() if Path(options.model).is_dir() else real(options)
    )


def test_the_unforeseen_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from vlreward.cli import loading

    def fail(options: object) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(loading, "load_model", fail)
    with pytest.raises(ZeroDivisionError):
        main(["score", "-m", "m", "-p", "Q", "-r", "A"])


def test_runs_as_a_module_and_stops_quietly_when_its_reader_is_gone() -> None:
    command = f"{sys.executable} -m vlreward.cli score --help"
    shell = f"set -o pipefail; {command} | true; {command} | head -n 1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("usage: vlreward score")
