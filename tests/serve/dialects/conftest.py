"""A desk over a random tiny model in this process, and the routes of the dialects in front of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image as Picture

from vlreward.data.limits import DEFAULT_LIMITS
from vlreward.data.parts import map_parts
from vlreward.data.sources import read_bytes
from vlreward.engines.base import Engine
from vlreward.engines.local import LocalEngine
from vlreward.model.calibration import Calibration
from vlreward.serve import dialects
from vlreward.serve.refusals import Refusal
from vlreward.serve.service import Desk
from vlreward.types import Group, Part, Reward, Text


@dataclass
class EngineService:
    """A `Service` over an engine, one call after the other."""

    engine: Engine
    model: str = "tiny"
    calibration: Calibration | None = None
    refusal: Exception | None = None

    async def score(self, groups: Sequence[Group], *, client: str, seconds: float | None = None) -> list[Reward]:
        if self.refusal is not None:
            raise self.refusal
        return self.engine.score(groups)


class OpenAdmission:
    """An `Admission` that reads data URIs and the pictures that it was given before, and checks nothing."""

    def __init__(self) -> None:
        self.store: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        name = f"media:{hashlib.sha256(data).hexdigest()}"
        self.store[name] = data
        return name

    async def admit(self, groups: Sequence[Group]) -> list[Group]:
        return [map_parts(group, self._read) for group in groups]

    def _read(self, part: Part) -> Part:
        if isinstance(part, Text) or isinstance(part.source, bytes):
            return part
        if isinstance(part.source, str) and part.source.startswith("media:"):
            if part.source not in self.store:
                raise Refusal("unknown_media", "send them again", media=(part.source,))
            return replace(part, source=self.store[part.source])
        return replace(part, source=read_bytes(part.source, DEFAULT_LIMITS, "picture"))


class Client:
    """Asks the routes without a socket."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def post(self, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.post(path, **options)

        return asyncio.run(ask())

    def ok(self, path: str, body: Any) -> Any:
        response = self.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()


def app_of(desk: Desk) -> FastAPI:
    app = FastAPI()
    app.include_router(dialects.router(desk))
    return app


@contextlib.contextmanager
def served(app: Any, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """An application on a port of this machine, for clients that bring their own HTTP."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan=lifespan, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="session")
def engine(checkpoint: Callable[..., Path]) -> LocalEngine:
    from vlreward.model.reward_model import RewardModel

    return LocalEngine(RewardModel.from_pretrained(checkpoint(), dtype="float32", device="cpu"))


@pytest.fixture
def admission() -> OpenAdmission:
    return OpenAdmission()


@pytest.fixture
def service(engine: LocalEngine) -> EngineService:
    return EngineService(engine)


class Switch:
    """A desk that stands for another: to make the routes is slow beside asking them."""

    def __init__(self) -> None:
        self.desk: Desk = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.desk, name)


@pytest.fixture(scope="session")
def switch() -> tuple[Switch, Client]:
    desk = Switch()
    return desk, Client(app_of(desk))  # type: ignore[arg-type]


@pytest.fixture
def client(switch: tuple[Switch, Client], service: EngineService, admission: OpenAdmission) -> Client:
    desk, asking = switch
    desk.desk = Desk(service=service, admission=admission)
    return asking


def picture(shade: int) -> bytes:
    """A small PNG, the same for the same shade."""
    image = Picture.linear_gradient("L").resize((60 + shade, 50)).rotate(shade).convert("RGB")
    image.paste((shade, 255 - shade, 7 * shade % 256), (5, 5, 40, 30))
    with io.BytesIO() as file:
        image.save(file, "PNG")
        return file.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def uri_of(data: bytes) -> str:
    return f"data:image/png;base64,{base64_of(data)}"


VISION = "<|vision_start|><|image_pad|><|vision_end|>"


def chatml(*turns: tuple[str, str]) -> str:
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
