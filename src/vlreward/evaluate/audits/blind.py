"""Whether preferences come from the picture: what is left of them without it.

A model that looks has no reason to keep its preference: half of them survive by chance. Where words alone tell the
better response, more of them do so rightly, so that the threshold is far above a half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vlreward.data.parts import map_parts
from vlreward.types import Image, Part, Source

from ..blank import blanked
from .audit import Audit, Variant, chance_of
from .measures import KEPT
from .pair import DataSet, LeftOut, Pair, Sides, sides_of
from .pictures import NO_PICTURE, media_in

_TRIES = 50


def _blank(pair: Pair, data: DataSet) -> Sides | LeftOut:
    return _reason(pair) or sides_of(blanked(pair.group, data.limits))


def _swapped(pair: Pair, data: DataSet) -> Sides | LeftOut:
    if reason := _reason(pair):
        return reason
    own = _sources(pair)
    if not own:
        return LeftOut(reason="a video")
    chance = chance_of(pair, "swapped")
    for _ in range(_TRIES):
        others = _sources(data.pairs[chance.below(len(data.pairs))])
        if others and not set(map(_key, own)) & set(map(_key, others)):
            return sides_of(map_parts(pair.group, _dealing(others)))
    return LeftOut(reason="no other picture")


def _reason(pair: Pair) -> LeftOut | None:
    if any(media_in(pair.chosen)) or any(media_in(pair.rejected)):
        # The question is then about what the responses show, which cannot be taken away.
        return LeftOut(reason="pictures in the responses")
    return None if any(media_in(pair.messages)) else NO_PICTURE


def _sources(pair: Pair) -> list[Source]:
    """The prompt's pictures; none where there is a video among them."""
    media = list(media_in(pair.messages))
    return [part.source for part in media] if all(isinstance(part, Image) for part in media) else []


def _key(source: Source) -> object:
    return source if isinstance(source, (str, bytes)) else id(source)


def _dealing(sources: list[Source]) -> Callable[[Part], Part]:
    """Gives pictures these sources in turn."""
    count = 0

    def deal(part: Part) -> Part:
        nonlocal count
        if not isinstance(part, Image):
            return part
        count += 1
        return replace(part, source=sources[(count - 1) % len(sources)])

    return deal


BLIND = Audit(
    name="blind",
    question="Does the preference come from the picture, or does it survive without?",
    measure=KEPT,
    threshold=0.8,
    variants=(
        Variant(name="blank", about="every picture of the prompt is grey", make=_blank),
        Variant(name="swapped", about="the prompt has the pictures of another pair", make=_swapped),
    ),
)
