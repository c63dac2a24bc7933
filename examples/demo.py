"""``make demo``: a reward model ranks answers to pictures that were drawn a moment ago.

The model is a small random checkpoint, built here. It shows that everything runs, and what results look like; which
answer it prefers means nothing until there is a trained one.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.text import Text
from scenes import Scene, draw_scenes

from vlreward import Group, RewardModel
from vlreward.cli.tables import reward_table
from vlreward.tiny.random_checkpoint import write_random_checkpoint

FOLDER = Path("build") / "demo"
PREVIEW_WIDTH = 60


def preview(scene: Scene) -> Text:
    """The picture in half blocks, two pixels to a character."""
    height = round(PREVIEW_WIDTH * scene.picture.height / scene.picture.width / 2) * 2
    small = scene.picture.resize((PREVIEW_WIDTH, height)).load()
    text = Text()
    for y in range(0, height, 2):
        for x in range(PREVIEW_WIDTH):
            upper, lower = (f"#{r:02x}{g:02x}{b:02x}" for r, g, b in (small[x, y], small[x, y + 1]))
            text.append("▀", style=f"{upper} on {lower}")
        text.append("\n")
    return text


def main() -> None:
    """Build, draw, score, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="draws other pictures, and makes another model")
    seed = parser.parse_args().seed
    console = Console(highlight=False)
    checkpoint = write_random_checkpoint(FOLDER / "model", seed)
    scenes = draw_scenes(seed)
    groups, shown = [], []
    for scene in scenes:
        path = FOLDER / f"{scene.name}.png"
        scene.picture.save(path)
        answers = random.Random(seed).sample(scene.answers, len(scene.answers))
        content = [{"type": "image", "image": str(path)}, {"type": "text", "text": scene.question}]
        groups.append(Group([{"role": "user", "content": content}], answers, id=scene.name))
        shown.append((path, answers))

    model = RewardModel.from_pretrained(checkpoint)
    model.score_groups(groups[:1])  # the first call pays for what torch sets up once
    began = time.perf_counter()
    rewards = model.score_groups(groups)
    seconds = time.perf_counter() - began

    for scene, (path, answers), values in zip(scenes, shown, rewards, strict=True):
        console.print(Rule(f"{path}", align="left", style="dim"))
        if console.is_terminal:
            console.print(preview(scene))
        console.print(f"[bold]{scene.question}[/bold]")
        order = sorted(range(len(values)), key=lambda i: -values[i])
        texts = [answers[i] or "(empty)" for i in order]
        labels = [str(place + 1) for place in range(len(order))]
        console.print(reward_table(labels, [values[i] for i in order], texts, header=("rank", "answer")))
    path, answers = shown[0]
    console.print(f"{sum(map(len, rewards))} answers to {len(groups)} pictures in {seconds * 1000:.0f} ms.")
    console.print(
        "The model is random: it shows that everything runs, but the order of the answers means nothing yet.",
        style="bold yellow",
    )
    console.print("\nThe same by hand, with any reward model in place of this one:", style="dim")
    command = f"vlreward rank --model {checkpoint} --image {path} --prompt '{scenes[0].question}'"
    console.print(
        f".venv/bin/{command} --response '{answers[0]}' --response '{answers[1]}'", markup=False, soft_wrap=True
    )


if __name__ == "__main__":
    main()
