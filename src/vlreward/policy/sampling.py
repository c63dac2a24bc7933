"""Answers of a policy to prompts: what is asked for, and who may be asked. Nothing here needs torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vlreward.data.content import text_of
from vlreward.errors import ConfigError
from vlreward.types import Group, Message


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How answers are drawn. Nothing of it is left to what a checkpoint or a server would do by itself."""

    answers: int = 8
    """Answers to each prompt."""
    temperature: float = 1.0
    """Of the logits; 0 gives the most likely answer, which is then the same each time."""
    top_p: float = 1.0
    """Only the most likely tokens are drawn from, those whose probabilities add up to this."""
    max_tokens: int = 512
    """The longest answer, without the beginning that a prompt gives; one that reaches it is unfinished."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer, and are not part of it."""
    seed: int = 0
    """Another seed draws other answers. The same one draws the same, in whatever company a prompt is."""

    def __post_init__(self) -> None:
        for name in ("answers", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.temperature < 0:
            raise ConfigError(f"temperature must not be below 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be in (0, 1], got {self.top_p}")
        if not all(self.stop):
            raise ConfigError("stop: an empty text would end every answer before it begins")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a policy is asked."""

    messages: tuple[Message, ...]
    """The conversation up to the answer."""
    id: str | None = None
    """Names it in files and in errors."""
    task: str | None = None
    """What kind of task it is, where that is known."""
    beginning: str = ""
    """How every answer begins: the policy goes on from there. It ends in no space, which would be other tokens."""

    @classmethod
    def of(cls, group: Group) -> Prompt:
        """That of a group, whose responses are passed over."""
        return cls(messages=group.messages, id=group.id, task=group.task)

    @property
    def name(self) -> str:
        """What errors call it."""
        return "prompt" if self.id is None else f"prompt {self.id!r}"

    def seed(self, settings: SamplingSettings) -> int:
        """A seed of its own, 63 bits, by what it says and the seed of the settings."""
        said = f"{settings.seed} {self.id} {text_of(self.messages)}{self.beginning}"
        return int.from_bytes(hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 1


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A prompt with its answers."""

    group: Group
    """The answers as responses, in the order in which they were drawn."""
    unfinished: frozenset[int]
    """Those that were cut off at the limit of tokens."""

    @classmethod
    def of(cls, prompt: Prompt, answers: Sequence[tuple[str, bool]]) -> Sampled:
        """From texts, each with whether it is finished; the prompt's beginning is put before them."""
        texts = [prompt.beginning + text for text, _ in answers]
        group = Group(prompt.messages, texts, id=prompt.id, task=prompt.task)
        return cls(group=group, unfinished=frozenset(i for i, (_, finished) in enumerate(answers) if not finished))


@runtime_checkable
class Sampler(Protocol):
    """Something that answers prompts: a model in this process, or a server."""

    def sample(self, prompts: Sequence[Prompt], settings: SamplingSettings) -> list[Sampled]:
        """The answers to each prompt, in the order given, as many to each as the settings say.

        Raises:
            VLRewardError: the message names the prompt at fault. A short reply is an error, never a shorter list.
        """
        ...

    def close(self) -> None:
        """Free what it holds. Calling it twice is harmless."""
        ...
