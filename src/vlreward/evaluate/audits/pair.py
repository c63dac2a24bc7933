"""What is audited: a right response and a wrong one, and the same pair with one thing changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from vlreward.data.limits import DEFAULT_LIMITS, MediaLimits
from vlreward.types import Group, Message, Response, Text

from ..benchmarks import Item
from ..benchmarks.benchmark import Shared
from ..check import check_media
from ..scores import contents_of, facts_of


class Conversation(NamedTuple):
    """A response behind its prompt."""

    messages: tuple[Message, ...]
    response: Response


class Sides(NamedTuple):
    """A pair as it is scored; the prompts of both sides are the same unless a variant says otherwise."""

    chosen: Conversation
    rejected: Conversation


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A variant does not apply to a pair."""

    reason: str
    """A word or two, by which such pairs are counted."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A prompt, a better response and a worse one."""

    group: Group
    """The better response, then the worse one; its id is no other pair's."""
    where: str
    """The pair's place, as errors name it."""
    shared: Mapping[Shared, tuple[str, ...]]
    """Digests of what makes pairs one cluster."""

    @property
    def id(self) -> str:
        """Its name, of which everything random about it is drawn."""
        return str(self.group.id)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The prompt."""
        return self.group.messages

    @property
    def chosen(self) -> Response:
        """The better response."""
        return self.group.responses[0]

    @property
    def rejected(self) -> Response:
        """The worse response."""
        return self.group.responses[1]

    @property
    def sides(self) -> Sides:
        """The pair as it is."""
        return sides_of(self.group)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """The pairs that are audited, and what their pictures may be."""

    pairs: Sequence[Pair]
    limits: MediaLimits = DEFAULT_LIMITS


def sides_of(group: Group) -> Sides:
    """Two responses behind their prompt, as sides."""
    chosen, rejected = group.responses
    return Sides(Conversation(group.messages, chosen), Conversation(group.messages, rejected))


def pair_of(item: Item, shared: Sequence[Shared] = ("prompt", "picture")) -> Pair:
    """A best response of an item and one of the others.

    Where there are several of either, what they say and show decides, never where they stand.

    Args:
        item: not all of its ranks are equal.
        shared: what makes items one cluster.
    """
    group, ranks = item.ranking.group, item.ranking.ranks
    best = min(ranks)
    ordered = sorted(group.responses, key=contents_of)
    rank = dict(zip(map(id, group.responses), ranks, strict=True))
    chosen = next(response for response in ordered if rank[id(response)] == best)
    rejected = next(response for response in ordered if rank[id(response)] != best)
    digests = {kind: tuple(found) for kind, found in facts_of(item, shared)["shared"].items()}
    return Pair(group=replace(group, responses=(chosen, rejected)), where=item.where, shared=digests)


def check_pictures(pair: Pair, limits: MediaLimits = DEFAULT_LIMITS) -> None:
    """See that every picture and video of a pair is there.

    Raises:
        MediaError: as `check_media`.
    """
    check_media(pair.group, pair.where, limits)


def answer_text(response: Response) -> str | None:
    """The last text of a response; None where it has none."""
    return _last_text(response[-1])


def question_text(messages: Sequence[Message]) -> str | None:
    """The last text of the last user message; None where there is none."""
    index = _question_index(messages)
    return None if index is None else _last_text(messages[index])


def with_answer(response: Response, change: Callable[[str], str]) -> Response:
    """The response with `answer_text` changed."""
    return (*response[:-1], _with_last_text(response[-1], change))


def with_question(messages: tuple[Message, ...], change: Callable[[str], str]) -> tuple[Message, ...]:
    """The prompt with `question_text` changed."""
    index = _question_index(messages)
    if index is None:
        return messages
    return (*messages[:index], _with_last_text(messages[index], change), *messages[index + 1 :])


def without_text(*responses: Response) -> LeftOut | None:
    """Why what these responses say cannot be changed; None where each says something."""
    return None if all(map(answer_text, responses)) else LeftOut(reason="a response without text")


def with_answers(pair: Pair, change: Callable[[str], str]) -> Sides | LeftOut:
    """The pair with the text of both responses changed."""
    both = pair.chosen, pair.rejected
    if reason := without_text(*both):
        return reason
    return sides_of(replace(pair.group, responses=tuple(with_answer(response, change) for response in both)))


def with_prompt(pair: Pair, change: Callable[[str], str]) -> Sides | LeftOut:
    """The pair with the text of its question changed."""
    if not question_text(pair.messages):
        return LeftOut(reason="a question without text")
    return sides_of(replace(pair.group, messages=with_question(pair.messages, change)))


def _question_index(messages: Sequence[Message]) -> int | None:
    return next((i for i in reversed(range(len(messages))) if messages[i].role == "user"), None)


def _last_text(message: Message) -> str | None:
    return next((part.text for part in reversed(message.parts) if isinstance(part, Text)), None)


def _with_last_text(message: Message, change: Callable[[str], str]) -> Message:
    if isinstance(message.content, str):
        return Message(message.role, change(message.content))
    parts = list(message.content)
    for i in reversed(range(len(parts))):
        part = parts[i]
        if isinstance(part, Text):
            parts[i] = Text(text=change(part.text))
            break
    return Message(message.role, tuple(parts))
