"""Whether it is noticed that a right response now says something that is not there."""

from __future__ import annotations

from collections.abc import Callable

from vlreward.tiny.world.chance import Chance

from .audit import Audit, Variant, chance_of
from .measures import UNNOTICED
from .pair import Conversation, DataSet, LeftOut, Pair, Sides, answer_text, with_answer
from .pictures import NO_PICTURE, media_in
from .swaps import swap_colour, swap_number, swap_object, swap_place


def _variant(kind: str, swap: Callable[[str, Chance], str | None]) -> Variant:
    def make(pair: Pair, _data: DataSet) -> Sides | LeftOut:
        if not any(media_in(pair.messages)):
            return NO_PICTURE
        swapped = swap(answer_text(pair.chosen) or "", chance_of(pair, kind))
        if swapped is None:
            return LeftOut(reason=f"no {kind} to swap")
        false = with_answer(pair.chosen, lambda _: swapped)
        return pair.sides._replace(rejected=Conversation(pair.messages, false))

    return Variant(name=kind, about=f"the right response against itself with another {kind}", make=make)


HALLUCINATION = Audit(
    name="hallucination",
    question="Is it noticed when one fact of the right response is swapped?",
    measure=UNNOTICED,
    threshold=0.25,
    variants=(
        _variant("colour", swap_colour),
        _variant("number", swap_number),
        _variant("place", swap_place),
        _variant("object", swap_object),
    ),
)
