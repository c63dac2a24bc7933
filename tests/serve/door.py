"""A small server over a fake engine, with the guards in front that a real one has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
from fastapi import FastAPI

from tests.fakes import FakeEngine
from vlreward.serve import media, native
from vlreward.serve.addresses import Addresses
from vlreward.serve.admission import Guard
from vlreward.serve.keys import Keys, RequireKey
from vlreward.serve.limits import LimitBodies, RequestLimits
from vlreward.serve.media import MediaStore
from vlreward.serve.service import Desk
from vlreward.types import Group, Reward


class FakeService:
    """A `Service` over `FakeEngine`; what it was asked is kept."""

    model = "fake"
    calibration = None

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[Group]]] = []
        self.error: Exception | None = None

    async def score(self, groups: Sequence[Group], *, client: str, seconds: float | None = None) -> list[Reward]:
        self.seen.append((client, list(groups)))
        if self.error is not None:
            raise self.error
        return FakeEngine().score(groups)


class Door:
    """The server, asked without a socket."""

    def __init__(
        self, limits: RequestLimits | None = None, keys: Keys | None = None, addresses: Addresses | None = None
    ) -> None:
        limits = limits or RequestLimits()
        self.service, self.store = FakeService(), MediaStore(2**24)
        self.app = FastAPI()
        self.app.include_router(
            native.router(Desk(service=self.service, admission=Guard(limits, self.store, addresses)), limits)
        )
        self.app.include_router(media.router(self.store, limits))
        self.app.add_middleware(LimitBodies, limits=limits)
        self.app.add_middleware(RequireKey, keys=keys)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def score(self, *groups: dict[str, Any], **options: Any) -> httpx.Response:
        """Ask for the rewards of groups."""
        return self.ask("POST", "/v1/score", json={"groups": list(groups)}, **options)


def showing(source: Any, **options: Any) -> dict[str, Any]:
    """A group about one picture."""
    part = {"type": "image", "image": source, **options}
    return {
        "messages": [{"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]}],
        "responses": ["A"],
    }


def code_of(response: httpx.Response) -> str | None:
    """The code of an error, None of an answer."""
    return response.json()["error"]["code"] if response.status_code != 200 else None
