"""What the published procedure is asked to score: pictures that are drawn here, and conversations about them.

Runs in the published environment as well as in ours, so it knows nothing of either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# Sizes that are no multiples of the 28-pixel cell, slivers, and pictures over and under the pixel limits, in the modes
# in which pictures come. 4.51.3 refuses a side that is shorter than one cell.
PICTURES: dict[str, tuple[int, int, str]] = {
    "square.png": (112, 112, "RGB"),
    "wide.png": (196, 84, "RGB"),
    "odd.png": (187, 131, "RGB"),
    "large.png": (401, 299, "RGB"),
    "small.png": (41, 33, "RGB"),
    "sliver.png": (31, 190, "RGB"),
    "grey.png": (97, 66, "L"),
    "two_tone.png": (60, 60, "1"),
    "palette.png": (85, 120, "P"),
    "alpha.png": (101, 75, "RGBA"),
    "grey_alpha.png": (70, 58, "LA"),
}
FRAMES = tuple(f"frame{i}.png" for i in range(5))
FRAME_SIZE = (90, 62)


def draw(width: int, height: int, seed: int) -> Image.Image:
    """An RGB picture with smooth and sharp parts, so that resizing it wrongly shows: (height, width, 3) uint8."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    phase = random.uniform(0, 6, size=(3, 1, 1))
    slope = random.uniform(0.02, 0.2, size=(3, 2, 1, 1))
    waves = 127.5 + 100 * np.sin(slope[:, 0] * x + slope[:, 1] * y + phase)
    pixels = np.moveaxis(waves, 0, -1)
    left, top = random.integers(0, max(width // 2, 1)), random.integers(0, max(height // 2, 1))
    pixels[top : top + height // 3 + 1, left : left + width // 3 + 1] = random.integers(0, 255, size=3)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """The picture in another PIL mode."""
    if mode == "RGBA":
        fade = Image.linear_gradient("L").resize(picture.size)
        picture.putalpha(fade)
        return picture
    if mode == "LA":
        grey = picture.convert("L")
        grey.putalpha(Image.linear_gradient("L").resize(picture.size))
        return grey
    if mode == "P":
        return picture.quantize(32)
    return picture.convert(mode)


def draw_all(folder: Path) -> None:
    """Write every picture and frame into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, (width, height, mode)) in enumerate(PICTURES.items()):
        in_mode(draw(width, height, seed), mode).save(folder / name, optimize=True)
    for i, name in enumerate(FRAMES):
        draw(*FRAME_SIZE, 100 + i).save(folder / name, optimize=True)


def to_rgb(picture: Image.Image) -> Image.Image:
    """Three channels, transparency over white: what the published procedure's picture loader does."""
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if picture.mode in ("RGBA", "LA"):
        layered = picture.convert("RGBA")
        white = Image.new("RGB", picture.size, (255, 255, 255))
        white.paste(layered, mask=layered.split()[3])
        return white
    return picture.convert("RGB")


def image(name: str) -> dict[str, Any]:
    """A picture part."""
    return {"type": "image", "image": name}


def text(words: str) -> dict[str, Any]:
    """A text part."""
    return {"type": "text", "text": words}


def video(*names: str, fps: float | None = None) -> dict[str, Any]:
    """A video part: frames that were already sampled, at two per second unless told."""
    part: dict[str, Any] = {"type": "video", "video": list(names)}
    return part if fps is None else part | {"fps": fps}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    """A user message."""
    return {"role": "user", "content": list(parts)}


def says(words: str) -> dict[str, Any]:
    """An assistant message."""
    return {"role": "assistant", "content": words}


def system(words: str) -> dict[str, Any]:
    """A system message."""
    return {"role": "system", "content": words}


def prompts() -> dict[str, tuple[list[dict[str, Any]], list[str]]]:
    """Name → the prompt's messages and the answers to it."""
    shapes = [text("How many shapes are there?")]
    cases: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
        "text": ([user(text("Why is the sky blue?"))], ["Because short waves scatter more.", "It is not.", ""]),
        "text_string": ([{"role": "user", "content": "Two and two?"}], ["Four.", "Four. ", "\nFour."]),
        "unicode": ([user(text("Übersetze: «naïve» → 日本語 🙂"))], ["素朴な 🙂", "e\u0301 is not é"]),
        "one_picture": ([user(image("square.png"), *shapes)], ["One.", "One. A single square.", "", "Three shapes."]),
        "picture_last": ([user(*shapes, image("wide.png"))], ["Two shapes, side by side."]),
        "two_pictures": ([user(image("square.png"), image("wide.png"), text("Which is wider?"))], ["The second.", "A"]),
        "picture_between_text": (
            [user(text("First: "), image("wide.png"), text(" then: "), image("square.png"), text(" What changed?"))],
            ["It became square."],
        ),
        "same_picture_twice": ([user(image("odd.png"), image("odd.png"), text("Equal?"))], ["Yes.", "No."]),
        "multi_turn": (
            [user(image("odd.png"), text("What is it?")), says("Waves."), user(text("And in front of them?"))],
            ["A block of one colour.", "Nothing."],
        ),
        "system": (
            [system("Answer in one word."), user(image("wide.png"), text("Is it wide?"))],
            ["Yes.", "Yes, it is wide."],
        ),
        "over_the_limit": ([user(image("large.png"), text("What is it?"))], ["A large picture.", "A small one."]),
        "under_the_limit": ([user(image("small.png"), text("What is it?"))], ["A small picture."]),
        "video": ([user(video(*FRAMES[:4]), text("What happens?"))], ["The block moves.", "Nothing happens."]),
        "video_of_odd_length": ([user(video(*FRAMES[:3]), text("What happens?"))], ["The block moves."]),
        "fast_video": ([user(video(*FRAMES[:4], fps=4.0), text("What happens?"))], ["The block moves."]),
        # In time these reach farther than in space, so that the text behind them starts at another position than
        # behind a picture of their size.
        "long_video": ([user(video(*FRAMES), text("What happens?"))], ["The block moves.", "Nothing happens."]),
        "slow_video": ([user(video(*FRAMES[:4], fps=1.0), text("What happens?"))], ["The block moves."]),
        "video_and_picture": (
            [user(image("square.png"), video(*FRAMES[1:3]), text("Is the picture in the clip?"))],
            ["It is not."],
        ),
    }
    for name in ("odd", "sliver", "grey", "two_tone", "palette", "alpha", "grey_alpha"):
        cases[name] = ([user(image(f"{name}.png"), text("Describe it."))], [f"It is {name.replace('_', ' ')}."])
    return cases


def conversations() -> list[tuple[str, list[dict[str, Any]]]]:
    """Every case by name: a prompt with one of its answers."""
    return [
        (f"{name}/{i}", [*messages, says(answer)])
        for name, (messages, answers) in prompts().items()
        for i, answer in enumerate(answers)
    ]
