"""What a family writes: an item whose pictures are still scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from .chance import Chance
from .combinations import Split
from .scenes import Scene
from .wording import Voice, voices

T = TypeVar("T")


@dataclass(frozen=True)
class Clip:
    """Scenes that are the frames of a video."""

    frames: tuple[Scene, ...]


Piece: TypeAlias = str | Scene | Clip
Answer: TypeAlias = tuple[Piece, ...]


@dataclass(frozen=True)
class Draft:
    """A family's item: prompt, right answer, wrong answers with the kind of their fault, and the answer key."""

    prompt: Answer
    right: Answer
    wrong: tuple[tuple[Answer, str], ...]
    key: str | None = None
    lesson: tuple[Answer, ...] = ()
    """Turns of user and assistant, if the right answer is a picture."""


@dataclass(frozen=True)
class Family:
    """A kind of task in the world.

    ``make`` draws one item; ``sees`` says whether its pictures are needed to tell right from wrong.
    """

    name: str
    task: str
    make: Callable[[Chance, Split], Draft]
    sees: bool = True


def text_draft(prompt: Answer, right: str, wrong: Iterable[tuple[str, str]], key: str | None = None) -> Draft:
    """A draft whose answers are text; a wrong answer that has been said already is left out."""
    said = {right}
    kept: list[tuple[Answer, str]] = []
    for text, fault in wrong:
        if text not in said:
            said.add(text)
            kept.append(((text,), fault))
    return Draft(prompt, (right,), tuple(kept), key)


def posed(
    chance: Chance,
    candidates: Sequence[T],
    say: Callable[[T, Voice], str],
    fault: Callable[[T, T], str],
) -> tuple[T, str, list[tuple[str, str]]]:
    """Choose which of the candidates is true, and say them all.

    Every candidate is as likely to be true as any other, so that the words alone tell nothing: the scene is made for
    the one that is chosen.

    Args:
        chance: where to draw from.
        candidates: facts of which one will hold, all different.
        say: puts a fact into words.
        fault: the kind of fault if the first holds and the second is said.

    Returns:
        What is true, the right answer, and the wrong answers with their faults.
    """
    order = chance.shuffled(candidates)
    spoken = [say(fact, voice) for fact, voice in zip(order, voices(chance, len(order)), strict=True)]
    truth = order[0]
    wrong = [(text, fault(truth, fact)) for fact, text in zip(order[1:], spoken[1:], strict=True)]
    return truth, spoken[0], wrong
