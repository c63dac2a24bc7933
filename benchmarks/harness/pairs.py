"""Pairs of answers about one picture each, and the files that the tools read them from."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from published.cases import draw

from .tokenizer import words
from .workload import ANSWER_TOKENS, PROMPT_TOKENS, SIDE

NAME = "pairs"
"""What the data set is called in LLaMA-Factory's ``dataset_info.json``."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A picture, a question about it, and two answers."""

    picture: str
    """Its path; a relative one starts at the folder of the file that the pair is written to."""
    question: str
    chosen: str
    rejected: str


def made_up_pairs(count: int, folder: Path, *, side: int = SIDE) -> list[Pair]:
    """Pairs of the lengths that scoring is timed with: answers of 160 to 200 tokens, a picture and words of its own
    for each; the pictures are written into ``folder``."""
    lengths = random.Random(0)
    pairs = []
    for number in range(count):
        picture = folder / f"pair-{side}-{number}.png"
        if not picture.is_file():
            draw(side, side, 7000 + number).save(picture)
        chosen, rejected = (words(lengths.randint(*ANSWER_TOKENS), 100 * number + i) for i in range(2))
        question = words(PROMPT_TOKENS, 50_000 + number)
        pairs.append(Pair(picture=str(picture), question=question, chosen=chosen, rejected=rejected))
    return pairs


def puzzle_pairs(count: int, puzzles: Path, *, seed: int = 0) -> list[Pair]:
    """Correctness pairs of real puzzles: the reasoned right option against a wrong one, drawn without repeats."""
    rows = [json.loads(line) for line in (puzzles / "data.jsonl").read_text(encoding="utf-8").splitlines() if line]
    choose = random.Random(seed)
    pairs = []
    for row in choose.sample(rows, count):
        wrong = choose.choice([option for option in map(str, row["options"]) if option != str(row["answer"])])
        pairs.append(
            Pair(
                picture=str((puzzles / row["image"]).resolve()),
                question=row["question"],
                chosen=f"{row['deduction']} The answer is {row['answer']}.",
                rejected=f"The answer is {wrong}.",
            )
        )
    return pairs


def write_sharegpt(pairs: Sequence[Pair], folder: Path) -> Path:
    """Write the pairs as LLaMA-Factory reads them, with the ``dataset_info.json`` that describes them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.json"
    rows = [
        {
            "conversations": [{"from": "human", "value": f"<image>{pair.question}"}],
            "chosen": {"from": "gpt", "value": pair.chosen},
            "rejected": {"from": "gpt", "value": pair.rejected},
            "images": [pair.picture],
        }
        for pair in pairs
    ]
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"}
    info = {NAME: {"file_name": path.name, "formatting": "sharegpt", "ranking": True, "columns": columns}}
    _write(path, rows)
    _write(folder / "dataset_info.json", info)
    return path


def write_ms_swift(pairs: Sequence[Pair], folder: Path) -> Path:
    """Write the pairs as ms-swift reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.jsonl"
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"<image>{pair.question}"},
                {"role": "assistant", "content": pair.chosen},
            ],
            "rejected_response": pair.rejected,
            "images": [pair.picture],
        }
        for pair in pairs
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_trl(pairs: Sequence[Pair], folder: Path) -> Path:
    """Write the pairs as TRL has them, one in a line; the pictures' paths are for the reader to open."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.jsonl"
    rows = [
        {
            "prompt": [{"role": "user", "content": pair.question}],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
            "images": [pair.picture],
        }
        for pair in pairs
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
