"""Stand-ins for a model: a score from a hash of the input, at once and without weights."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vlreward.cli.fingerprint import chain
from vlreward.errors import MediaError
from vlreward.model.calibration import Calibration, bradley_terry
from vlreward.types import Group, Message, Reward


def fake_reward(group: Group, index: int) -> float:
    """A number between -8 and 8 that only the prompt and this response decide."""
    alone = Group(group.messages, [group.responses[index]])
    digest = hashlib.blake2b(chain("", alone).encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48 * 16 - 8


class FakeEngine:
    """An `Engine` whose rewards come from `fake_reward`."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.closed = False

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        self.calls.append(len(groups))
        return [Reward(id=g.id, rewards=tuple(fake_reward(g, i) for i in range(len(g)))) for g in groups]

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True, kw_only=True)
class FakeSettings:
    model: str = "fake"
    revision: str | None = None
    dtype: str = "float32"
    device: str = "cpu"
    min_pixels: int = 3136
    max_pixels: int = 200704


@dataclass(frozen=True)
class FakePoint:
    end: int
    text: str
    reward: float


@dataclass
class FakeModel:
    """What the command line uses of a `RewardModel`.

    The last digits of a reward depend on what else is in the call, as those of a real one do: a run that is resumed
    with other chunks than an uninterrupted one does not go unnoticed. A text that says ``unreadable`` is an error.
    """

    seconds: float = 0.0
    """How long each group takes."""
    settings: FakeSettings = field(default_factory=FakeSettings)
    calls: list[int] = field(default_factory=list)
    calibration: Calibration | None = None

    def score_groups(self, groups: Sequence[Group]) -> list[list[float]]:
        self.calls.append(len(groups))
        company = "".join(str(group.id) for group in groups)
        noise = int.from_bytes(hashlib.blake2b(company.encode(), digest_size=4).digest()) * 1e-18
        rewards = []
        for group in groups:
            time.sleep(self.seconds)
            if any("unreadable" in str(message.content) for message in group.messages):
                raise MediaError(f"group {group.id!r}: responses[0]: no such picture")
            rewards.append([fake_reward(group, i) + noise for i in range(len(group))])
        return rewards

    def probability(self, margin: float) -> float:
        return bradley_terry(margin)

    def trace(self, messages: Sequence[Message]) -> list[FakePoint]:
        text = str(messages[-1].content)
        points, start = [], 0
        for sentence in text.split(". "):
            end = start + len(sentence)
            reward = fake_reward(Group(messages[:-1], [text[:end]]), 0)
            points.append(FakePoint(end, text[start:end], reward))
            start = end
        return points


def group_row(i: int, responses: int = 3) -> dict[str, Any]:
    """The i-th row of a groups file."""
    return {
        "id": f"g{i}",
        "messages": [{"role": "user", "content": f"Question {i}: what is {i} + {i}? Größe, 数, 🙂"}],
        "responses": [f"It is {i + i + k}." for k in range(responses)],
    }
