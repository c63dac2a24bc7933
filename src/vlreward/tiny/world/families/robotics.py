"""A command to a robot, and its table before and after: was it done?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..chance import Chance
from ..combinations import TABLE_NOUNS, Pair, Split, pairs
from ..draft import Clip, Draft, Family, posed, text_draft
from ..scenes import CONTAINERS, TABLE_TOP, Container, Table, TableThing
from ..wording import Voice

_WALLS = 3
_HEIGHT = 22
_INSIDE = TABLE_TOP - 8
_LIFTED = 64
_SHIFT = 20


@dataclass(frozen=True)
class Outcome:
    """What came of a command: ``did`` says it of a thing, and the thing that it was done with stands second."""

    thing: Pair | None
    where: str
    after: Table


@dataclass(frozen=True)
class _Trial:
    """A command, the table before it, and four outcomes, of which the first is the one that was wanted."""

    command: tuple[str, ...]
    before: Table
    outcomes: tuple[Outcome, ...]


def make(chance: Chance, split: Split) -> Draft:
    """Put in, stack, push or lift: done, done with another thing, done to another place, or not done at all."""
    trial = chance.choice((_put_in, _stack, _push, _lift))(chance, split)
    wanted = trial.outcomes[0]

    def say(outcome: Outcome, voice: Voice) -> str:
        return _report(outcome, wanted, voice)

    outcome, right, wrong = posed(chance, trial.outcomes, say, _fault)
    frames = (
        trial.before,
        replace(outcome.after, gripper=chance.whole(24, 88)) if not _held(outcome) else outcome.after,
    )
    as_video = chance.coin(0.25)
    templates = _VIDEO_PROMPTS if as_video else _PICTURE_PROMPTS
    prompt = chance.choice(templates).format(command=chance.choice(trial.command))
    pieces = (Clip(frames), prompt) if as_video else (*frames, prompt)
    return text_draft(pieces, right, wrong, "yes" if outcome == wanted else "no")


def _held(outcome: Outcome) -> bool:
    return any(thing.held for thing in outcome.after.things)


_PICTURE_PROMPTS = (
    "the first picture is before, the second after. the command was: {command}. was it done?",
    'before and after the command "{command}". did the robot do it?',
    "a robot was told: {command}. compare the two pictures. is it done?",
)
_VIDEO_PROMPTS = (
    "the command was: {command}. was it done in the video?",
    'the video shows the command "{command}". did the robot do it?',
    "a robot was told: {command}. look at the video. is it done?",
)
_DONE = (
    "yes, the {thing} is {where} now.",
    "yes, it is done: the {thing} is {where}.",
    "yes, the robot has the {thing} {where}.",
    "yes. the {thing} is {where}.",
)
_OTHERWISE = (
    "no, the {thing} is {where} now.",
    "no, it went wrong: the {thing} is {where}.",
    "no, the robot has the {thing} {where}.",
    "no. the {thing} is {where}.",
)
_NOTHING = (
    "no, nothing has moved.",
    "no, all is as it was before.",
    "no. the robot did not move a thing.",
    "no, nothing has changed.",
)


def _report(outcome: Outcome, wanted: Outcome, voice: Voice) -> str:
    if outcome.thing is None:
        return voice.say(_NOTHING)
    templates = _DONE if outcome == wanted else _OTHERWISE
    return voice.say(templates, thing=outcome.thing, where=outcome.where)


def _fault(truth: Outcome, said: Outcome) -> str:
    if said.thing is None:
        return "omission"
    if truth.thing is None:
        return "hallucination"
    return "object" if truth.thing != said.thing else "relation"


def _with(table: Table, thing: TableThing, **changes: object) -> Table:
    """The table with one thing changed."""
    changed = replace(thing, **changes)  # type: ignore[arg-type]
    return replace(table, things=tuple(changed if other is thing else other for other in table.things))


def _table(
    chance: Chance, chosen: Sequence[Pair], places: Sequence[int], containers: tuple[Container, ...] = ()
) -> Table:
    things = tuple(TableThing(pair, x, TABLE_TOP) for pair, x in zip(chosen, places, strict=True))
    return Table(chance.below(_WALLS), things, containers, chance.whole(24, 88))


def _put_in(chance: Chance, split: Split) -> _Trial:
    chosen = chance.sample(pairs(split, TABLE_NOUNS), 2)
    target, wrong = chance.sample(CONTAINERS, 2)
    sides = chance.shuffled((18, 94))
    containers = (Container(target, sides[0]), Container(wrong, sides[1]))
    before = _table(chance, chosen, chance.shuffled((45, 68)), containers)
    thing, other = before.things

    def into(moved: TableThing, container: Container) -> Outcome:
        after = _with(before, moved, x=container.x, y=_INSIDE, inside=container.noun)
        return Outcome(moved.pair, f"in the {container.noun}", after)

    command = (
        f"put the {thing.pair} in the {target}",
        f"place the {thing.pair} in the {target}",
        f"move the {thing.pair} into the {target}",
    )
    wanted = into(thing, containers[0])
    return _Trial(command, before, (wanted, into(other, containers[0]), into(thing, containers[1]), _still(before)))


def _still(before: Table) -> Outcome:
    return Outcome(None, "", before)


def _stack(chance: Chance, split: Split) -> _Trial:
    blocks = chance.sample([pair for pair in pairs(split, TABLE_NOUNS) if pair.noun == "block"], 2)
    mover = chance.choice([pair for pair in pairs(split, TABLE_NOUNS) if pair not in blocks])
    before = _table(chance, [mover, *blocks], chance.shuffled((22, 56, 90)))
    thing, base, third = before.things

    def onto(moved: TableThing, under: TableThing) -> Outcome:
        after = _with(before, moved, x=under.x, y=TABLE_TOP - _HEIGHT)
        return Outcome(moved.pair, f"on the {under.pair}", after)

    command = (
        f"put the {thing.pair} on the {base.pair}",
        f"place the {thing.pair} on the {base.pair}",
        f"move the {thing.pair} onto the {base.pair}",
    )
    return _Trial(command, before, (onto(thing, base), onto(third, base), onto(thing, third), _still(before)))


def _push(chance: Chance, split: Split) -> _Trial:
    chosen = chance.sample(pairs(split, TABLE_NOUNS), 2)
    before = _table(chance, chosen, chance.shuffled((34, 78)))
    thing, other = before.things
    direction, opposite = chance.shuffled(("left", "right"))

    def pushed(moved: TableThing, where: str) -> Outcome:
        after = _with(before, moved, x=moved.x + (_SHIFT if where == "right" else -_SHIFT))
        return Outcome(moved.pair, f"further to the {where}", after)

    command = (
        f"push the {thing.pair} to the {direction}",
        f"move the {thing.pair} to the {direction}",
        f"slide the {thing.pair} to the {direction}",
    )
    outcomes = (pushed(thing, direction), pushed(other, direction), pushed(thing, opposite), _still(before))
    return _Trial(command, before, outcomes)


def _lift(chance: Chance, split: Split) -> _Trial:
    chosen = chance.sample(pairs(split, TABLE_NOUNS), 3)
    before = _table(chance, chosen, (22, 56, 90))
    thing, *others = chance.shuffled(before.things)

    def lifted(moved: TableThing) -> Outcome:
        after = replace(_with(before, moved, y=_LIFTED, held=True), gripper=moved.x)
        return Outcome(moved.pair, "in the gripper", after)

    command = (f"pick up the {thing.pair}", f"lift the {thing.pair}", f"take the {thing.pair}")
    return _Trial(command, before, (lifted(thing), *map(lifted, others), _still(before)))


FAMILY = Family("robotics", "robotics", make)
