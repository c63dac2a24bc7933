"""NLVR as preference files: a picture and a sentence about it, with "true" preferred to "false" or the other way round.

    python examples/nlvr.py data/nlvr runs/nlvr/data --augment 4 --statements 9000
    vlreward train recipes/nlvr.yaml --set model=Qwen/Qwen2.5-VL-3B-Instruct

The folder holds `train_1000.jsonl`, `hidden.jsonl` and `dev.jsonl` of NLVR (Suhr et al., 2017; lil-lab/nlvr), with
their pictures. The first two become `train.jsonl`, the third `dev.jsonl`. NLVR's splits hold different pairs, but
some sentences are in several, so `task` says of each row of dev whether training asks its sentence of other drawings.

`--augment` adds copies of each training row with the same truth: the boxes in another order (no sentence was written of
one order), mirrored unless a side is named, and other colours in both picture and sentence. `--statements` writes
sentences that are made here about the drawings of `hidden`, whose content is known, into `statements.jsonl`. Nothing is
made from dev.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from nlvr_statements import made_statements
from PIL import Image

TRAINING = ("train_1000", "hidden")
BOX, PITCH = 100, 150
"""A box's side and the distance from one box to the next, in pixels; there are three."""
BACKGROUND = (211, 211, 211)
COLOURS = {"black": (0, 0, 0), "blue": (0, 153, 255), "yellow": (255, 255, 0)}
SIDES = {"left", "right"}
COMMON = 5


@dataclass(frozen=True, kw_only=True)
class Example:
    """A sentence and a drawing."""

    id: str
    sentence: str
    """In small letters, without the full stop: neither changes what it says."""
    label: bool
    picture: Path
    drawn: list[list[dict[str, Any]]] | None
    """What each box holds, where the file says it."""


def read_split(folder: Path, name: str) -> Iterator[Example]:
    """The rows of a split."""
    for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield Example(
            id=f"{name}-{row['identifier']}",
            sentence=" ".join(row["sentence"].lower().split()).rstrip(" ."),
            label=row["label"],
            picture=(folder / row["image"]).resolve(),
            drawn=row.get("structured_rep"),
        )


def words_of(sentence: str) -> list[str]:
    """Its words."""
    return re.findall(r"[a-z]+", sentence)


class Augmenter:
    """Makes copies whose truth is the same."""

    def __init__(self, examples: Sequence[Example], folder: Path, seed: int) -> None:
        counts = Counter(word for example in examples for word in words_of(example.sentence))
        # Colours are exchanged in sentences of common words only: a misspelt one would be left as it was.
        self._common = {word for word, count in counts.items() if count >= COMMON}
        self._folder, self._random = folder, random.Random(seed)
        folder.mkdir(parents=True, exist_ok=True)

    def copy(self, example: Example, number: int) -> Example:
        """One copy, with a picture of its own."""
        words = set(words_of(example.sentence))
        names = dict(zip(COLOURS, COLOURS, strict=True))
        if words <= self._common:
            names = dict(zip(COLOURS, self._random.sample(list(COLOURS), len(COLOURS)), strict=True))
        is_mirrored = not words & SIDES and self._random.random() < 0.5
        pixels = np.array(Image.open(example.picture).convert("RGB"))
        boxes = [pixels[:, place * PITCH : place * PITCH + BOX].copy() for place in range(3)]
        for place, box in enumerate(self._random.sample(boxes, 3)):
            turned = box[:, ::-1] if is_mirrored else box
            pixels[:, place * PITCH : place * PITCH + BOX] = recolour(turned, names)
        path = self._folder / f"{example.id}-{number}.png"
        Image.fromarray(pixels).save(path, compress_level=1)
        sentence = re.sub("|".join(COLOURS), lambda match: names[match[0]], example.sentence)
        return replace(example, id=f"{example.id}-{number}", sentence=sentence, picture=path.resolve(), drawn=None)


