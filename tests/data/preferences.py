"""Random rankings, and when two of them are the same."""

from __future__ import annotations

import base64
import os
from typing import Any

from hypothesis import strategies as st

from vlreward.types import Group, Image, Message, Ranking, Text, Video

# Line breaks, brackets, marks' pieces and labels of LLaVA-Critic are what formats stumble over.
text = st.one_of(
    st.text(max_size=8),
    st.lists(st.sampled_from(["<image", ">", "[", "]", "\n", "Response 1: [", "The second response: [", " ", "a"])).map(
        "".join
    ),
)
plain = st.text(alphabet="abc é\n", max_size=8)
path = st.from_regex(r"[a-z]{1,6}(/[a-z]{1,4})?\.png", fullmatch=True)
source = st.one_of(path, path.map("/abs/{}".format), path.map("https://x.org/{}".format), st.binary(min_size=1))
images = source.map(lambda value: Image(source=value))
limits = st.fixed_dictionaries({}, optional={name: st.integers(1, 10**9) for name in ("min_pixels", "max_pixels")})
videos = st.one_of(path, st.lists(path, min_size=1, max_size=3).map(tuple)).map(lambda value: Video(source=value))
parts = st.one_of(
    text.map(lambda value: Text(text=value)),
    images,
    images,
    videos,
    st.builds(lambda source, limits: Image(source=source, **limits), source, limits),
)
content = st.one_of(text, st.lists(parts, max_size=3).map(tuple))
answer = st.builds(lambda value: (Message("assistant", value),), content)
message = st.builds(Message, st.sampled_from(["system", "user", "user", "assistant", "tool"]), content)
response = st.one_of(
    answer, answer, st.builds(lambda turns, last: (*turns, *last), st.lists(message, max_size=2).map(tuple), answer)
)
margins = st.none() | st.floats(-1e6, 1e6)


def make(messages: Any, responses: Any, ranks: Any, margin: float | None, task: str | None = None) -> Ranking:
    """A ranking without an id."""
    return Ranking(group=Group(messages, responses, task=task), ranks=tuple(ranks), margin=margin)


anything = st.integers(1, 4).flatmap(
    lambda count: st.builds(
        make,
        st.lists(message, max_size=3),
        st.lists(response, min_size=count, max_size=count),
        st.lists(st.integers(0, 3), min_size=count, max_size=count).map(lambda ranks: [r - min(ranks) for r in ranks]),
        margins,
        st.none() | plain,
    )
)
"""Anything that there can be; most formats hold little of it."""

asked = st.one_of(
    text, plain, st.lists(st.one_of(text.map(lambda value: Text(text=value)), images, videos), max_size=3).map(tuple)
)
dialogues = st.builds(
    lambda system, turns, question, answers, margin: make(
        [
            *system,
            *(one for user, said in turns for one in (Message("user", user), Message("assistant", said))),
            question,
        ],
        answers,
        (0, 1),
        margin,
    ),
    st.lists(plain.map(lambda value: Message("system", value)), max_size=1),
    st.lists(st.tuples(asked, asked), max_size=2),
    asked.map(lambda value: Message("user", value)),
    st.one_of(
        st.tuples(text, text).map(lambda texts: [(Message("assistant", one),) for one in texts]),
        st.tuples(answer, answer),
        answer.map(lambda one: (one, one)),
    ),
    margins,
)
"""Turns as they usually are, and texts and pictures as they are not."""

tricky_pairs = st.builds(
    lambda image, question, first, second: make(
        [Message("user", (*image, Text(text=question)))], [first, second], (0, 1), None
    ),
    st.lists(images, max_size=1),
    text,
    text,
    text,
)
"""One question and two answers whose texts look like a format's own."""

rankings = st.one_of(anything, dialogues, dialogues, tricky_pairs)


def pairs(picture: st.SearchStrategy[Image | None]) -> st.SearchStrategy[Ranking]:
    """One question of at most one picture, two answers of text: what every format of pairs holds."""
    return st.builds(
        lambda image, question, answers, ranks, margin, task: make(
            [Message("user", (image, Text(text=question)) if image else question)], answers, ranks, margin, task
        ),
        picture,
        plain,
        st.tuples(plain, plain),
        st.sampled_from([(0, 1), (1, 0)]),
        margins,
        st.none() | plain.filter(bool),
    )


def canonical(ranking: Ranking) -> Any:
    """Equal for rankings that say the same: where a prompt ends and in which order responses are is no matter."""
    sides = [[_message(message) for message in side] for side in ranking.group.conversations()]
    places = sorted(set(ranking.ranks))
    order = sorted(range(len(sides)), key=lambda i: ranking.ranks[i])
    margin = ranking.margin
    if margin is not None and len(sides) == 2 and ranking.ranks[0] > ranking.ranks[1]:
        margin = -margin
    return ranking.group.task, margin, [(places.index(ranking.ranks[i]), sides[i]) for i in order]


def _message(message: Message) -> Any:
    pieces: list[Any] = []
    for part in message.parts:
        if not isinstance(part, Text):
            rest = {key: value for key, value in vars(part).items() if key != "source" and value is not None}
            pieces.append((type(part).__name__, _source(part.source), rest))
        elif pieces and isinstance(pieces[-1], str):
            pieces[-1] += part.text
        elif part.text:
            pieces.append(part.text)
    return message.role, pieces


def _source(source: Any) -> Any:
    if isinstance(source, tuple):
        return [_source(item) for item in source]
    if isinstance(source, str) and source.startswith("data:"):
        return base64.b64decode(source.partition(",")[2])
    return source if isinstance(source, bytes) or "://" in source else os.path.abspath(source)
