"""One example of the world: a question with pictures, the right response, and wrong ones."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from PIL import Image as PILImage

from vlreward.errors import ConfigError
from vlreward.types import Group, Image, Message, Part, Ranking, Response, Video

from .chance import Chance
from .scenes import Scene

FAULTS = (
    "hallucination",
    "omission",
    "object",
    "attribute",
    "number",
    "relation",
    "word",
    "step",
    "no change",
    "extra change",
)
"""What can be wrong with a response.

Something is spoken of that is not there, or something that is there is left out (where everything was asked for); it is
another object, colour or size, number, or place; the sign is misread; the conclusion is right but a step towards it is
not; an edited picture is as it was, or has a second change.
"""

GREY = (128, 128, 128)
"""What a picture is blanked with."""


@dataclass(frozen=True)
class Wrong:
    """A wrong response and the kind of its fault, one of `FAULTS`."""

    response: Response
    fault: str


@dataclass(frozen=True, eq=False)
class Item:
    """One example.

    Pictures are PIL images in mode RGB inside the messages' parts.
    """

    id: str
    """Split, seed and index: enough to make it again."""
    family: str
    task: str
    messages: tuple[Message, ...]
    """The conversation up to the response."""
    right: Response
    wrong: tuple[Wrong, ...]
    """Three or more, each different from the right one and false."""
    key: str | None
    """The right answer in short, where there is one: a number, "yes", a colour, a word."""
    scenes: tuple[Scene, ...]
    """What the prompt's pictures show, in their order."""
    answer_scenes: tuple[Scene, ...] = ()
    """Where responses are pictures: what the right one and then each wrong one shows."""
    lesson: tuple[Message, ...] = ()
    """Where the right response is a picture: a conversation about such pictures that ends in words."""

    def group(self, n_wrong: int | None = None, seed: int = 0) -> Ranking:
        """The right response among wrong ones, in an order that says nothing.

        Args:
            n_wrong: how many wrong responses; all of them unless told.
            seed: chooses which, and the order, together with the item's id.

        Returns:
            A ranking whose best response, rank 0, is the right one, and all others have rank 1.

        Raises:
            ConfigError: the item has fewer wrong responses than that.
        """
        wanted = len(self.wrong) if n_wrong is None else n_wrong
        if not 1 <= wanted <= len(self.wrong):
            raise ConfigError(f"item {self.id}: {wanted} wrong responses wanted; it has {len(self.wrong)}")
        chance = Chance("group", self.id, seed)
        chosen = chance.sample(self.wrong, wanted)
        entries = [(self.right, 0)] + [(wrong.response, 1) for wrong in chosen]
        entries = chance.shuffled(entries)
        group = Group(self.messages, [response for response, _ in entries], id=self.id, task=self.task)
        return Ranking(group=group, ranks=tuple(rank for _, rank in entries))

    def chat(self) -> tuple[Message, ...]:
        """The prompt and the right response, for training a language model.

        Where the response is a picture, the conversation goes on with a question about it and ends in words, so that
        there is something to learn; that picture is the right one or a wrong one, and the words say what it shows.
        """
        return self.lesson or self.messages + self.right

    def blanked(self) -> Item:
        """The same item with every picture, in prompt and responses, replaced by a uniform grey one of its size."""
        return replace(
            self,
            messages=_blanked(self.messages),
            right=_blanked(self.right),
            wrong=tuple(replace(wrong, response=_blanked(wrong.response)) for wrong in self.wrong),
            lesson=_blanked(self.lesson),
        )


def _blanked(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple(
        message if isinstance(message.content, str) else Message(message.role, tuple(map(_blank_part, message.content)))
        for message in messages
    )


def _blank_part(part: Part) -> Part:
    if isinstance(part, Image):
        return replace(part, source=_grey(part.source.size))
    if isinstance(part, Video):
        return replace(part, source=tuple(_grey(frame.size) for frame in part.source))
    return part


@functools.lru_cache(maxsize=8)
def _grey(size: tuple[int, int]) -> PILImage.Image:
    return PILImage.new("RGB", size, GREY)