def recolour(pixels: np.ndarray, names: dict[str, str]) -> np.ndarray:
    """A box with its colours exchanged, those of smoothed edges too; (height, width, 3) uint8."""
    packed, places = np.unique(pixels.astype(np.int32) @ (1 << 16, 1 << 8, 1), return_inverse=True)
    shades = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1) - np.array(BACKGROUND)
    before = np.array([COLOURS[name] for name in names]) - BACKGROUND
    after = np.array([COLOURS[name] for name in names.values()]) - BACKGROUND
    # A shade is the background with a share of one colour: that which it lies nearest to the line of.
    shares = shades @ before.T / (before**2).sum(axis=1)
    nearest = np.linalg.norm(shades[:, None] - shares[..., None] * before, axis=-1).argmin(axis=1)
    changed = BACKGROUND + shares[np.arange(len(shades)), nearest, None] * after[nearest]
    return changed.round().clip(0, 255).astype(np.uint8)[places.reshape(pixels.shape[:2])]


def row_of(example: Example, task: str) -> dict[str, object]:
    """A pair, in the layout of TRL."""
    answers = ("true", "false") if example.label else ("false", "true")
    return {
        "id": example.id,
        "prompt": f"{example.sentence}. true or false?",
        "images": [str(example.picture)],
        "chosen": answers[0],
        "rejected": answers[1],
        "task": task,
    }


def write_rows(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write JSON lines, and say how often the more common answer is right."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    answer, count = Counter(row["chosen"] for row in rows).most_common(1)[0]
    print(f"{path}: {len(rows):,} pairs; {answer!r} is right in {count / len(rows):.1%} of them")


def main() -> None:
    """Convert, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="NLVR's folder")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--augment", type=int, default=0, metavar="N", help="copies of each training row")
    parser.add_argument("--statements", type=int, default=0, metavar="N", help="pairs of sentences that are made")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    train = [example for name in TRAINING for example in read_split(args.data, name)]
    dev = list(read_split(args.data, "dev"))
    args.out.mkdir(parents=True, exist_ok=True)
    augmenter = Augmenter(train, args.out / "pictures", args.seed)
    pairs = [*train, *(augmenter.copy(example, n) for example in train for n in range(args.augment))]
    made = list(made_examples(train, augmenter, args.statements, args.seed))
    write_rows(args.out / "train.jsonl", [row_of(example, "nlvr") for example in pairs])
    if made:
        write_rows(args.out / "statements.jsonl", [row_of(example, "statement") for example in made])
    asked = {example.sentence for example in (*pairs, *made)}
    tasks = ["sentence of training" if example.sentence in asked else "new sentence" for example in dev]
    write_rows(args.out / "dev.jsonl", [row_of(*pair) for pair in zip(dev, tasks, strict=True)])
    print(f"dev: {Counter(tasks)['new sentence']:,} pairs ask a sentence that training does not")
    shared, right = by_the_words_alone(train, dev)
    says = f"dev: {shared:,} ask one that somebody wrote for training"
    print(f"{says}; by its truth there, mostly, {right / max(shared, 1):.1%} are right")


def by_the_words_alone(train: Sequence[Example], dev: Sequence[Example]) -> tuple[int, int]:
    """How many of dev's sentences are in training too, and how many are there mostly as true or false as in dev."""
    truths: defaultdict[str, Counter[bool]] = defaultdict(Counter)
    for example in train:
        truths[example.sentence][example.label] += 1
    shared = [example for example in dev if example.sentence in truths]
    return len(shared), sum(truths[example.sentence].most_common(1)[0][0] == example.label for example in shared)


def made_examples(train: Sequence[Example], augmenter: Augmenter, number: int, seed: int) -> Iterator[Example]:
    """Sentences made about the drawings that are known, each with a copy of its drawing."""
    known = [example for example in train if example.drawn is not None]
    drawings = [example.drawn for example in known]
    for n, (i, sentence, label) in enumerate(made_statements(drawings, number, random.Random(seed))):
        yield augmenter.copy(replace(known[i], id=f"{known[i].id}-made", sentence=sentence, label=label), n)


if __name__ == "__main__":
    main()
