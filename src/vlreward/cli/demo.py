"""``vlreward demo``: pictures drawn a moment ago, right and wrong answers, and what the bundled model makes of them."""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError

from . import loading
from .options import ModelOptions, positive_integer

if TYPE_CHECKING:
    from vlreward.engines.base import Engine
    from vlreward.tiny.world import Item

NAME = "demo"
FAMILIES = ("captions", "signs", "charts", "reasoning", "robotics")
"""Some of the eleven, few enough to be read."""
LARGE = 448
"""Pixels of the sides of the pictures that are written for people."""
_BUNDLED = (
    "The bundled tiny model is an instrument that proves the machinery: at home in this rendered world only, and no "
    "judge of photographs."
)
_OTHER = "The scenes are the home of the bundled tiny model, not of {}: how it does here says little of photographs."


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="draw scenes, score answers to them with the bundled model; add an answer of your own",
        description="Draw scenes that were in no training, score right and wrong answers to them with the bundled tiny "
        "model, and the same answers with the picture blanked. The model is an instrument that proves the machinery: "
        "it is at home in its rendered world only and no judge of photographs.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--seed", type=int, metavar="S", help="draw these scenes again (default: new ones)")
    parser.add_argument(
        "--response", "-r", action="append", default=[], metavar="TEXT", help="an answer of your own; repeatable"
    )
    parser.add_argument(
        "--item", type=positive_integer, metavar="K", help="show scene K only; --response then answers this one"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", default=Path("build/demo"), help="for the pictures (default: %(default)s)"
    )
    parser.add_argument("--model", "-m", metavar="M", help="folder or hub id (default: the bundled tiny reward model)")
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer to a scene and its rewards."""

    text: str
    right: bool | None
    """None for a visitor's own, of which nobody knows."""
    fault: str | None
    """What is wrong with it, for one of the world's wrong answers."""
    rank: int
    """1 the best; answers of equal reward share the better place."""
    reward: float
    blank: float
    """The reward with the pictures blanked."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A scene, and its answers from best to worst."""

    number: int
    item: Item
    answers: tuple[Answer, ...]
    files: tuple[Path, ...] = ()
    """The pictures, large."""

    @property
    def is_right(self) -> bool:
        """Whether the right answer is above all of the world's wrong ones."""
        return _is_best([(answer.right, answer.reward) for answer in self.answers])

    @property
    def is_right_blank(self) -> bool:
        """The same with the pictures blanked."""
        return _is_best([(answer.right, answer.blank) for answer in self.answers])


def _is_best(answers: Sequence[tuple[bool | None, float]]) -> bool:
    (right,) = (value for is_right, value in answers if is_right)
    return all(right > value for is_right, value in answers if is_right is False)


def run(args: argparse.Namespace) -> int:
    """Draw, score, show."""
    from .notes import show_notes

    show_notes()
    seed = secrets.randbelow(1_000_000) if args.seed is None else args.seed
    chosen = _chosen(args.item)
    model = args.model or _bundled()
    engine = _engine(model, "auto" if args.model else "float32")  # that every machine shows the same
    scenes = [_scored(engine, number, item, args.response) for number, item in _items(seed, chosen)]
    args.out.mkdir(parents=True, exist_ok=True)
    scenes = [replace(scene, files=_write_pictures(scene, args.out)) for scene in scenes]
    if args.json:
        head = {"seed": seed, "model": model, "folder": str(args.out), "about": about(args.model)}
        print(json.dumps({**head, "scenes": list(map(_plain, scenes))}, ensure_ascii=False))
        return 0
    from .demo_table import show
    from .tables import console

    show(console(), scenes, seed=seed, model=args.model, folder=args.out)
    return 0


def about(model: str | None) -> str:
    """What the rewards of a model are worth; None is the bundled one."""
    return _BUNDLED if model is None else _OTHER.format(model)


def _bundled() -> str:
    from vlreward.tiny.bundled import bundled_model

    return str(bundled_model())


def _engine(model: str, dtype: str = "auto") -> Engine:
    from vlreward.engines.local import LocalEngine

    return LocalEngine(loading.load_model(ModelOptions(model=model, dtype=dtype)))


def _chosen(number: int | None) -> Sequence[int]:
    """Numbers of the scenes to show."""
    everything = range(1, len(FAMILIES) + 1)
    if number is not None and number not in everything:
        raise ConfigError(f"--item {number}: there are scenes 1 to {len(FAMILIES)}")
    return everything if number is None else [number]


def _items(seed: int, chosen: Sequence[int]) -> Iterator[tuple[int, Item]]:
    """One scene of each family, numbered in the order of `FAMILIES`."""
    from vlreward.tiny.world import World

    world = World(seed, "heldout", FAMILIES)
    by_family = {item.family: item for item in world.items(len(FAMILIES))}
    return ((number, by_family[FAMILIES[number - 1]]) for number in chosen)


def _scored(engine: Engine, number: int, item: Item, own: Sequence[str]) -> Shown:
    """A scene with the world's answers and the visitor's, best first."""
    from vlreward.types import Group

    from .tables import one_line

    def group(item: Item) -> Group:
        return Group(item.messages, [item.right, *(wrong.response for wrong in item.wrong), *own], id=item.id)

    asked = group(item)
    seen, blank = (reward.rewards for reward in engine.score([asked, group(item.blanked())]))
    verdicts = [(True, None), *((False, wrong.fault) for wrong in item.wrong), *((None, None) for _ in own)]
    answers = [
        Answer(
            text=one_line(response),
            right=right,
            fault=fault,
            rank=1 + sum(other > reward for other in seen),
            reward=reward,
            blank=blind,
        )
        for response, (right, fault), reward, blind in zip(asked.responses, verdicts, seen, blank, strict=True)
    ]
    return Shown(number=number, item=item, answers=tuple(sorted(answers, key=lambda answer: answer.rank)))


def _write_pictures(scene: Shown, folder: Path) -> tuple[Path, ...]:
    """What the scene shows, drawn large: the model sees the same at 112 pixels."""
    from vlreward.tiny.world import render

    several = len(scene.item.scenes) > 1
    files = []
    for i, drawn in enumerate(scene.item.scenes, start=1):
        path = folder / f"{scene.number}-{scene.item.family}{f'-{i}' if several else ''}.png"
        render(drawn, LARGE).save(path)
        files.append(path)
    return tuple(files)


def _plain(scene: Shown) -> dict[str, Any]:
    from .tables import one_line

    return {
        "number": scene.number,
        "family": scene.item.family,
        "task": scene.item.task,
        "prompt": one_line(scene.item.messages),
        "pictures": [str(path) for path in scene.files],
        "answers": [asdict(answer) for answer in scene.answers],
    }
