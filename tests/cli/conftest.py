"""A command line whose model is a fake one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeModel, group_row
from vlreward.cli import loading


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder that stands for a checkpoint, to be fingerprinted."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """The model that every verb gets, whatever ``--model`` says."""
    model = FakeModel()
    monkeypatch.setattr(loading, "load_model", lambda options: model)
    return model


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Writes a groups file of so many rows, or of these."""

    def write(rows: int | Iterable[Any], name: str = "groups.jsonl") -> Path:
        path = tmp_path / name
        items = [group_row(i) for i in range(rows)] if isinstance(rows, int) else rows
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in items]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file; every line must be whole."""
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]
