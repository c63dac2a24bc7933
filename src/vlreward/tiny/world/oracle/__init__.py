"""Whether a response is right, found from what the scene holds and what the words say.

Nothing here knows how responses are made: sentences are read for their colours, numbers, things and places, and each
statement is held against the scene. It checks the generator, and it judges what a policy writes.
"""

from __future__ import annotations

from vlreward.types import Message, Text

from ..item import Item
from ..scenes import Chart, Dice, Grid, Pie, Scene, Shapes, Sign, Street, Table
from . import edits, figures, places, plain, shapes


def is_right(item: Item, response: str | Scene) -> bool:
    """Judge a response to an item of the world.

    Args:
        item: the question and its scenes.
        response: the words of an answer, or the scene of an edited picture.

    Returns:
        Whether it answers the question and all that it says is true; a response that says nothing that can be
        understood is not right.
    """
    question = question_of(item)
    if not isinstance(response, str):
        before = item.scenes[0]
        return isinstance(before, Shapes) and isinstance(response, Shapes) and edits.edited(before, question, response)
    if item.family == "education":
        figure = item.scenes[0]
        return isinstance(figure, Grid | Pie | Chart) and figures.taught(figure, question, response)
    match item.scenes:
        case ():
            return plain.answered(question, response)
        case (Table() as before, Table() as after):
            return places.done(before, after, question, response)
        case (Street() as street,):
            return places.described(street, response)
        case (Sign() as sign,):
            return figures.read(sign, question, response)
        case (Chart() as chart,):
            return figures.charted(chart, question, response)
        case (Dice() as dice,):
            return figures.thrown(dice, response)
        case (Shapes() as scene,):
            return _about_shapes(item.family, scene, question, response)
    return False


def _about_shapes(family: str, scene: Shapes, question: str, text: str) -> bool:
    if family == "captions":
        return shapes.caption(scene, text)
    if family == "counting":
        return shapes.counted(scene, question, text)
    if family == "relations":
        return shapes.related(scene, question, text)
    if "last" in question:
        return shapes.ends_of_row(scene, text)
    return family == "reasoning" and shapes.more(scene, question, text)


def question_of(item: Item) -> str:
    """The words of the prompt."""
    return words_of(item.messages)


def words_of(messages: tuple[Message, ...]) -> str:
    """All text of some messages, without their pictures."""
    return " ".join(part.text for message in messages for part in message.parts if isinstance(part, Text))
