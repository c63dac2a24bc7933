"""Requests that are nearly right: each is answered, and none with a mistake of the server's."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.serve.backends import FakeBackend
from tests.serve.fuzzing import Fuzzed, Fuzzer
from vlreward.serve.app import ServerOptions, create_app

_SECONDS = 60
_GROWTH = 64 * 2**20


async def answered(seed: int, number: int, warm: int) -> tuple[Counter[int], int]:
    """How many answers of each status there were, and by how much memory grew after the first ones."""
    app = create_app(ServerOptions(model="fake"), lambda metrics: FakeBackend())
    statuses: Counter[int] = Counter()
    before = 0
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        for i, request in enumerate(Fuzzer(app.openapi(), seed).requests(number)):
            if i == warm:
                before = resident()
            async with asyncio.timeout(_SECONDS):
                statuses[await status_of(client, request)] += 1
    return statuses, resident() - before


async def status_of(client: httpx.AsyncClient, request: Fuzzed) -> int:
    response = await client.request(request.method, request.path, headers=request.headers, content=request.content)
    assert response.status_code < 500, (request, response.text)
    if response.status_code >= 400:
        assert "/etc" not in response.text or b"/etc" in request.content
        assert "Traceback" not in response.text
    return response.status_code


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_few_hundred_requests(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        statuses, _ = asyncio.run(answered(seed=0, number=300, warm=0))
    assert statuses[200] > 10, "some of them are right"
    assert statuses[400] > 50
    assert not caplog.records, "nothing that nobody foresaw"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_requests() -> None:
    statuses, growth = asyncio.run(answered(seed=1, number=10_000, warm=2_000))
    assert statuses.total() == 10_000
    assert growth < _GROWTH
