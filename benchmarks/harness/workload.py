"""What the contestants are asked to score: groups of made-up text about made-up pictures, and real puzzles.

Every round gets pictures of its own, so that no contestant answers from what it remembers of an earlier round.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from published.cases import draw

from .flops import GroupShape
from .sizes import CELL, MERGE
from .tokenizer import words

PROMPT_TOKENS = 64
ANSWER_TOKENS = (160, 200)
SIDE = 896
"""Side of the made-up pictures in pixels: 32 × 32 visual tokens, and no resizing by anybody."""
PUZZLES_PER_ROUND = 8  # divides the thousand puzzles, so that no round wraps around


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Groups by round."""

    name: str
    answers: int
    puzzles: Path | None = None
    """The folder of the puzzles, when the groups are real ones."""

    def groups(self, round_index: int, folder: Path) -> list[dict[str, Any]]:
        """The groups of a round, as the contestants take them; pictures are written into ``folder``."""
        if self.puzzles is not None:
            return _puzzle_groups(self.puzzles, round_index)
        return [_made_up_group(self.answers, round_index, folder)]


def standard_workloads(answers: list[int], puzzles: Path | None) -> list[Workload]:
    """One workload per number of answers, and the puzzles when their folder is there."""
    found = [Workload(name=f"N={count}", answers=count) for count in answers]
    if puzzles is not None and puzzles.is_dir():
        found.append(Workload(name="puzzles", answers=4, puzzles=puzzles))
    return found


def _made_up_group(answers: int, round_index: int, folder: Path) -> dict[str, Any]:
    picture = folder / f"picture-{answers}-{round_index}.png"
    seed = 1000 * answers + round_index
    if not picture.is_file():
        draw(SIDE, SIDE, seed).save(picture)
    # The same lengths in every round, other words.
    lengths = random.Random(answers)
    prompt = {"type": "text", "text": words(PROMPT_TOKENS, seed)}
    return {
        "messages": [{"role": "user", "content": [{"type": "image", "image": str(picture)}, prompt]}],
        "responses": [words(lengths.randint(*ANSWER_TOKENS), 100 * seed + i) for i in range(answers)],
    }


def mixed_groups(count: int, folder: Path, seed: int = 0) -> list[dict[str, Any]]:
    """Groups of all kinds for checking that ways agree: none to two pictures of any size, one to six answers."""
    choose = random.Random(seed)
    groups = []
    for number in range(count):
        parts = []
        for i in range(choose.randint(0, 2)):
            picture = folder / f"mixed-{seed}-{number}-{i}.png"
            draw(choose.randint(40, 600), choose.randint(40, 600), 100 * number + i).save(picture)
            parts.append({"type": "image", "image": str(picture)})
        parts.append({"type": "text", "text": words(choose.randint(5, 120), number)})
        answers = [words(choose.randint(0, 150), 1000 * number + i) for i in range(choose.randint(1, 6))]
        groups.append({"messages": [{"role": "user", "content": parts}], "responses": answers})
    return groups


def _puzzle_groups(folder: Path, round_index: int) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text(encoding="utf-8").splitlines() if line]
    random.Random(0).shuffle(rows)
    # The round before the first takes the last rows.
    start = round_index * PUZZLES_PER_ROUND % len(rows)
    groups = []
    for row in rows[start : start + PUZZLES_PER_ROUND]:
        image = {"type": "image", "image": str(folder / row["image"])}
        question = {"type": "text", "text": row["question"]}
        messages = [{"role": "user", "content": [image, question]}]
        groups.append({"messages": messages, "responses": [f"The answer is {option}." for option in row["options"]]})
    return groups


def shape_of(group: dict[str, Any], tokenizer: Any) -> GroupShape:
    """What the group is to a model, counted with the model's own tokenizer.

    The size of a picture is rounded to whole cells, which is what the processors do within the pixel limits.
    """
    grids = []
    for part in group["messages"][0]["content"]:
        if part["type"] == "image":
            with Image.open(part["image"]) as picture:
                width, height = picture.size
            grids.append((round(height / CELL) * MERGE, round(width / CELL) * MERGE))
    visual = sum(rows * columns // (MERGE * MERGE) for rows, columns in grids)
    prompt = tokenizer.apply_chat_template(group["messages"], tokenize=False, add_generation_prompt=True)
    # One placeholder per picture is in the template's text already.
    prefix = len(tokenizer(prompt)["input_ids"]) - len(grids) + visual
    answers = []
    for response in group["responses"]:
        messages = [*group["messages"], {"role": "assistant", "content": response}]
        whole = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
        answers.append(len(tokenizer(whole)["input_ids"]) - len(grids) + visual - prefix)
    return GroupShape(grids=tuple(grids), prefix=prefix, answers=tuple(answers))
