"""The world itself: items by their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PIL import Image as PILImage

from vlreward.errors import ConfigError, describe_unknown
from vlreward.types import Group, Image, Message, Part, Ranking, Response, Text, Video

from .chance import Chance
from .combinations import SPLITS, Split
from .draft import Answer, Clip, Draft, Piece
from .families import FAMILIES
from .inventory import ANY_ORDER, KINDS, QUESTION, hue, kinds, lesson, mistold, things, told
from .item import Item, Wrong
from .paint import SMALLEST, render
from .paint.palette import turned_picture
from .scenes import UNITS, Scene


class World:
    """An endless, random-access source of items.

    Args:
        seed: one world from another.
        split: ``train``, or ``heldout``: other items, of combinations (colours of shapes, numbers of bars, words) that
            are nowhere in training; or ``practice``: for training too, with more colours, numbers and names than tasks
            have, and without what is held out.
        families: names of families, all unless told; a name given twice comes twice as often.
        size: pixels of a picture's side; items are the same at every size.

    Raises:
        ConfigError: no such split or family, no family at all, or pictures too small.
    """

    def __init__(
        self, seed: int = 0, split: Split = "train", families: Sequence[str] | None = None, size: int = UNITS
    ) -> None:
        if split not in SPLITS:
            raise ConfigError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
        self.families = tuple(FAMILIES) if families is None else tuple(families)
        for name in self.families:
            if name not in FAMILIES:
                raise ConfigError(f"families of the world: {describe_unknown(name, FAMILIES)}")
        if not self.families:
            raise ConfigError("families of the world: none are named; leave it out for all of them")
        if size < SMALLEST:
            raise ConfigError(f"pictures of {size} pixels are too small to see anything; use {SMALLEST} or more")
        self.seed = seed
        self.split: Split = split
        self.size = size

    def item(self, index: int) -> Item:
        """The item of this number, from 0; it depends on nothing but the number, the seed, the split and the families.

        Raises:
            ConfigError: ``index`` is negative.
        """
        draft, name = self._draft(index)
        return self._finished(draft, name, index)

    def inventory(self, index: int, n_wrong: int = 0, *, shuffled: bool = False) -> Ranking:
        """A question about a picture of this item, with some of its things: all are to be named.

        An item without a picture gives its own question and responses.

        Args:
            index: from 0.
            n_wrong: how many wrong responses at most, beside the right one, which is the first.
            shuffled: in any order, the same in all responses, rather than in a fixed one.

        Raises:
            ConfigError: ``index`` is negative.
        """
        draft, name = self._draft(index)
        scenes = _scenes(draft.prompt)
        if not scenes:
            item = self._finished(draft, name, index)
            return _ranking(item.messages, (item.right, *(wrong.response for wrong in item.wrong[:n_wrong])), item.id)
        chance = Chance(self.seed, self.split, "inventory", index)
        scene = lesson(chance, chance.choice(scenes), self.split)
        picture, shown = self._picture(scene), things(scene)
        if self.split == "practice" and any(colour for colour, _ in shown) and chance.coin():
            picture, asked = turned_picture(picture, hue(chance, shown)), KINDS
            texts = kinds(chance, shown, n_wrong)
        else:
            order, asked = (index, ANY_ORDER) if shuffled else (None, QUESTION)
            texts = [told(scene, order), *mistold(chance, scene, self.split, n_wrong, order)]
        responses = [(self._message("assistant", (text,)),) for text in texts]
        question = Message("user", (Image(source=picture), Text(text=asked)))
        return _ranking((question,), responses, f"inventory-{self.split}-{self.seed}-{index}")

    def items(self, count: int, start: int = 0) -> Iterator[Item]:
        """``count`` items from number ``start`` on."""
        return map(self.item, range(start, start + count))

    def __iter__(self) -> Iterator[Item]:
        index = 0
        while True:
            yield self.item(index)
            index += 1

    def _draft(self, index: int) -> tuple[Draft, str]:
        """An item's draft and family."""
        name = self._family(index)
        return FAMILIES[name].make(Chance(self.seed, self.split, name, index), self.split), name

    def _family(self, index: int) -> str:
        """All families in turn, in an order that is new in every round."""
        if index < 0:
            raise ConfigError(f"items of the world are numbered from 0, got {index}")
        turn, at = divmod(index, len(self.families))
        return Chance(self.seed, self.split, "order", turn).shuffled(self.families)[at]

    def _finished(self, draft: Draft, name: str, index: int) -> Item:
        wrong = tuple(Wrong(self._response(answer), fault) for answer, fault in draft.wrong)
        roles = ("user", "assistant")
        return Item(
            id=f"{self.split}-{self.seed}-{index}",
            family=name,
            task=FAMILIES[name].task,
            messages=(self._message("user", draft.prompt),),
            right=self._response(draft.right),
            wrong=wrong,
            key=draft.key,
            scenes=_scenes(draft.prompt),
            answer_scenes=_scenes(draft.right) + tuple(s for answer, _ in draft.wrong for s in _scenes(answer)),
            lesson=tuple(self._message(roles[i % 2], turn) for i, turn in enumerate(draft.lesson)),
        )

    def _response(self, answer: Answer) -> Response:
        return (self._message("assistant", answer),)

    def _message(self, role: str, pieces: Answer) -> Message:
        if len(pieces) == 1 and isinstance(pieces[0], str):
            return Message(role, pieces[0])
        return Message(role, tuple(map(self._part, pieces)))

    def _part(self, piece: Piece) -> Part:
        if isinstance(piece, str):
            return Text(text=piece)
        if isinstance(piece, Clip):
            return Video(source=tuple(map(self._picture, piece.frames)))
        return Image(source=self._picture(piece))

    def _picture(self, scene: Scene) -> PILImage.Image:
        return render(scene, self.size)


def _ranking(messages: tuple[Message, ...], responses: Sequence[Response], name: str) -> Ranking:
    """The first response against all others."""
    return Ranking(group=Group(messages, responses, id=name), ranks=(0, *[1] * (len(responses) - 1)))


def _scenes(pieces: Answer) -> tuple[Scene, ...]:
    found: list[Scene] = []
    for piece in pieces:
        if isinstance(piece, Clip):
            found += piece.frames
        elif not isinstance(piece, str):
            found.append(piece)
    return tuple(found)
