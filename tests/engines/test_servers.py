"""Which server is asked, and when again."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections import Counter

import httpx
import pytest

from vlreward.engines import servers
from vlreward.engines.servers import Server, Servers, Unavailable
from vlreward.errors import EngineError


def made(*addresses: str, retries: int = 3) -> Servers:
    return Servers(addresses, api_key=None, timeout=9, retries=retries)


def test_waits_double_and_heed_the_server() -> None:
    for attempt, most in enumerate([0.5, 1, 2, 4, 8, 16, 30, 30]):
        waits = {servers._wait(attempt, None) for _ in range(50)}
        assert most / 2 <= min(waits) < max(waits) <= most
    assert 7 <= servers._wait(0, 7.0) <= 7.5
    later = email.utils.formatdate(time.time() + 20, usegmt=True)
    for said, least, most in (("7", 7.0, 7.0), (later, 15.0, 20.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0, 0.0)):
        found = Unavailable.of(httpx.Response(503, headers={"Retry-After": said}), "busy")
        assert least <= (found.retry_after or 0.0) <= most
    assert Unavailable.of(httpx.Response(503, headers={"Retry-After": "soon"}), "busy").retry_after is None


def test_the_first_one_is_asked_first_and_the_others_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_FIRST_WAIT", 0.001)
    asked: list[str] = []

    async def ask(server: Server) -> None:
        asked.append(server.url)
        raise Unavailable(f"{server.url}: down")

    async def work() -> None:
        several = made("http://a", "http://b/", "http://c", retries=5)
        with pytest.raises(EngineError, match=r"^http://.: down \(asked about this, 6 times\)$"):
            await several.tried(ask, "this", first=several.all[1])

    asyncio.run(work())
    assert asked[0] == "http://b"
    assert Counter(asked) == {"http://a": 2, "http://b": 2, "http://c": 2}


@pytest.mark.parametrize(("status", "busy"), [(500, False), (503, True)])
def test_a_request_that_a_server_fails_on_holds_nobody_up(
    status: int, busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_wait", lambda attempt, retry_after: 0.3)
    done: list[str] = []

    async def work() -> None:
        one = made("http://a", retries=1)

        async def failing(server: Server) -> None:
            if done.count("failed") < 1:
                done.append("failed")
                raise Unavailable.of(httpx.Response(status), "oh")
            done.append("at last")

        async def sound(server: Server) -> None:
            done.append("sound")

        waiting = asyncio.ensure_future(one.tried(failing, "this"))
        await asyncio.sleep(0.01)
        began = time.monotonic()
        await one.tried(sound, "that")
        assert (time.monotonic() - began > 0.2) is busy
        await waiting

    asyncio.run(work())
    assert Counter(done) == {"failed": 1, "sound": 1, "at last": 1}
