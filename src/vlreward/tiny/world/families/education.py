"""A pupil's worked answer about a figure, and what a teacher says of it: the feedback that fits the figure wins.

The pupil always calculates well and may misread the figure, so that only the figure tells which feedback is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..chance import Chance
from ..combinations import CHART_SIZES, GRIDS, HELDOUT_GRIDS, HELDOUT_PIES, PIES, Split, palette
from ..draft import Draft, Family, posed, text_draft
from ..numbers import Numbers
from ..scenes import CHART_TOP, Grid, Pie, Scene
from ..wording import Voice, plural
from .charts import PAIRS, chart


@dataclass(frozen=True)
class _Task:
    """A task about a figure that shows two numbers, and the sentences that go with it.

    ``first`` and ``second`` say what the figure really shows in the pupil's place: ``{a}`` and ``{b}``, where the pupil
    wrote ``{was_a}`` and ``{was_b}``.
    """

    question: tuple[str, ...]
    work: tuple[str, ...]
    solution: Callable[[int, int], str]
    first: tuple[str, ...]
    second: tuple[str, ...]


_GRID = _Task(
    ("how many dots are there?", "count the dots by rows."),
    (
        "there are {a} rows of {b} dots, and {solution}.",
        "i see {a} rows with {b} dots in each. {solution}.",
        "{a} rows, {b} dots in a row, {solution}.",
    ),
    lambda rows, columns: f"{rows} x {columns} = {rows * columns}",
    ("there are {a} rows, not {was_a}", "i see {a} rows", "you wrote {was_a} rows where there are {a}"),
    (
        "each row has {b} dots, not {was_b}",
        "i see {b} dots in a row",
        "you wrote {was_b} dots in a row where there are {b}",
    ),
)
_PIE = _Task(
    ("which part of the circle is filled?", "write the filled part of the circle as a fraction."),
    (
        "{a} of {b} equal parts {are} filled, so it is {solution}.",
        "the circle has {b} parts and {a} {are} filled: {solution}.",
        "filled {a}, parts {b}, {solution}.",
    ),
    lambda filled, parts: f"{filled}/{parts}",
    (
        "{a} {parts} {are} filled, not {was_a}",
        "i see {a} filled {parts}",
        "you wrote {was_a} filled {were} where there {are} {a}",
    ),
    (
        "the circle has {b} parts, not {was_b}",
        "i see {b} parts in all",
        "you wrote {was_b} parts in all where there are {b}",
    ),
)
_PRAISE = (
    "well done, that is right.",
    "that is right: {solution}.",
    "correct, you have read the figure well.",
    "very good! {solution} is the right answer.",
    "all right, and well explained: {solution}.",
)
_CORRECTIONS = (
    "not quite: {point}. so {solution}.",
    "almost! {point}, so the answer is {solution}.",
    "look again: {point}.",
    "{point}. try again.",
    "a good try, but {point}. it should be {solution}.",
)
_PROMPTS = (
    'the task: {question} a pupil wrote: "{work}" give feedback.',
    'a pupil was asked: {question} the answer was: "{work}" what do you say to the pupil?',
    '{question} "{work}" says a pupil. is it right?',
)


def make(chance: Chance, split: Split) -> Draft:
    """Feedback on dots in rows, on a part of a circle, or on two bars of a chart."""
    return chance.choice((_grid, _pie, _bars))(chance, split)


def _grid(chance: Chance, split: Split) -> Draft:
    def draw(numbers: Numbers) -> Scene:
        return Grid(chance.choice(palette(split)), *numbers)

    return _feedback(chance, _GRID, _around(chance, GRIDS, HELDOUT_GRIDS, split), draw)


def _pie(chance: Chance, split: Split) -> Draft:
    def draw(numbers: Numbers) -> Scene:
        return Pie(chance.choice(palette(split)), *numbers, turn=30 * chance.below(12))

    return _feedback(chance, _PIE, _around(chance, PIES, HELDOUT_PIES, split), draw)


def _bars(chance: Chance, split: Split) -> Draft:
    one, other, *rest = chance.sample(palette(split), chance.choice(CHART_SIZES[split]))
    task = _Task(
        (f"what do the {one} bar and the {other} bar add up to?", f"add the {one} bar and the {other} bar."),
        (
            f"the {one} bar is {{a}} and the {other} bar is {{b}}. {{solution}}.",
            f"{one} {{a}}, {other} {{b}}, {{solution}}.",
        ),
        lambda i, j: f"{i} + {j} = {i + j}",
        (f"the {one} bar is {{a}}, not {{was_a}}", f"the {one} bar reaches {{a}}", f"i read {{a}} at the {one} bar"),
        (
            f"the {other} bar is {{b}}, not {{was_b}}",
            f"the {other} bar reaches {{b}}",
            f"i read {{b}} at the {other} bar",
        ),
    )

    def draw(numbers: Numbers) -> Scene:
        known = dict(zip((one, other), numbers, strict=True))
        return chart(chance, (one, other, *rest), known, 1, CHART_TOP)

    return _feedback(chance, task, _around(chance, PAIRS, frozenset(), split), draw)


def _around(chance: Chance, every: Sequence[Numbers], heldout: frozenset[Numbers], split: Split) -> tuple[Numbers, ...]:
    """What the pupil wrote, and three other things that the figure might show, each different in one number.

    In training none of the four is held out; in the held-out world what the pupil wrote is, and others may be.
    """
    allowed = tuple(numbers for numbers in every if split == "heldout" or numbers not in heldout)
    written = sorted(heldout) if heldout and split == "heldout" else allowed
    near = {wrote: [other for other in allowed if _is_near(wrote, other)] for wrote in written}
    wrote = chance.choice([wrote for wrote in written if len(near[wrote]) >= 3])
    return (wrote, *chance.sample(near[wrote], 3))


def _is_near(one: Numbers, other: Numbers) -> bool:
    """Whether one of the numbers is the same and the other one not far off."""
    return one != other and (one[0] == other[0] or one[1] == other[1]) and abs(sum(one) - sum(other)) <= 3


def _figures(numbers: Numbers) -> dict[str, object]:
    """The two numbers, and the verb and noun that go with the first."""
    are = "is" if numbers[0] == 1 else "are"
    return {"a": numbers[0], "b": numbers[1], "are": are, "parts": plural("part", numbers[0])}


def _feedback(chance: Chance, task: _Task, options: Sequence[Numbers], draw: Callable[[Numbers], Scene]) -> Draft:
    wrote = options[0]

    def say(numbers: Numbers, voice: Voice) -> str:
        solution = task.solution(*numbers)
        if numbers == wrote:
            return voice.say(_PRAISE, solution=solution)
        templates = task.first if numbers[0] != wrote[0] else task.second
        point = voice.say(templates, was_a=wrote[0], was_b=wrote[1], were=plural("part", wrote[0]), **_figures(numbers))
        return voice.say(_CORRECTIONS, point=point, solution=solution)

    def fault(truth: Numbers, said: Numbers) -> str:
        if said == wrote:
            return "omission"
        if truth == wrote:
            return "hallucination"
        return "number" if (truth[0] == wrote[0]) == (said[0] == wrote[0]) else "step"

    truth, right, wrong = posed(chance, options, say, fault)
    pupil = Voice(chance.key())
    work = pupil.say(task.work, solution=task.solution(*wrote), **_figures(wrote))
    prompt = pupil.say(_PROMPTS, question=pupil.pick(task.question), work=work)
    return text_draft((draw(truth), prompt), right, wrong)


FAMILY = Family("education", "education", make)
