"""A conversation that comes as one text, as a chat template wrote it, taken apart into messages again.

Trainers decode token ids and post the text: prompt and answer, with the special tokens of Qwen's templates (ChatML)::

    <|im_start|>user\\nWhat is it?<|im_end|>\\n<|im_start|>assistant\\nA cat.<|im_end|>\\n

What is taken apart is rendered again by the served model's own template, so that the reward is that of the messages:
padding (``<|endoftext|>``) falls away at both ends, an answer that was cut off is closed, and where the template brings
a system message of its own, text without one gets it. A picture stands as one placeholder, or as many in a row as it
has visual tokens; both are read as one picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vlreward.data.marks import split_marks
from vlreward.data.sources import is_uri
from vlreward.errors import InputError
from vlreward.types import Group, Image, Message, Part, Text, Video

_OPEN, _CLOSE, _PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
_ROLE = re.compile(r"<\|im_start\|>(system|user|assistant|tool)\n")
_SPACE = re.compile(r"\s*")
# Possessive: a repetition that could be gone back on takes memory for each step, and a text may have millions.
_PLACEHOLDER = re.compile(r"<\|vision_start\|>(?:((?:<\|image_pad\|>)++)|(?:<\|video_pad\|>)++)<\|vision_end\|>")
_MARK = re.compile(r"<(?:image|video|audio)>")
_MEDIA_ID = re.compile(r"media:[0-9a-f]{64}")


@dataclass(frozen=True)
class _Turn:
    message: Message
    closed: bool


def group_of(query: str, prompt: str | None, media: Sequence[str], where: str) -> Group:
    """A templated text as a group of one response.

    Args:
        query: prompt and answer.
        prompt: its beginning, up to the answer; needed only where ``query`` is not ChatML.
        media: sources of the pictures and videos, in the order of the placeholders.
        where: starts every error message, and is the group's id.

    Raises:
        InputError: it cannot be taken apart, or has another number of placeholders than ``media``.
    """
    messages, response = _take_apart(_unpadded(query), _unpadded(prompt or ""), where)
    filled = _fill(messages, response, media, where)
    return Group(filled[: len(messages)], [filled[len(messages) :]], id=where, where=where)


def _unpadded(text: str) -> str:
    start, end = 0, len(text)
    while text.startswith(_PAD, start):
        start += len(_PAD)
    while text.endswith(_PAD, start, end):
        end -= len(_PAD)
    return text[start:end]


def _turns(text: str) -> list[_Turn] | None:
    """The turns of a ChatML text, None if it is not one. The last turn may be open."""
    turns: list[_Turn] = []
    at = 0
    while at < len(text) or not turns:
        role = _ROLE.match(text, at)
        if role is None:
            return None
        begin, close = role.end(), text.find(_CLOSE, role.end())
        end = len(text) if close < 0 else close
        if text.find(_OPEN, begin, end) >= 0:
            return None
        turns.append(_Turn(Message(role[1], text[begin:end]), close >= 0))
        space = None if close < 0 else _SPACE.match(text, close + len(_CLOSE))
        at = space.end() if space else end
    return turns


def _take_apart(text: str, prompt: str, where: str) -> tuple[list[Message], list[Message]]:
    """The messages of the prompt and those of the response."""
    begins = bool(prompt) and text.startswith(prompt)
    turns = _turns(text)
    if begins:
        opened = _turns(prompt)
        if opened and opened[-1].message.role == "assistant" and not opened[-1].closed:
            before = [turn.message for turn in opened[:-1]]
            return before, _response(turns, len(before), str(opened[-1].message.content) + text[len(prompt) :])
    if turns is not None:
        *before, last = (turn.message for turn in turns)
        if last.role != "assistant":
            raise InputError(f"{where}: the text ends in a {last.role} turn; end it in the assistant's answer")
        return before, [last]
    if begins:
        return [Message("user", prompt)], [Message("assistant", _unclosed(text[len(prompt) :]))]
    known = "does not begin with its prompt" if prompt else "comes without its prompt"
    raise InputError(f"{where}: the text is not of the form <|im_start|>role … <|im_end|>, and {known}; send messages")


def _response(turns: list[_Turn] | None, begin: int, answer: str) -> list[Message]:
    """All that follows a templated prompt: the turns of an agent, else the answer as it stands.

    A policy may write special tokens into an answer; where these do not amount to turns, they are the answer's text.
    """
    if turns is not None and len(turns) > begin and turns[-1].message.role == "assistant":
        return [turn.message for turn in turns[begin:]]
    return [Message("assistant", _unclosed(answer))]


def _unclosed(answer: str) -> str:
    stripped = answer.rstrip()
    return stripped.removesuffix(_CLOSE) if stripped.endswith(_CLOSE) else answer


def _fill(messages: Sequence[Message], response: Sequence[Message], media: Sequence[str], where: str) -> list[Message]:
    """The conversation with placeholders as parts, and the media in them."""
    conversation = [*messages, *response]
    # Counted before there is a part for each: a text of some megabytes may hold a million.
    count = _count(conversation, _PLACEHOLDER)
    if count == len(media):
        conversation = [Message(m.role, _split_placeholders(str(m.content))) for m in conversation]
    elif count == 0:
        count = _count(messages, _MARK)
        if count == len(media):
            conversation[: len(messages)] = [Message(m.role, split_marks(str(m.content), where)) for m in messages]
        elif count == 0:
            count = len(media)
            conversation[: len(messages)] = _in_front(messages, count, where)
    if count != len(media):
        raise InputError(
            f"{where}: {len(media)} pictures or videos but {count} placeholders in the text; send one for each, "
            "as data or as the id of one sent before"
        )
    sources = iter(media)

    def filled(message: Message) -> Message:
        if isinstance(message.content, str):
            return message
        parts: list[Part] = [p if isinstance(p, Text) else replace(p, source=next(sources)) for p in message.content]
        return Message(message.role, tuple(parts))

    return [filled(message) for message in conversation]


def _split_placeholders(text: str) -> str | tuple[Part, ...]:
    parts: list[Part] = []
    at = 0
    for found in _PLACEHOLDER.finditer(text):
        parts += [Text(text=text[at : found.start()])] if found.start() > at else []
        parts.append(Image() if found[1] else Video())
        at = found.end()
    if not parts:
        return text
    return (*parts, Text(text=text[at:])) if at < len(text) else tuple(parts)


def _count(messages: Sequence[Message], form: re.Pattern[str]) -> int:
    return sum(1 for message in messages for _ in form.finditer(str(message.content)))


def _in_front(messages: Sequence[Message], count: int, where: str) -> list[Message]:
    """The messages with pictures in front of the first user turn: where a text without placeholders has them."""
    for i, message in enumerate(messages):
        if message.role == "user":
            parts: tuple[Part, ...] = (*(Image() for _ in range(count)), Text(text=str(message.content)))
            return [*messages[:i], Message("user", parts), *messages[i + 1 :]]
    raise InputError(f"{where}: {count} pictures but no user turn to hold them")


def media_ids(value: Any) -> list[str]:
    """The ids of media (``media:`` and 64 hexadecimal digits) in a label or in what goes with a sample, in order.

    Args:
        value: any JSON value: text that is an id or holds some, or lists and objects of such.
    """
    if isinstance(value, str):
        return _MEDIA_ID.findall(value)
    if isinstance(value, dict):
        value = list(value.values())
    return [found for item in value for found in media_ids(item)] if isinstance(value, list) else []


def picture_source(value: str) -> str:
    """A picture as trainers write it, as a source: an id, a ``data:`` URI or a URL as it is, all else is base64."""
    return value if is_uri(value) or _MEDIA_ID.fullmatch(value) else f"data:image;base64,{value}"
