"""The verbs against a server say what they say of a model here."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engines.test_remote import Wires
from tests.fakes import FakeModel, group_row
from tests.serve.door import Door
from vlreward.cli import loading, main, served
from vlreward.engines.remote import RemoteEngine

URL = "http://a.example"


class Served:
    """A server, and what it says of its model."""

    def __init__(self) -> None:
        self.card: dict[str, Any] = {"id": "fake", "calibrated": False, "settings": {"dtype": "float32"}}
        self.wires = Wires(Door().app, self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(200, json={"data": [self.card]}) if request.url.path == "/v1/models" else None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Served:
    found = Served()
    monkeypatch.setattr(served, "RemoteEngine", functools.partial(RemoteEngine, transport=found.wires))
    return found


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    path = tmp_path / "groups.jsonl"
    path.write_text("".join(json.dumps(group_row(i, 2)) + "\n" for i in range(5)))
    return path


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> list[Any]:
    assert main([*argv]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("verb", ["score", "rank", "compare"])
def test_the_same_as_of_a_model_here(
    verb: str, server: Served, groups: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = said(capsys, verb, str(groups), "--engine", URL)
    monkeypatch.setattr(loading, "load_model", lambda options: FakeModel())
    here = said(capsys, verb, str(groups), "--model", "fake")
    assert [row["id"] for row in there] == [row["id"] for row in here]
    for row, other in zip(there, here, strict=True):
        assert row["rewards"] == pytest.approx(other["rewards"])
        assert row.get("order") == other.get("order")


def test_a_file_is_gone_on_with_while_the_server_is_the_same(
    server: Served, groups: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["score", str(groups), "--engine", URL, "-o", str(tmp_path / "out.jsonl"), "-q"]
    assert said(capsys, *argv)[0]["computed"] == 5
    assert said(capsys, *argv)[0]["computed"] == 0
    record = json.loads((tmp_path / "out.jsonl.meta.json").read_text())
    assert record["config"]["served"]["model"] == "fake"
    server.card["settings"] = {"dtype": "bfloat16"}
    assert main(argv) == 2
    assert "begun with served" in capsys.readouterr().err


def test_a_bad_row_is_told_and_passed_over(server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = {"type": "image", "image": "gone.png"}
    rows = [group_row(0), group_row(1) | {"messages": [{"role": "user", "content": [picture]}]}]
    path = tmp_path / "groups.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    good, bad = said(
        capsys, "score", str(path), "--engine", URL, "-o", str(tmp_path / "o.jsonl"), "-q", "--on-error", "skip"
    ) and [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert len(good["rewards"]) == 3
    assert "groups.jsonl:2: " in bad["error"]
    assert "no such file" in bad["error"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model", "m"], "--model is for a model loaded here"),
        (["--dtype", "float32"], "--dtype is for a model loaded here"),
        (["--max-pixels", "5000"], "--max-pixels is for a model loaded here"),
    ],
)
def test_options_of_a_model_here(
    argv: list[str], message: str, groups: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(groups), "--engine", URL, *argv]) == 2
    assert message in capsys.readouterr().err


def test_what_needs_the_model_says_so(server: Served, groups: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.card["calibrated"] = True
    assert main(["compare", str(groups), "--engine", URL]) == 2
    assert "ask its /v1/compare" in capsys.readouterr().err
    assert main(["trace", str(groups), "--engine", URL]) == 2
    assert "ask its /v1/trace" in capsys.readouterr().err
    del server.card["settings"]
    assert main(["score", str(groups), "--engine", URL]) == 2
    assert "does not say what" in capsys.readouterr().err
    assert main(["score", str(groups), "--engine", "nowhere"]) == 2
    assert "not the address" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["eval", "pairs", "{}"], ["audit", "--data", "{}", "--audits", "length"]])
def test_eval_and_audit_find_the_same(
    argv: list[str],
    server: Served,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Question {i}?", "chosen": f"Right. {i}", "rejected": f"Wrong: {i}"} for i in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = [word.replace("{}", str(path)) for word in argv]
    there = said(capsys, *argv, "--json", "-q", "--engine", URL)[0]
    monkeypatch.setattr(loading, "load_model", lambda options: FakeModel())
    here = said(capsys, *argv, "--json", "-q", "--model", str(tmp_path))[0]
    assert there.pop("model") == URL
    assert here.pop("model") == str(tmp_path)
    assert rounded(there) == rounded(here)


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, 6) if isinstance(value, float) else value
