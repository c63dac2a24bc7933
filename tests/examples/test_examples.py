"""The examples run, and say what the library says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vlreward import Group, RewardModel

Checkpoint = Callable[..., Path]


def run(script: Path, *argv: object, cwd: Path) -> str:
    command = [sys.executable, "-W", "error", str(script), *map(str, argv)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.fixture
def pictures(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.syspath_prepend(str(root / "examples"))
    from scenes import draw_scenes

    scenes = draw_scenes(0)
    paths = [tmp_path / f"{scene.name}.png" for scene in scenes]
    for scene, path in zip(scenes, paths, strict=True):
        scene.picture.save(path)
    return paths


def test_scenes_are_drawn_by_their_seed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root / "examples"))
    from scenes import draw_scenes

    once, again, other = draw_scenes(3), draw_scenes(3), draw_scenes(4)
    for a, b, c in zip(once, again, other, strict=True):
        assert a.picture.tobytes() == b.picture.tobytes() != c.picture.tobytes()
        assert a.answers == b.answers
        assert len(set(a.answers)) == len(a.answers) == 4


def test_score(root: Path, tmp_path: Path, checkpoint: Checkpoint, pictures: list[Path]) -> None:
    argv = ["--model", checkpoint(), "--image", pictures[0], "--prompt", "What is it?", "--answer", "A boat."]
    said = float(run(root / "examples" / "score.py", *argv, cwd=tmp_path))
    parts = [{"type": "image", "image": str(pictures[0])}, {"type": "text", "text": "What is it?"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "A boat."}]
    assert said == pytest.approx(RewardModel.from_pretrained(checkpoint()).score(messages), abs=1e-3)


def test_best_of_n(root: Path, tmp_path: Path, checkpoint: Checkpoint, pictures: list[Path]) -> None:
    argv = ["--model", checkpoint(), "--image", pictures[1], "--prompt", "How many?", "--answers", "Two.", "One.", "No"]
    lines = run(root / "examples" / "best_of_n.py", *argv, cwd=tmp_path).splitlines()
    parts = [{"type": "image", "image": str(pictures[1])}, {"type": "text", "text": "How many?"}]
    group = Group([{"role": "user", "content": parts}], ["Two.", "One.", "No"])
    ranked = RewardModel.from_pretrained(checkpoint()).rank(group)
    assert [line.split(maxsplit=1)[1] for line in lines] == [["Two.", "One.", "No"][place.index] for place in ranked]


def test_edited_image(root: Path, tmp_path: Path, checkpoint: Checkpoint, pictures: list[Path]) -> None:
    argv = ["--model", checkpoint(), "--image", pictures[0], "--instruction", "Add trees.", "--edits", *pictures[1:]]
    lines = run(root / "examples" / "edited_image.py", *argv, cwd=tmp_path).splitlines()
    assert {line.split()[1] for line in lines} == {str(path) for path in pictures[1:]}
    rewards = [float(line.split()[0]) for line in lines]
    assert rewards == sorted(rewards, reverse=True)
    assert len(set(rewards)) == 2
