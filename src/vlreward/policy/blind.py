"""Rejected answers that end in what a policy says without the picture: hallucinations.

A chosen answer is cut, and the policy goes on from there while the prompt has lost its pictures. Its words are those of
an answer that has seen them, and what they say is made up. (Dropout next-token prediction, arXiv 2411.10442. There it
serves prompts whose right answers nobody knows, and stands in place of a reward; here the reward or a key says which
answers are chosen, and these pairs come on top.)
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vlreward.data.content import text_of
from vlreward.data.marks import media_of
from vlreward.errors import ConfigError, InputError
from vlreward.types import Group, Message, Response, Text

from .answers import normal_form
from .sampling import Prompt

if TYPE_CHECKING:
    from .pairs import ScoredGroup

NO_PICTURE = "no picture to leave out"
NOT_TEXT = "an answer that is more than text"
NONE_RIGHT = "no right and finished answer to cut"
NOT_CHOSEN = "of an answer that is wrong or unfinished"
SAME = "the same as the answer"
RIGHT = "right all the same"


@dataclass(frozen=True, kw_only=True)
class BlindSettings:
    """Which answers are cut, and where."""

    keep: float = 0.5
    """Share of an answer that stays; the policy writes the rest without the pictures (a half in arXiv 2411.10442)."""
    per_prompt: int = 1
    """How many of a prompt's best answers are cut."""

    def __post_init__(self) -> None:
        if not 0 <= self.keep < 1:
            raise ConfigError(f"keep must be in [0, 1), got {self.keep}")
        if self.per_prompt < 1:
            raise ConfigError(f"per_prompt must be at least 1, got {self.per_prompt}")


def beginning(answer: str, keep: float) -> str:
    """The first part of an answer, this share of its characters, back to the end of a word; it ends in no space.

    It is cut by characters, since a server does not say its tokens, and between words, since half a word is other
    tokens than those that a policy writes for it. Wide characters, as of Chinese, are words of their own.
    """
    at = int(len(answer) * keep)
    while at > 0 and not _between_words(answer[at - 1], answer[at]):
        at -= 1
    return answer[:at].rstrip()


def _between_words(before: str, after: str) -> bool:
    return any(character.isspace() or unicodedata.east_asian_width(character) in "WF" for character in (before, after))


def answers_to_cut(item: ScoredGroup, settings: BlindSettings) -> list[int] | str:
    """The best answers of a prompt with pictures, of those that are finished and, where that is known, right; or why
    there is none."""
    if not media_of(item.group.messages):
        return NO_PICTURE
    if not all(map(_is_text, item.group.responses)):
        return NOT_TEXT
    best = [number for number in item.order() if item.may_be_chosen(number)]
    return best[: settings.per_prompt] or NONE_RIGHT


def _is_text(response: Response) -> bool:
    return len(response) == 1 and all(isinstance(part, Text) for part in response[0].parts)


def cut_group(group: Group, number: int) -> Group:
    """One of a group's answers alone; the id says which."""
    return Group(group.messages, [group.responses[number]], id=f"{group.id}/{number}", task=group.task)


def blind_prompt(cut: Group, keep: float) -> Prompt:
    """What a policy is asked: the prompt of a `cut_group` without its pictures, with the beginning of the answer."""
    return Prompt(
        messages=without_pictures(cut.messages),
        id=cut.id,
        task=cut.task,
        beginning=beginning(text_of(cut.responses[0]), keep),
    )


def without_pictures(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with their words alone."""

    def words(message: Message) -> Message:
        if isinstance(message.content, str):
            return message
        return replace(message, content=tuple(part for part in message.content if isinstance(part, Text)))

    return tuple(words(message) for message in messages)


@dataclass(frozen=True, kw_only=True)
class BlindReport:
    """What became of the answers that were cut."""

    cut: int
    """How many there were."""
    made: int
    """How many gave a pair: they are chosen, and the continuation without the pictures is rejected."""
    dropped: dict[str, int]
    """The others, by reason."""


class BlindNegatives:
    """Continuations without the pictures, taken as the groups of the answers that they continue come by.

    Args:
        continued: a group for each answer that was cut, with the id of its `cut_group`, in the order of the groups. Its
            responses are whole answers, each from the same beginning; the first that is of use is rejected.
    """

    def __init__(self, continued: Iterable[Group]) -> None:
        self._continued = iter(continued)
        self._ahead = next(self._continued, None)
        self._cut, self._dropped = 0, Counter[str]()

    def of(self, item: ScoredGroup) -> list[tuple[int, Response]]:
        """The answers of a group that are chosen, by their numbers, each with what is rejected.

        Raises:
            InputError: one was cut that the group does not have.
        """
        made = []
        while self._ahead is not None:
            name, _, number = (self._ahead.id or "").rpartition("/")
            if name != str(item.group.id):
                break
            if not number.isdecimal() or int(number) >= len(item.group):
                raise InputError(f"group {item.group.id!r}: no answer {number!r}, which was cut; cut the answers again")
            found = _usable(item, int(number), self._ahead.responses)
            if isinstance(found, str):
                self._dropped[found] += 1
            else:
                made.append((int(number), found))
            self._cut += 1
            self._ahead = next(self._continued, None)
        return made

    def report(self) -> BlindReport:
        """What became of all of them, when every group has come by.

        Raises:
            InputError: some are left.
        """
        if self._ahead is not None:
            raise InputError(
                f"a continuation of {self._ahead.id!r}, which is none of the answers, or not in their order; cut the "
                "answers again"
            )
        return BlindReport(cut=self._cut, made=self._cut - self._dropped.total(), dropped=dict(self._dropped))


def _usable(item: ScoredGroup, number: int, continued: Sequence[Response]) -> Response | str:
    """The first continuation that can be rejected, or why the first of them cannot."""
    if not item.may_be_chosen(number):
        return NOT_CHOSEN
    chosen = normal_form(text_of(item.group.responses[number]))
    problems = []
    for response in continued:
        if normal_form(text_of(response)) == chosen:
            problems.append(SAME)
        elif item.is_right(response):
            problems.append(RIGHT)
        else:
            return response
    return problems[0]
