"""What a trainer hands over, one answer at a time, and the one call of an engine that scores all of it."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from vlreward.data.content import text_of
from vlreward.data.marks import fill_marks, media_of, split_marks
from vlreward.data.parts import list_sources
from vlreward.engines.base import Engine
from vlreward.errors import EngineError, InputError, ScoreError, UnsupportedError
from vlreward.types import Group, Image, Message, Part, Response, Source, Text, Video, parse_messages

logger = logging.getLogger("vlreward")

Combine: TypeAlias = Callable[[str, Any, float], float]
"""``(text of the response, answer key or None, the model's reward)`` to the reward that the trainer gets."""

_UNSCORABLE = (InputError, UnsupportedError, ScoreError)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One answer of a policy, with what it answers."""

    prompt: tuple[Message, ...]
    """The conversation before the answer, its pictures in place."""
    response: Response
    """The answer."""
    answer: Any = None
    """The answer key, where the data set has one."""


def prompt_of(messages: Any, *, images: Any = None, videos: Any = None, marks: bool, where: str) -> tuple[Message, ...]:
    """A prompt, with the pictures and videos that stand beside it put where they belong.

    Args:
        messages: a list of messages, or text, one user message.
        images: sources for the image parts without one, in order. Those that no part stands for go before the text of
            the first message that is not the system's, as TRL and ms-swift put them. As many as the prompt shows
            already are taken for those.
        videos: the same for video parts.
        marks: whether ``<image>`` and ``<video>`` in texts stand for them, where there are any.
        where: starts every error message.

    Raises:
        InputError: something is not of these forms, or there are fewer pictures than places for them.
    """
    prompt = list(parse_messages(messages, where))
    listed = {Image: _listed(images, "image", where), Video: _listed(videos, "video", where)}
    if marks and any(listed.values()):
        prompt = [Message(message.role, _marked(message, where)) for message in prompt]
    front: list[Part] = []
    for cls, sources in listed.items():
        parts = [part for part in media_of(prompt) if isinstance(part, cls)]
        places = sum(part.source is None for part in parts)
        if places == 0 and len(sources) == len(parts):
            sources.clear()
        elif places == len(parts):
            front += [cls() for _ in range(len(sources) - places)]
    if front and prompt:
        at = 1 if prompt[0].role == "system" and len(prompt) > 1 else 0
        prompt[at] = Message(prompt[at].role, (*front, *prompt[at].parts))
    return fill_marks(prompt, listed[Image], listed[Video], where)


def _listed(values: Any, kind: str, where: str) -> list[Source]:
    if hasattr(values, "tolist") and getattr(values, "ndim", 0) == 1:  # as Parquet readers hand lists out
        values = list(values)
    return list_sources(values, kind, f"{kind}s", where)


def _marked(message: Message, where: str) -> str | tuple[Part, ...]:
    if isinstance(message.content, str):
        return split_marks(message.content, where)
    parts: list[Part] = []
    for part in message.content:
        found = split_marks(part.text, where) if isinstance(part, Text) else (part,)
        parts += (part,) if isinstance(found, str) else found
    return tuple(parts)


class Scorer:
    """Scores the answers of a step in one call of an engine, so that answers to one prompt share its computation.

    Args:
        engine: gives the model's rewards; wrap it in `vlreward.engines.shaped.ShapedEngine` to shape them.
        combine: what becomes of a reward in the end, as `vlreward.policy.rewards` has them; None: it stays.
        skip_unscorable: an answer that cannot be scored (too long, for one) gets None and a line in the log; otherwise
            it is an error that ends training.
    """

    def __init__(self, engine: Engine, *, combine: Combine | None = None, skip_unscorable: bool = False) -> None:
        self.engine, self.combine, self.skip_unscorable = engine, combine, skip_unscorable

    def __call__(self, samples: Sequence[Sample]) -> list[float | None]:
        """One reward per sample, in order.

        Raises:
            VLRewardError: as `Engine.score`; also when the engine answers short.
        """
        groups, places = fold(samples)
        rewards: list[float | None] = [None] * len(samples)
        for row, where in zip(self._score(groups), places, strict=True):
            for place, reward in zip(where, row, strict=True):
                rewards[place] = reward
        return [self._combined(sample, reward) for sample, reward in zip(samples, rewards, strict=True)]

    def _combined(self, sample: Sample, reward: float | None) -> float | None:
        if reward is None or self.combine is None:
            return reward
        return self.combine(text_of(sample.response), sample.answer, reward)

    def _score(self, groups: Sequence[Group]) -> list[list[float | None]]:
        if not groups:
            return []
        try:
            rewards = self.engine.score(groups)
        except _UNSCORABLE:
            if not self.skip_unscorable:
                raise
            return [[self._alone(group, i) for i in range(len(group))] for group in groups]
        numbers = [len(reward.rewards) for reward in rewards]
        if numbers != [len(group) for group in groups]:
            raise EngineError(f"the engine gave {numbers} rewards for groups of {[len(group) for group in groups]}")
        return [list(reward.rewards) for reward in rewards]

    def _alone(self, group: Group, index: int) -> float | None:
        try:
            return self.engine.score([Group(group.messages, [group.responses[index]], id=group.id)])[0].rewards[0]
        except _UNSCORABLE as error:
            logger.warning("an answer gets no reward: %s", error)
            return None


def fold(samples: Sequence[Sample]) -> tuple[list[Group], list[list[int]]]:
    """Samples of the same prompt as one group.

    Trainers hand a prompt over once for every answer, with copies of its pictures: those are the same when they hold
    the same pixels or bytes.

    Returns:
        The groups, each named by its first sample, and for each the places of its answers in ``samples``.
    """
    places: dict[Hashable, list[int]] = {}
    for i, sample in enumerate(samples):
        places.setdefault(tuple(map(_message_key, sample.prompt)), []).append(i)
    groups = [
        Group(samples[where[0]].prompt, [samples[i].response for i in where], id=f"samples[{where[0]}]")
        for where in places.values()
    ]
    return groups, list(places.values())


def _message_key(message: Message) -> Hashable:
    content = message.content if isinstance(message.content, str) else tuple(map(_part_key, message.content))
    return message.role, content


def _part_key(part: Part) -> Hashable:
    if isinstance(part, Text):
        return part.text
    sampling = (part.fps, part.max_frames) if isinstance(part, Video) else ()
    return type(part).__name__, part.min_pixels, part.max_pixels, sampling, _source_key(part.source)


def _source_key(source: Source) -> Hashable:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, (list, tuple)):
        return tuple(map(_source_key, source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return hashlib.blake2b(source, digest_size=16).digest()
    if hasattr(source, "tobytes"):  # a PIL image or an array
        form = (getattr(source, "mode", None), getattr(source, "size", None), getattr(source, "shape", None))
        return *form, hashlib.blake2b(source.tobytes(), digest_size=16).digest()
    return id(source)
