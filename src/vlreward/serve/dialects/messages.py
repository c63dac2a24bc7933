"""Messages and content as OpenAI's clients write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlreward.errors import InputError
from vlreward.types import Group, Message, Part, parse_messages, parse_part

Item = str | dict[str, Any]
"""A prompt or an answer alone: text, or ``{"content": parts}``."""


def conversation(messages: Sequence[Mapping[str, Any]]) -> Group:
    """Messages that end in the answer, as a group of one response.

    Raises:
        InputError: they do not, or something is not a message.
    """
    parsed = parse_messages([_with_parts(message, f"messages[{i}]") for i, message in enumerate(messages)], "messages")
    if not parsed or parsed[-1].role != "assistant":
        last = f"the last is the {parsed[-1].role}'s" if parsed else "there are none"
        raise InputError(f"messages: must end in the assistant's answer, which gets the reward; {last}")
    return Group(parsed[:-1], [parsed[-1:]], id="messages", where="messages")


def turn(role: str, item: Item, where: str) -> Message:
    """A prompt or an answer alone as a message.

    Raises:
        InputError: it has no content, or content that is not known.
    """
    if isinstance(item, str):
        return Message(role, item)
    content = item.get("content")
    if not isinstance(content, (str, list)):
        raise InputError(f"{where}: expected text or an object with 'content', a list of parts")
    return Message(role, content if isinstance(content, str) else tuple(_parts(content, where)))


def _with_parts(message: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    content = message.get("content")
    return {**message, "content": _parts(content, where)} if isinstance(content, list) else message


def _parts(content: Sequence[Any], where: str) -> list[Part]:
    """Content parts; ``uuid``, by which vLLM's own cache knows a picture, says nothing here."""
    bare = [{k: v for k, v in part.items() if k != "uuid"} if isinstance(part, dict) else part for part in content]
    return [parse_part(part, f"{where}, part {i}") for i, part in enumerate(bare)]
