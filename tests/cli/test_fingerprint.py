"""What tells one checkpoint, one input from another."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vlreward import Group
from vlreward.cli.fingerprint import chain, checkpoint_fingerprint
from vlreward.errors import InputError

LARGE = 1 << 21


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(bytes(range(256)) * (LARGE // 256))
    return path


def test_a_copy_is_the_same(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert checkpoint_fingerprint(tmp_path / "copy") == checkpoint_fingerprint(folder)


def test_papers_beside_the_weights_do_not_count(folder: Path) -> None:
    before = checkpoint_fingerprint(folder)
    (folder / "README.md").write_text("About")
    (folder / ".gitattributes").write_text("")
    (folder / ".cache").mkdir()
    assert checkpoint_fingerprint(folder) == before


def retrain(path: Path) -> None:
    """Other weights everywhere, as training leaves them."""
    path.write_bytes(bytes(value ^ 1 for value in path.read_bytes()))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "config.json").write_text('{"a": 1}'),
        lambda path: (path / "value_head.safetensors").write_bytes(b"head"),
        lambda path: (path / "config.json").unlink(),
        lambda path: (path / "config.json").rename(path / "preprocessor_config.json"),
        lambda path: (path / "model.safetensors").write_bytes(bytes(LARGE + 1)),
        lambda path: retrain(path / "model.safetensors"),
        lambda path: (path / "model.safetensors").write_bytes(b"\1" + (path / "model.safetensors").read_bytes()[1:]),
        lambda path: (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-1] + b"\1"),
    ],
)
def test_a_changed_checkpoint_is_another(folder: Path, change: Callable[[Path], object]) -> None:
    before = checkpoint_fingerprint(folder)
    change(folder)
    assert checkpoint_fingerprint(folder) != before


def picture(source: object, **options: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": [{"type": "image", "image": source, **options}]}]


def test_groups_that_differ_anywhere_have_other_digests() -> None:
    video = [{"role": "user", "content": [{"type": "video", "video": ["a.png", "b.png"]}]}]
    slower = [{"role": "user", "content": [{"type": "video", "video": ["a.png", "b.png"], "fps": 1}]}]
    items = [
        Group("Q", ["A"]),
        Group("Q", ["A"], id="x"),
        Group("Q", ["A", "B"]),
        Group("Q", ["AB"]),
        Group("QA", [""]),
        Group([{"role": "user", "content": [{"type": "text", "text": "Q"}]}], ["A"]),
        Group([{"role": "system", "content": "Q"}], ["A"]),
        Group([{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], [""]),
        Group("Q", [[{"type": "text", "text": "A"}]]),
        Group(picture("a.png"), ["A"]),
        Group(picture("b.png"), ["A"]),
        Group(picture(b"bytes"), ["A"]),
        Group(picture("a.png", max_pixels=9999), ["A"]),
        Group(video, ["A"]),
        Group(slower, ["A"]),
        InputError("groups.jsonl:3: broken"),
    ]
    digests = [chain("0", item) for item in items]
    assert len(set(digests)) == len(items)
    assert digests == [chain("0", item) for item in items]
    assert chain(chain("0", items[0]), items[1]) != chain(chain("0", items[1]), items[0])
