"""The question of a token-logit head: what is asked of a plain VLM, and which tokens answer it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from vlreward.errors import CheckpointError, ConfigError, InputError, describe_unknown
from vlreward.types import Message, Part, Text

FOLLOW_UP = "Is the answer above correct? Answer Yes or No."
_PLACE = re.compile(r"(\{prompt\}|\{response\})")


@dataclass(frozen=True, kw_only=True)
class Question:
    """How a token-logit head asks, and where it reads the reward.

    The reward is the logit of ``positive`` minus that of ``negative`` at the last token of the rendered question, after
    the generation prompt and ``prefill``.

    Raises:
        ConfigError: the two tokens are the same, a token is empty, or the template has one of the two places only.
    """

    positive: str = "Yes"
    """The token whose logit counts for the answer."""
    negative: str | None = "No"
    """The token whose logit counts against it; None: the reward is the logit of ``positive`` alone."""
    template: str = FOLLOW_UP
    """With ``{prompt}`` and ``{response}``: the one user message that holds both. Without: a further user turn."""
    system: str | None = None
    """The system message of the question; None: the conversation's own, or the chat template's default."""
    prefill: str = ""
    """Text after the generation prompt; the reward is read at its last token."""

    def __post_init__(self) -> None:
        if not self.positive or self.negative == "":
            raise ConfigError("question: a token is empty; name the tokens to compare, e.g. 'Yes' and 'No'")
        if self.positive == self.negative:
            raise ConfigError(
                f"question: positive and negative are both {self.positive!r}; the reward would always be 0"
            )
        places = set(_PLACE.findall(self.template))
        if len(places) == 1:
            missing = ({"{prompt}", "{response}"} - places).pop()
            raise ConfigError(f"question: the template has {places.pop()} but no {missing}; give both or neither")
        if not self.template:
            raise ConfigError("question: the template is empty; write the question that is asked of the model")

    @property
    def in_place(self) -> bool:
        """Whether prompt and response stand inside the question, rather than before it."""
        return "{prompt}" in self.template

    def describe(self) -> str:
        """The read-out in one phrase: ``"Yes" - "No"``."""
        return f'"{self.positive}"' if self.negative is None else f'"{self.positive}" - "{self.negative}"'

    def apply(self, messages: tuple[Message, ...], n_prompt: int) -> tuple[Message, ...]:
        """The conversation that asks the question about one response.

        Args:
            messages: the prompt and one response.
            n_prompt: how many of the messages are the prompt; the rest is the response.

        Returns:
            The messages to render with a generation prompt and ``prefill``. With places in the template: the system
            message, if any, and one user message; pictures stay where they are among the text. Several turns in one
            place are each headed by their role. Without: the conversation and a user turn that asks.

        Raises:
            InputError: no message is left for the response.
        """
        if not 0 <= n_prompt < len(messages):
            raise InputError(f"question: {n_prompt} prompt messages of {len(messages)}; a response must follow them")
        if not self.in_place:
            return (*self._with_system(messages), Message("user", self.template))
        prompt, response = messages[:n_prompt], messages[n_prompt:]
        system: tuple[Message, ...] = ()
        if self.system is not None:
            system = (Message("system", self.system),)
        elif prompt and prompt[0].role == "system":
            system, prompt = prompt[:1], prompt[1:]
        filling = {"{prompt}": _flatten(prompt), "{response}": _flatten(response)}
        parts: list[Part] = []
        for piece in _PLACE.split(self.template):
            parts += filling.get(piece, [Text(text=piece)])
        return (*system, Message("user", _content(parts)))

    def _with_system(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The question's system text as its own message, or after what the conversation's system message says."""
        if self.system is None:
            return messages
        if not messages or messages[0].role != "system":
            return (Message("system", self.system), *messages)
        content = _content([*messages[0].parts, Text(text=f"\n\n{self.system}")])
        return (replace(messages[0], content=content), *messages[1:])

    def to_dict(self) -> dict[str, Any]:
        """The fields, as they are saved under ``question`` in vlreward.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Any, where: str) -> Question:
        """Read what `to_dict` wrote; ``where`` starts every error message.

        Raises:
            CheckpointError: an unknown key, or a value that is not text.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(value, Mapping):
            raise CheckpointError(f"{where}: 'question' must be an object, got {type(value).__name__}")
        for key, item in value.items():
            if key not in known:
                raise CheckpointError(f"{where}: question: {describe_unknown(key, known)}")
            if not isinstance(item, str) and not (item is None and key in ("negative", "system")):
                raise CheckpointError(f"{where}: question: {key!r} must be text, got {item!r:.40}")
        try:
            return cls(**value)
        except ConfigError as error:
            raise CheckpointError(f"{where}: {error}") from error


def _flatten(messages: Sequence[Message]) -> list[Part]:
    """The parts of one turn as they are; of several turns, each after the name of its role."""
    if len(messages) == 1:
        return list(messages[0].parts)
    parts: list[Part] = []
    for i, message in enumerate(messages):
        parts.append(Text(text=f"{chr(10) * 2 if i else ''}{message.role.capitalize()}: "))
        parts += message.parts
    return parts


def _content(parts: Iterable[Part]) -> str | tuple[Part, ...]:
    """Neighbouring texts as one; text alone as a plain string, which is what chat templates are surest to take."""
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, Text) and merged and isinstance(merged[-1], Text):
            merged[-1] = Text(text=merged[-1].text + part.text)
        elif not isinstance(part, Text) or part.text:
            merged.append(part)
    if not merged:
        return ""
    if len(merged) == 1 and isinstance(merged[0], Text):
        return merged[0].text
    return tuple(merged)
