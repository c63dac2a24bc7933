"""Trainers' and OpenAI's own clients, asked for the rewards of a few samples.

``python -m tests.serve.dialects.clients`` records what they send, for the tests that run where they are not installed::

    pip install --no-deps openrlhf && pip install aiohttp pylatexenc sympy openai
"""

from __future__ import annotations

import asyncio
import base64
import importlib.metadata
import json
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vlreward.types import Group, Image

from .conftest import VISION, EngineService, OpenAdmission, app_of, chatml, served

RECORDED = Path(__file__).parents[2] / "fixtures" / "dialects" / "requests.json"

# 1 x 1, so that its id does not depend on who compresses it.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True)
class Sample:
    """A prompt as a chat template writes it, a policy's answer, and what a reward model is to see of them."""

    prompt: str
    answer: str
    ending: str
    label: str | None
    group: Group


def samples(picture: str) -> dict[str, Sample]:
    """Samples by name; ``picture`` is the id of `PIXEL`."""
    system = ("system", "You are a helpful assistant.")
    plain = chatml(system, ("user", "What is 2 + 2?")) + "<|im_start|>assistant\n"
    seen = chatml(system, ("user", f"{VISION}What is it?")) + "<|im_start|>assistant\n"
    messages = [{"role": "system", "content": system[1]}, {"role": "user", "content": "What is 2 + 2?"}]
    parts = [Image(source=PIXEL), {"type": "text", "text": "What is it?"}]
    looking = [messages[0], {"role": "user", "content": parts}]
    long = "Größe: 数\n\n  4 🙂"
    return {
        "text": Sample(plain, "It is 4.", "<|im_end|>", "4", Group(messages, ["It is 4."])),
        "cut off": Sample(plain, long, "", None, Group(messages, [long])),
        "picture": Sample(seen, "A dot.", "<|im_end|>", picture, Group(looking, ["A dot."])),
    }


Ask = Callable[[str, Sample], float]


def openrlhf(address: str, sample: Sample) -> float:
    """OpenRLHF's executor of single turns: it decodes the tokens of prompt and answer, and asks its remote reward."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from openrlhf.utils.agent import SingleTurnAgentExecutor

    from vlreward.tiny.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()

    class Policy:
        async def generate(self, *_: Any, **__: Any) -> Any:
            tokens = tokenizer(sample.answer + sample.ending, add_special_tokens=False)["input_ids"]
            return SimpleNamespace(outputs=[SimpleNamespace(token_ids=tokens, finish_reason="stop")])

    executor = SingleTurnAgentExecutor(f"{address}/get_reward")
    params = SimpleNamespace(max_tokens=64, logprobs=None)
    asked: Awaitable[Any] = executor.execute(sample.prompt, sample.label, params, 4096, tokenizer, Policy())
    output = asyncio.run(asked)  # type: ignore[arg-type]
    assert output["scores"] == output["reward"]
    return float(output["reward"][0])


def _openai(address: str) -> Any:
    from openai import OpenAI

    return OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def openai_embeddings(address: str, sample: Sample) -> float:
    """OpenAI's client, which asks for base64; verl reads the same number of the same route."""
    text = sample.prompt + sample.answer + sample.ending
    reply = _openai(address).embeddings.create(model="m", input=[text], extra_body={"extra_info": sample.label})
    return float(reply.data[-1].embedding[-1])


def openai_classify(address: str, sample: Sample) -> float:
    """vLLM's route through OpenAI's client."""
    text = sample.prompt + sample.answer + sample.ending
    body = {"model": "m", "input": text, "use_activation": False, "extra_info": sample.label}
    reply = _openai(address).post("/classify", body=body, cast_to=object)
    return float(reply["data"][-1]["probs"][-1])


CLIENTS: dict[str, Ask] = {
    "openrlhf": openrlhf,
    "openai, embeddings": openai_embeddings,
    "openai, classify": openai_classify,
}


def package(name: str) -> str:
    """The package that a client is of."""
    return name.partition(",")[0]


def record(engine: Any, path: Path = RECORDED) -> None:
    """Write what every client sends for every sample."""
    admission, rows = OpenAdmission(), []
    picture = admission.put(PIXEL)
    app = app_of_engine(engine, admission)
    bodies: list[dict[str, Any]] = []
    with served(_listening(app, bodies)) as address:
        for name, ask in CLIENTS.items():
            for title, sample in samples(picture).items():
                bodies.clear()
                ask(address, sample)
                version = f"{package(name)} {importlib.metadata.version(package(name))}"
                rows += [{"client": name, "version": version, "sample": title, **body} for body in bodies]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def app_of_engine(engine: Any, admission: OpenAdmission) -> Any:
    """The routes of all dialects over an engine."""
    from vlreward.serve.service import Desk

    return app_of(Desk(service=EngineService(engine), admission=admission))


def _listening(app: Any, bodies: list[dict[str, Any]]) -> Any:
    """The application, and what it is sent in ``bodies``."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        chunks = []

        async def heard() -> Any:
            message = await receive()
            if message["type"] == "http.request":
                chunks.append(message.get("body", b""))
                if not message.get("more_body"):
                    bodies.append({"path": scope["path"], "body": json.loads(b"".join(chunks))})
            return message

        await app(scope, heard, send)

    return asgi


if __name__ == "__main__":
    from tests.fakes import FakeEngine

    record(FakeEngine())
