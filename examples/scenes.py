"""Small landscapes, drawn afresh for each seed, with a question about each and answers that are right or wrong."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 384, 256
_SCALE = 3  # drawn larger and shrunk, for smooth edges

COLOURS = {
    "red": (214, 64, 58),
    "yellow": (245, 196, 66),
    "green": (74, 148, 92),
    "blue": (62, 108, 190),
    "white": (246, 243, 235),
    "purple": (132, 84, 168),
}
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
SKIES = {
    "day": ((92, 162, 222), (206, 232, 246)),
    "sunset": ((86, 70, 140), (252, 164, 104)),
    "night": ((12, 18, 48), (52, 68, 116)),
}


@dataclass(frozen=True)
class Scene:
    """A picture, a question, and answers of which the first is right."""

    name: str
    picture: Image.Image
    question: str
    answers: tuple[str, ...]


class _Canvas:
    """Draws in units of the finished picture."""

    def __init__(self, hour: str) -> None:
        self.image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE))
        self._draw = ImageDraw.Draw(self.image)
        top, bottom = SKIES[hour]
        for y in range(HEIGHT * _SCALE):
            share = y / (HEIGHT * _SCALE)
            colour = tuple(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
            self._draw.line([(0, y), (WIDTH * _SCALE, y)], fill=colour)

    def polygon(self, points: list[tuple[float, float]], colour: tuple[int, ...]) -> None:
        self._draw.polygon([(x * _SCALE, y * _SCALE) for x, y in points], fill=colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: tuple[int, ...]) -> None:
        self._draw.ellipse([v * _SCALE for v in (x - rx, y - ry, x + rx, y + ry)], fill=colour)

    def line(self, points: list[tuple[float, float]], colour: tuple[int, ...], width: float) -> None:
        self._draw.line([(x * _SCALE, y * _SCALE) for x, y in points], fill=colour, width=round(width * _SCALE))

    def finish(self) -> Image.Image:
        return self.image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)

    def hills(self, chance: random.Random, base: float, height: float, colour: tuple[int, ...]) -> None:
        phase, stretch = chance.uniform(0, 6), chance.uniform(0.012, 0.022)
        ridge = [(x, base - height * (math.sin(x * stretch + phase) + 1) / 2) for x in range(0, WIDTH + 4, 4)]
        self.polygon([(0.0, HEIGHT), *ridge, (WIDTH, HEIGHT)], colour)


def _places(chance: random.Random, count: int) -> list[float]:
    """Well apart from one another, from left to right."""
    step = WIDTH / count
    return [step * (i + 0.5) + chance.uniform(-0.16, 0.16) * step for i in range(count)]


def _two(chance: random.Random, names: list[str]) -> tuple[str, str]:
    first, second = chance.sample(names, 2)
    return first, second


def harbour(chance: random.Random) -> Scene:
    """Sailing boats on the sea."""
    hour = chance.choice(["day", "sunset"])
    canvas, count = _Canvas(hour), chance.randint(1, 3)
    colour, other = _two(chance, ["red", "white", "yellow", "purple"])
    canvas.ellipse(chance.uniform(60, 320), 118, 26, 26, (255, 226, 150))
    canvas.polygon([(0, 150), (WIDTH, 150), (WIDTH, HEIGHT), (0, HEIGHT)], (38, 92, 134))
    for _ in range(60):
        x, y = chance.uniform(0, WIDTH), chance.uniform(156, HEIGHT)
        canvas.line([(x, y), (x + chance.uniform(8, 26), y)], (86, 140, 176), 1.2)
    for x in _places(chance, count):
        y = chance.uniform(176, 214)
        canvas.polygon([(x - 34, y), (x + 34, y), (x + 22, y + 15), (x - 22, y + 15)], (92, 58, 40))
        canvas.line([(x, y), (x, y - 76)], (70, 46, 34), 2.4)
        canvas.polygon([(x + 3, y - 74), (x + 3, y - 8), (x + 32, y - 8)], COLOURS[colour])
        canvas.polygon([(x - 3, y - 62), (x - 3, y - 8), (x - 24, y - 8)], COLOURS[colour])
    boats = f"{NUMBERS[count].capitalize()} sailing boat{'s' if count > 1 else ''}"
    answers = (
        f"{boats} with {colour} sails on a calm sea.",
        f"{boats} with {other} sails on a calm sea.",
        f"{NUMBERS[count + 2].capitalize()} sailing boats with {colour} sails.",
        "A cat that sleeps on a kitchen chair.",
    )
    return Scene("harbour", canvas.finish(), "What do you see?", answers)


def balloons(chance: random.Random) -> Scene:
    """Hot-air balloons over hills."""
    canvas, count = _Canvas(chance.choice(["day", "sunset"])), chance.randint(2, 4)
    colour, other = _two(chance, ["red", "blue", "yellow", "purple", "green"])
    canvas.hills(chance, 214, 64, (104, 140, 128))
    canvas.hills(chance, 240, 52, (70, 112, 84))
    for x in _places(chance, count):
        y, r = chance.uniform(58, 116), chance.uniform(24, 31)
        canvas.line([(x - r * 0.5, y + r * 0.85), (x - 5, y + r * 1.75)], (60, 50, 46), 1.2)
        canvas.line([(x + r * 0.5, y + r * 0.85), (x + 5, y + r * 1.75)], (60, 50, 46), 1.2)
        canvas.ellipse(x, y, r, r * 1.12, COLOURS[colour])
        canvas.ellipse(x, y, r * 0.42, r * 1.12, COLOURS["white"])
        canvas.polygon(
            [(x - 6, y + r * 1.75), (x + 6, y + r * 1.75), (x + 5, y + r * 2.1), (x - 5, y + r * 2.1)], (112, 76, 48)
        )
    answers = (
        f"There are {NUMBERS[count]}.",
        f"There is {NUMBERS[1]}.",
        f"{NUMBERS[count].capitalize()}. They are {colour} and white, and hang over green hills.",
        f"{NUMBERS[count + 1].capitalize()}. They are {other} and white, and hang over green hills.",
    )
    return Scene("balloons", canvas.finish(), "How many balloons are there?", answers)


def village(chance: random.Random) -> Scene:
    """A house on a hill, with trees."""
    hour = chance.choice(["day", "night"])
    canvas, count = _Canvas(hour), chance.randint(1, 4)
    roof, other = _two(chance, ["red", "blue", "purple"])
    light = COLOURS["yellow"] if hour == "night" else (176, 208, 224)
    canvas.ellipse(320, 44, 18, 18, (250, 240, 200))
    if hour == "night":
        for _ in range(50):
            canvas.ellipse(chance.uniform(0, WIDTH), chance.uniform(0, 130), 0.9, 0.9, (240, 240, 255))
    canvas.hills(chance, 220, 60, (58, 96, 88))
    canvas.polygon([(0, 212), (WIDTH, 196), (WIDTH, HEIGHT), (0, HEIGHT)], (84, 138, 84))
    x = 96.0
    canvas.polygon([(x, 140), (x + 92, 140), (x + 92, 214), (x, 214)], (236, 222, 196))
    canvas.polygon([(x - 12, 142), (x + 46, 96), (x + 104, 142)], COLOURS[roof])
    canvas.polygon([(x + 38, 176), (x + 56, 176), (x + 56, 214), (x + 38, 214)], (110, 72, 50))
    for left in (12, 66):
        canvas.polygon([(x + left, 154), (x + left + 15, 154), (x + left + 15, 171), (x + left, 171)], light)
    for place in range(count):
        tree = 226 + 40 * place + chance.uniform(-6, 6)
        canvas.polygon([(tree - 4, 190), (tree + 4, 190), (tree + 4, 216), (tree - 4, 216)], (96, 66, 46))
        for level in range(3):
            top, half = 128 + 20 * level, 12 + 5 * level
            canvas.polygon([(tree, top), (tree + half, top + 30), (tree - half, top + 30)], (38, 92 + 8 * level, 62))
    trees = f"{NUMBERS[count]} tree{'s' if count > 1 else ''}"
    answers = (
        f"It is {hour}, and beside the house with the {roof} roof stand{'s' if count == 1 else ''} {trees}.",
        f"It is {'day' if hour == 'night' else 'night'}, and beside the house stand {trees}.",
        f"A house with a {other} roof and {trees}.",
        "",
    )
    return Scene("village", canvas.finish(), "Describe the picture.", answers)


def draw_scenes(seed: int) -> list[Scene]:
    """One picture of each kind; the same seed draws the same pictures."""
    return [draw(random.Random(f"{seed} {draw.__name__}")) for draw in (harbour, balloons, village)]
