"""A whole server with a real model, asked by many clients in all dialects at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.test_server import wait_ready
from vlreward.engines.local import LocalEngine
from vlreward.serve.app import ServerOptions, create_app, over_worker
from vlreward.serve.model_factory import ModelFactory
from vlreward.types import Group, Image

from .conftest import VISION, base64_of, chatml, picture, served, uri_of

TOLERANCE = 1e-5  # measured 1e-6

CLIENTS = 64
QUESTIONS = ("What is it?", "How many squares are there?", "Describe the picture.")
ANSWERS = ("A red square on grey.", "Two.", "I cannot see.\nSorry!", "It is a cat, I would say, on a mat.")


@dataclass
class Asked:
    """A question with answers, asked in one dialect."""

    dialect: str
    question: str
    answers: list[str]
    picture: bytes | None

    @property
    def group(self) -> Group:
        """For the engine alone."""
        if self.picture is None:
            return Group(self.question, self.answers)
        parts = [Image(source=self.picture), {"type": "text", "text": self.question}]
        return Group([{"role": "user", "content": parts}], self.answers)

    def content(self) -> Any:
        if self.picture is None:
            return self.question
        url = {"type": "image_url", "image_url": {"url": uri_of(self.picture)}}
        return [url, {"type": "text", "text": self.question}]

    def item(self) -> Any:
        return self.question if self.picture is None else {"content": self.content()}

    def texts(self) -> list[str]:
        mark = "" if self.picture is None else VISION
        return [chatml(("user", mark + self.question), ("assistant", answer)) for answer in self.answers]

    def images(self) -> list[Any]:
        return [None if self.picture is None else base64_of(self.picture) for _ in self.answers]

    def requests(self) -> list[tuple[str, Any, Callable[[Any], list[float]]]]:
        """Path, body, and how to read the rewards; one request or one per answer."""
        texts, images = self.texts(), self.images()
        if self.dialect == "native":
            row = {"messages": [{"role": "user", "content": self.content()}], "responses": self.answers}
            return [("/v1/score", {"groups": [row]}, lambda r: list(r["rewards"][0]))]
        if self.dialect == "openrlhf":
            return [("/get_reward", {"query": texts, "images": images}, lambda r: list(r["rewards"]))]
        if self.dialect == "llamafactory":
            return [("/v1/score/evaluation", {"messages": texts, "images": images}, lambda r: list(r["scores"]))]
        if self.dialect in ("vllm, classify", "vllm, pooling"):
            turns = [
                [{"role": "user", "content": self.content()}, {"role": "assistant", "content": answer}]
                for answer in self.answers
            ]
            path, name = ("/classify", "probs") if self.dialect == "vllm, classify" else ("/pooling", "data")
            return [(path, {"messages": messages}, lambda r: list(r["data"][0][name])) for messages in turns]
        if self.dialect == "vllm, score":
            body = {"queries": self.item(), "documents": self.answers}
            return [("/score", body, lambda r: [row["score"] for row in r["data"]])]
        if self.dialect == "vllm, rerank":
            body = {"query": self.item(), "documents": self.answers}
            return [("/rerank", body, in_order)]
        if self.dialect == "sglang, embeddings":
            items = [{"text": text, "image": image} for text, image in zip(texts, images, strict=True)]
            return [("/v1/embeddings", {"input": items}, lambda r: [row["embedding"][-1] for row in r["data"]])]
        body = {"text": texts, "image_data": images}
        return [("/classify", body, lambda r: [row["embedding"][0] for row in r])]


def in_order(reply: Any) -> list[float]:
    return [row["relevance_score"] for row in sorted(reply["results"], key=lambda row: int(row["index"]))]


VLLM = ("vllm, classify", "vllm, pooling", "vllm, score", "vllm, rerank")
DIALECTS = ("native", "openrlhf", *VLLM, "sglang, embeddings", "sglang", "llamafactory")


def mixed(seed: int) -> Asked:
    chance = random.Random(seed)
    answers = chance.sample(ANSWERS, chance.randint(1, 4))
    shown = picture(chance.choice((3, 90))) if chance.random() < 0.6 else None
    return Asked(DIALECTS[seed % len(DIALECTS)], chance.choice(QUESTIONS), answers, shown)


async def ask(address: str, asked: Asked) -> list[float]:
    rewards: list[float] = []
    async with httpx.AsyncClient(base_url=address, timeout=200) as client:
        for path, body, read in asked.requests():
            response = await client.post(path, json=body)
            assert response.status_code == 200, (asked.dialect, response.text)
            rewards += read(response.json())
    return rewards


@pytest.mark.slow
def test_64_clients_of_all_dialects(checkpoint: Callable[..., Path], engine: LocalEngine) -> None:
    options = ServerOptions(model="tiny")
    factory = ModelFactory(path=str(checkpoint()), options={"dtype": "float32", "device": "cpu"})
    asked = [mixed(seed) for seed in range(CLIENTS)]
    expected = [reward.rewards for reward in engine.score([one.group for one in asked])]

    async def ask_all(address: str) -> list[list[float]]:
        return await asyncio.gather(*(ask(address, one) for one in asked))

    with served(create_app(options, over_worker(factory, options)), lifespan="on") as address:
        wait_ready(address)
        found = asyncio.run(ask_all(address))
    for one, rewards, values in zip(asked, found, expected, strict=True):
        assert rewards == pytest.approx(values, abs=TOLERANCE), one
