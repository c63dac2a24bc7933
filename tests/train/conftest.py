"""Small preference data, and one pack of it at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from vlreward import Group, Ranking, RewardModel
from vlreward.train.module import PackModel
from vlreward.train.objective import BaseObjective, Objective
from vlreward.train.packs import Pack, PackDataset
from vlreward.train.plan import Plan

COLOURS = ("red", "green", "blue", "black", "white", "grey")


class Listed:
    """Rankings in a list, as a source."""

    def __init__(self, rankings: Sequence[Ranking], label: str = "listed") -> None:
        self.rankings, self.label, self.fingerprint = list(rankings), label, label
        self.dropped: Counter[str] = Counter()
        self.sample: int | None = None

    def __len__(self) -> int:
        return len(self.rankings)

    def __getitem__(self, number: int) -> Ranking:
        return self.rankings[number]


def noise(seed: int, size: tuple[int, int] = (84, 56)) -> PILImage.Image:
    width, height = size
    return PILImage.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def image_part(seed: int, size: tuple[int, int] = (84, 56)) -> dict[str, Any]:
    return {"type": "image", "image": noise(seed, size)}


def user(*parts: Any) -> list[dict[str, Any]]:
    plain = parts == (parts[0],) and isinstance(parts[0], str)
    content = parts[0] if plain else [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]
    return [{"role": "user", "content": content}]


def pair(prompt: list[dict[str, Any]], *responses: Any, id: str = "p", ranks: Sequence[int] | None = None) -> Ranking:
    ranks = tuple(ranks if ranks is not None else range(len(responses)))
    return Ranking(group=Group(prompt, responses, id=id), ranks=ranks)


def one_pack(
    model: RewardModel, rankings: Sequence[Ranking], objective: BaseObjective | None = None, **options: Any
) -> Pack:
    """All of ``rankings`` in one pack."""
    count = len(rankings)
    plan = Plan(np.zeros(count, dtype=np.int64), np.arange(count), np.ones(count, dtype=np.int64), count, 1, 1)
    options = {"skip_missing": False} | options
    return PackDataset(plan, [Listed(rankings)], model, objective or Objective(), **options)[0]


def pack_model(model: RewardModel, objective: BaseObjective | None = None, **options: Any) -> PackModel:
    model.head.to(model.backbone.dtype)
    return PackModel(model, objective or Objective(), **options)


def write_pairs(folder: Path, count: int, *, pictures: bool = True, seed: int = 0) -> Path:
    """A file of pairs with a picture each, some without."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    path = folder / "pairs.jsonl"
    with path.open("w") as file:
        for i in range(count):
            right, wrong = generator.choice(COLOURS, 2, replace=False)
            row: dict[str, Any] = {"id": f"r{i}"}
            content: list[dict[str, Any]] = [{"type": "text", "text": f"Question {i}: which colour is it?"}]
            if pictures and i % 3:
                size = (56 + 28 * int(generator.integers(3)), 56)
                noise(seed + i, size).save(folder / "pictures" / f"{i}.png")
                content.insert(0, {"type": "image"})
                row["images"] = [f"pictures/{i}.png"]
            row["prompt"] = [{"role": "user", "content": content}]
            for key, colour in (("chosen", right), ("rejected", wrong)):
                row[key] = [{"role": "assistant", "content": f"It is {colour}." + " Yes." * int(generator.integers(4))}]
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
