"""Real input through ``vlreward score``: the thousand puzzles and the drawn pictures with human sentences."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vlreward.cli import main
from vlreward.model.reward_model import RewardModel

from .conftest import rows_of

pytestmark = [pytest.mark.slow, pytest.mark.shared, pytest.mark.timeout(900)]
SAMPLE = 40


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def puzzles(data: Path) -> list[dict[str, Any]]:
    folder = data / "puzzlevqa"
    return [
        row(f"puzzle {i}", folder / item["image"], item["question"], [str(option) for option in item["options"]])
        for i, item in enumerate(lines(folder / "data.jsonl"))
    ]


def drawn(data: Path) -> list[dict[str, Any]]:
    folder = data / "nlvr"
    return [
        row(item["identifier"], folder / item["image"], f"True or false? {item['sentence']}", ["True.", "False."])
        for item in lines(folder / "dev.jsonl")
    ]


def row(name: str, picture: Path, question: str, answers: list[str]) -> dict[str, Any]:
    content = [{"type": "image", "image": str(picture)}, {"type": "text", "text": question}]
    return {"id": name, "messages": [{"role": "user", "content": content}], "responses": answers}


@pytest.mark.parametrize(("make", "count"), [(puzzles, 1000), (drawn, 989)], ids=["puzzlevqa", "nlvr"])
def test_every_group_is_scored(
    shared: Path,
    tmp_path: Path,
    make: Callable[[Path], list[dict[str, Any]]],
    count: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows, source, output = make(shared / "data"), tmp_path / "groups.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    folder = shared / "golden" / "llamafactory" / "checkpoint"
    argv = ["score", "-m", str(folder), str(source), "-o", str(output), "--dtype", "float32", "--device", "cpu"]
    assert main(argv) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["groups"], summary["errors"]) == (count, 0)
    written = rows_of(output)
    assert [row["id"] for row in written] == [row["id"] for row in rows]
    assert [len(row["rewards"]) for row in written] == [len(row["responses"]) for row in rows]
    model = RewardModel.from_pretrained(folder, dtype="float32", device="cpu")
    for row, scored in list(zip(rows, written, strict=True))[:: count // SAMPLE]:
        answer = {"role": "assistant", "content": row["responses"][-1]}
        assert model.score_plain([*row["messages"], answer]) == pytest.approx(scored["rewards"][-1], abs=1e-4)
