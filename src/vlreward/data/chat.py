"""Conversations as OpenAI's chat completions have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vlreward.types import Image, Message, Text, Video


def chat_messages(messages: Sequence[Message], url_of: Callable[[Image | Video], str]) -> list[dict[str, Any]]:
    """Messages as clients write them.

    Args:
        messages: the conversation.
        url_of: the URL, often a data URI, under which a picture goes; it refuses what the server has no place for.
    """

    def content(message: Message) -> str | list[dict[str, Any]]:
        if isinstance(message.content, str):
            return message.content
        return [
            {"type": "text", "text": part.text}
            if isinstance(part, Text)
            else {"type": "image_url", "image_url": {"url": url_of(part)}}
            for part in message.content
        ]

    return [{"role": message.role, "content": content(message)} for message in messages]
