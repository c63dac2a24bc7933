"""What clients ask a reward server, and when: conversations by themselves or in groups, in closed and open loops."""

from __future__ import annotations

import asyncio
import base64
import io
import random
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from published.cases import draw

from .tokenizer import words

PROMPT_TOKENS = 64
ANSWER_TOKENS = (160, 200)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request: a prompt with a picture, and the answers to be scored."""

    picture: bytes
    """PNG."""
    prompt: str
    answers: tuple[str, ...]
    at: float | None = None
    """Seconds after the beginning at which it is sent; None: as soon as a client is free."""

    @property
    def uri(self) -> str:
        """The picture as JSON carries it."""
        return f"data:image/png;base64,{base64.b64encode(self.picture).decode()}"

    def messages(self, picture: Any) -> list[dict[str, Any]]:
        """The prompt with the picture as a server, or a library, takes it."""
        parts = [{"type": "image", "image": picture}, {"type": "text", "text": self.prompt}]
        return [{"role": "user", "content": parts}]

    def singles(self) -> list[Ask]:
        """A request of its own for each answer."""
        return [Ask(picture=self.picture, prompt=self.prompt, answers=(answer,), at=self.at) for answer in self.answers]


def make_groups(count: int, answers: int, side: int, seed: int) -> list[Ask]:
    """Requests of ``answers`` answers to a picture of ``side`` × ``side`` pixels that no other request has."""
    choose = random.Random(seed)
    made = []
    for i in range(count):
        buffer = io.BytesIO()
        draw(side, side, 1000 * seed + i).save(buffer, "PNG")
        texts = tuple(words(choose.randint(*ANSWER_TOKENS), choose.randrange(2**31)) for _ in range(answers))
        made.append(Ask(picture=buffer.getvalue(), prompt=words(PROMPT_TOKENS, 1000 * seed + i), answers=texts))
    return made


def stagger(groups: Sequence[Ask], seconds: float, seed: int) -> list[Ask]:
    """Each answer by itself, at a time of its own within ``seconds``, as rollouts finish."""
    choose = random.Random(seed)
    singles = [single for group in groups for single in group.singles()]
    return [Ask(picture=s.picture, prompt=s.prompt, answers=s.answers, at=choose.uniform(0, seconds)) for s in singles]


def arrivals(asks: Sequence[Ask], per_second: float, seed: int) -> list[Ask]:
    """The same requests at random times (a Poisson process), whether or not earlier ones are answered."""
    choose = random.Random(seed)
    at = 0.0
    timed = []
    for ask in asks:
        timed.append(Ask(picture=ask.picture, prompt=ask.prompt, answers=ask.answers, at=at))
        at += choose.expovariate(per_second)
    return timed


@dataclass(kw_only=True)
class Outcome:
    """How a server did."""

    seconds: float
    """From the first request to the last answer."""
    latencies: list[float] = field(default_factory=list)
    """Seconds of each request."""
    rewards: list[list[float]] = field(default_factory=list)
    """Of each request's answers."""

    def figures(self) -> dict[str, float]:
        """Throughput in answers a second, and latencies."""
        answers = sum(map(len, self.rewards))
        ordered = sorted(self.latencies)
        return {
            "seconds": round(self.seconds, 3),
            "answers_per_second": round(answers / self.seconds, 4),
            "p50_seconds": round(statistics.median(ordered), 3),
            "p99_seconds": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 3),
        }


Send = Callable[[httpx.AsyncClient, Ask], Coroutine[Any, Any, list[float]]]


def run(asks: Sequence[Ask], send: Send, *, clients: int) -> Outcome:
    """Send requests: those with a time at that time, the others by ``clients`` clients, each as soon as it is free."""
    return asyncio.run(_run(asks, send, clients))


async def _run(asks: Sequence[Ask], send: Send, clients: int) -> Outcome:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits) as client:
        return await _run_with(client, asks, send, clients)


async def _run_with(client: httpx.AsyncClient, asks: Sequence[Ask], send: Send, clients: int) -> Outcome:
    turn = asyncio.Semaphore(clients)
    began = time.perf_counter()

    async def one(ask: Ask) -> tuple[float, list[float]]:
        if ask.at is not None:
            await asyncio.sleep(began + ask.at - time.perf_counter())
            return await _timed(client, ask, send)
        async with turn:
            return await _timed(client, ask, send)

    done = await asyncio.gather(*map(one, asks))
    seconds = time.perf_counter() - began
    return Outcome(seconds=seconds, latencies=[took for took, _ in done], rewards=[rewards for _, rewards in done])


async def _timed(client: httpx.AsyncClient, ask: Ask, send: Send) -> tuple[float, list[float]]:
    sent = time.perf_counter()
    rewards = await send(client, ask)
    return time.perf_counter() - sent, rewards
