"""The command line with a real, small, random model."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlreward.cli import main
from vlreward.model.reward_model import RewardModel

Checkpoint = Callable[..., Path]


def run(argv: list[Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any, str]:
    code = main([str(item) for item in argv])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Three pictures of the same size and one of another."""
    noise = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.png" for name in "abcd"]
    for i, path in enumerate(paths):
        shape = (70, 90 + 60 * (i == 3), 3)
        Image.fromarray(noise.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return paths


def conversation(picture: Path, prompt: str, answer: str) -> list[dict[str, Any]]:
    parts = [{"type": "image", "image": str(picture)}, {"type": "text", "text": prompt}]
    return [{"role": "user", "content": parts}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen2_vl", "qwen3_vl"])
def test_verbs_say_what_the_library_says(
    checkpoint: Checkpoint, pictures: list[Path], backbone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint(backbone)
    model = RewardModel.from_pretrained(folder)
    answers = ["Noise. Just noise.", "A cat.", ""]
    expected = [model.score_plain(conversation(pictures[0], "What is it?", answer)) for answer in answers]
    ask = ["-m", folder, "--image", pictures[0], "-p", "What is it?"]
    said = [item for answer in answers for item in ("-r", answer)]
    code, row, err = run(["score", *ask, *said], capsys)
    assert (code, err) == (0, "")
    assert row["rewards"] == pytest.approx(expected, abs=1e-4)
    _, row, _ = run(["rank", *ask, *said], capsys)
    assert row["order"] == sorted(range(3), key=lambda i: -expected[i])
    _, row, _ = run(["compare", *ask, *said[:4]], capsys)
    assert row["probability"] == pytest.approx(1 / (1 + np.exp(expected[1] - expected[0])), abs=1e-4)
    _, row, _ = run(["trace", *ask, *said[:2]], capsys)
    first, last = row["traces"][0]
    assert last["reward"] == pytest.approx(expected[0], abs=1e-4)
    assert first["reward"] == pytest.approx(
        model.score_plain(conversation(pictures[0], "What is it?", "Noise.")), abs=1e-4
    )


def test_an_edited_picture_is_an_answer(
    checkpoint: Checkpoint, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    edits = [item for path in pictures[1:] for item in ("--response-image", path)]
    code, row, _ = run(["score", "-m", checkpoint(), "--image", pictures[0], "-p", "Sharpen it.", *edits], capsys)
    assert code == 0
    assert len(set(row["rewards"])) == 3


def test_a_plain_model_can_be_asked(checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]) -> None:
    folder = checkpoint(form="none")
    ask = ["score", "-m", folder, "-p", "Is 7 prime?", "-r", "yes", "-r", "no"]
    code, _, err = run(ask, capsys)
    assert code == 2
    assert "no reward head found" in err
    assert err.count("\n") == 1
    code, row, _ = run([*ask, "--question", "Good?", "--positive", "yes", "--negative", "no"], capsys)
    assert code == 0
    assert len(row["rewards"]) == 2


def test_inspect(checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, _ = run(["inspect", checkpoint()], capsys)
    assert code == 0
    assert found["form"] == "value-head"
    assert found["backbone"] == "qwen2_5_vl"
    assert found["problems"] == []
    code, found, _ = run(["inspect", "--model", checkpoint(form="none")], capsys)
    assert code == 2
    assert len(found["problems"]) == 1
    code, found, _ = run(["inspect", checkpoint(form="none"), "--positive", "yes", "--negative", "no"], capsys)
    assert code == 0
    assert found["form"] == "token-logit"


def test_convert_there_and_back(checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    code, done, _ = run(["convert", checkpoint(), there, "--to", "sequence-classification"], capsys)
    assert code == 0
    assert done["max_difference"] == 0
    assert run(["convert", there, back, "--to", "value-head"], capsys)[0] == 0
    ask = ["-p", "Is 7 prime?", "-r", "yes"]
    rewards = [run(["score", "-m", path, *ask], capsys)[1]["rewards"][0] for path in (checkpoint(), there, back)]
    # The weights are the same bits at other places in the file: measured 2.4e-7.
    assert rewards[1:] == pytest.approx([rewards[0]] * 2, abs=1e-5)
    code, _, err = run(["convert", checkpoint(), there, "--to", "value-head"], capsys)
    assert code == 2
    assert str(there) in err
    assert run(["convert", checkpoint(), there, "--to", "value-head", "--overwrite", "--no-proof"], capsys)[0] == 0
    code, _, err = run(["convert", checkpoint(), tmp_path / "new", "--to", "valuehead"], capsys)
    assert code == 2
    assert "value-head" in err


@pytest.fixture
def source(tmp_path: Path, pictures: list[Path]) -> Path:
    """Sixty groups whose pictures come again in later chunks, and in other company."""
    path, chance = tmp_path / "groups.jsonl", random.Random(0)
    rows = []
    for i in range(60):
        parts: list[dict[str, Any]] = [{"type": "text", "text": f"Question {i % 7}?"}]
        images = [chance.choice(pictures).name for _ in range(chance.randrange(3))]
        parts += [{"type": "image"} for _ in images]
        answers = ["yes", "no", "It is a picture of noise.", ""][: chance.randint(1, 4)]
        rows.append({"id": i, "messages": [{"role": "user", "content": parts}], "responses": answers, "images": images})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_run_that_was_stopped_between_chunks_gives_the_same_bytes(
    checkpoint: Checkpoint,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    argv = ["score", "-m", checkpoint(), source, "--chunk", 8]
    assert run([*argv, "-o", whole], capsys)[0] == 0
    original = RewardModel.score_groups
    for stop_after in (2, 1, 3):
        calls: list[int] = []

        def score_some(self: RewardModel, groups: Any, **options: Any) -> list[list[float]]:
            calls.append(1)  # noqa: B023 - used within its own turn of the loop
            if len(calls) > stop_after:  # noqa: B023
                raise KeyboardInterrupt
            return original(self, groups, **options)

        monkeypatch.setattr(RewardModel, "score_groups", score_some)
        code, _, err = run([*argv, "-o", output], capsys)
        assert code == 130
        assert "the same command goes on" in err
    monkeypatch.setattr(RewardModel, "score_groups", original)
    code, summary, _ = run([*argv, "-o", output], capsys)
    assert code == 0
    assert summary["computed"] == 60 - 6 * 8
    assert output.read_bytes() == whole.read_bytes()


def test_a_picture_that_cannot_be_read_is_named_with_its_line(
    checkpoint: Checkpoint, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = source.read_text().splitlines()
    lines[20] = json.dumps(
        {
            "id": "broken",
            "messages": [{"role": "user", "content": [{"type": "image", "image": "gone.png"}]}],
            "responses": ["A"],
        }
    )
    source.write_text("\n".join(lines) + "\n")
    argv = ["score", "-m", checkpoint(), source, "-o", tmp_path / "out.jsonl", "--chunk", 8]
    code, _, err = run(argv, capsys)
    assert code == 2
    assert err.startswith(f"error: {source}:21: ")
    assert "gone.png" in err
    assert err.count("\n") == 1
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 16
    code, summary, _ = run([*argv, "--on-error", "skip", "--overwrite"], capsys)
    assert (code, summary["errors"], summary["groups"]) == (0, 1, 60)


@pytest.mark.slow
def test_a_large_picture_is_one_hint(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "large.png"
    Image.effect_noise((1820, 1820), 50).save(path)
    argv = ["score", "-m", checkpoint(), "--image", path, "-p", "What is it?", "-r", "Noise."]
    _, _, err = run([*argv, "--max-pixels", "10_000_000"], capsys)
    assert err.startswith("note: ")
    assert "4225 visual tokens" in err.replace(",", "")
    assert "--max-pixels" in err
    assert err.count("\n") == 1
    assert not run(argv, capsys)[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ended_at_random_the_output_is_that_of_one_run(
    checkpoint: Checkpoint, tmp_path: Path, pictures: list[Path]
) -> None:
    source, output, whole = tmp_path / "groups.jsonl", tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    chance = random.Random()
    with source.open("w") as file:
        for i in range(1000):
            parts = [{"type": "image"}, {"type": "text", "text": f"Question {i}?"}]
            row = {"messages": [{"role": "user", "content": parts}], "responses": ["yes", "no", f"{i}"]}
            file.write(json.dumps({**row, "images": [pictures[i % 4].name]}) + "\n")

    def start(path: Path) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "vlreward.cli", "score", "-m", str(checkpoint()), str(source), "-o", str(path)]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    process = start(whole)
    _, error = process.communicate()
    assert process.returncode == 0, error
    for how in (signal.SIGINT, signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        process, before, deadline = start(output), output.exists() and output.stat().st_size, time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if output.exists() and output.stat().st_size != before:
                break
            time.sleep(0.02)
        time.sleep(chance.random())
        process.send_signal(how)
        _, error = process.communicate()
        assert process.returncode in (0, 130 if how is signal.SIGINT else -how), error
    process = start(output)
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert output.read_bytes() == whole.read_bytes()
    assert len(output.read_bytes().splitlines()) == 1000
