"""An engine that looks at what it is shown: its rewards are of texts and pixels, however a trainer hands them over."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as PILImage

from vlreward.data.images import load_image
from vlreward.errors import LengthError
from vlreward.types import Group, Image, Message, Reward, Text, parse_messages


def picture(colour: str, size: int = 8) -> PILImage.Image:
    return PILImage.new("RGB", (size, size), colour)


def seen(messages: Sequence[Message]) -> list[tuple[str, list[str]]]:
    """Roles with texts, and digests in place of pictures; neighbouring texts are one."""
    shown: list[tuple[str, list[str]]] = []
    for message in messages:
        pieces: list[str] = []
        for part in message.parts:
            if isinstance(part, Image):
                pixels = load_image(part.source)
                pieces.append(f"picture {hashlib.sha256(pixels.tobytes()).hexdigest()[:8]} {pixels.size}")
            else:
                assert isinstance(part, Text)
                pieces += [part.text] if part.text else []
        shown.append((message.role, pieces))
    return shown


def reward_of(prompt: Any, answer: str) -> float:
    """The reward of a text answer to messages, as `SeeingEngine` gives it: between -8 and 8."""
    told = repr((seen(parse_messages(prompt)), answer))
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:6]) / 2**48 * 16 - 8


def array(items: list[Any]) -> Any:
    """Objects as Parquet readers and verl hand lists out; numpy would make pixels of pictures."""
    return np.fromiter(items, dtype=object, count=len(items))


class SeeingEngine:
    """An `Engine`; an answer that says ``too long`` is one."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        self.calls.append([len(group) for group in groups])
        return [self._reward(group) for group in groups]

    def _reward(self, group: Group) -> Reward:
        answers = [message.parts[0] for (message,) in group.responses]
        texts = [part.text for part in answers if isinstance(part, Text)]
        for text in texts:
            if "too long" in text:
                raise LengthError(f"group {group.id!r}: an answer is too long")
        return Reward(id=group.id, rewards=tuple(reward_of(group.messages, text) for text in texts))

    def close(self) -> None:
        """Nothing to free."""


def asked(text: str, *pictures: Any) -> list[dict[str, Any]]:
    """A prompt with its pictures in place."""
    parts = [{"type": "image", "image": item} for item in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]
