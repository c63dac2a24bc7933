"""Who gets in, and what of a body is read: keys, sizes, slow clients."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from vlreward.errors import ConfigError
from vlreward.serve import keys as keys_module
from vlreward.serve.keys import Keys, RequireKey, client_of
from vlreward.serve.limits import LimitBodies, RequestLimits

FIRST, SECOND, THIRD = "first-key-of-several", "second-key-of-several", "third-key-of-several"


class App:
    """Answers 200; keeps the bodies that reach it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.clients: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        self.clients.append(client_of(Request(scope)))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


async def exchange(
    app: Any,
    chunks: Iterable[bytes] = (b"{}",),
    *,
    path: str = "/v1/score",
    method: str = "POST",
    headers: Sequence[tuple[str, str]] = (),
    pause: float = 0.0,
) -> tuple[int | None, dict[str, str], Any]:
    """Status, headers and JSON of the answer; no status where there is none."""
    waiting, sent = list(chunks), []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause)
        if not waiting:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "client": ("192.0.2.7", 4711), "state": {}}
    await app(scope, receive, send)
    if not sent:
        return None, {}, None
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def ask(app: Any, *chunks: bytes, **options: Any) -> tuple[int | None, dict[str, str], Any]:
    return asyncio.run(exchange(app, chunks or (b"{}",), **options))


def bearer(key: str) -> dict[str, Any]:
    return {"headers": [("Authorization", f"Bearer {key}")]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"# who may\nalice {FIRST}\n\n{SECOND}\n")
    return path


class TestKeys:
    def test_nobody_without_a_key(self, file: Path) -> None:
        app = App()
        door = RequireKey(app, keys=Keys.read(file))
        wrong = [(), [("Authorization", FIRST)], [("Authorization", "Bearer ")], [("Authorization", f"Basic {FIRST}")]]
        for headers in [*wrong, *(bearer(key)["headers"] for key in ("", FIRST[:-1], FIRST + "x", "alice", "é" * 20))]:
            status, found, body = ask(door, headers=headers)
            assert (status, body["error"]["code"]) == (401, "unauthorized")
            assert found["www-authenticate"] == "Bearer"
        for path in ("/metrics", "/v1/models", "/docs", "/health/live/x", "//health/live", "/nothing"):
            assert ask(door, path=path)[0] == 401
        assert not app.bodies
        assert ask(RequireKey(app, keys=None))[0] == 200, "without the guard"

    def test_everybody_with_one(self, file: Path) -> None:
        app = App()
        door = RequireKey(app, keys=Keys.read(file))
        for headers in (
            [("Authorization", f"bearer {FIRST}")],
            [("X-API-Key", FIRST)],
            [("Authorization", f"Bearer {SECOND}")],
        ):
            assert ask(door, headers=headers)[0] == 200
        assert app.clients[:2] == ["key alice", "key alice"]
        assert SECOND not in app.clients[2]

    def test_health_needs_none(self, file: Path) -> None:
        app = App()
        assert [ask(RequireKey(app, keys=Keys.read(file)), path=path)[0] for path in keys_module.OPEN_PATHS] == [
            200,
            200,
        ]
        assert app.clients == ["192.0.2.7", "192.0.2.7"]

    def test_without_keys_a_client_is_its_address(self) -> None:
        app = App()
        assert ask(RequireKey(app, keys=None), **bearer("any that it makes up"))[0] == 200
        assert app.clients == ["192.0.2.7"]

    def test_every_key_is_compared_in_constant_time(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        compared: list[tuple[bytes, bytes]] = []
        honest = hmac.compare_digest

        def watched(a: bytes, b: bytes) -> bool:
            compared.append((a, b))
            return honest(a, b)

        keys = Keys.read(file)
        monkeypatch.setattr(hmac, "compare_digest", watched)
        for key in (FIRST, SECOND, "nobody's", ""):
            compared.clear()
            keys.holder(key)
            assert len(compared) == 2, "it does not stop at the first that fits"
            assert {len(side) for pair in compared for side in pair} == {32}, "lengths say nothing"

    def test_a_changed_file_is_read_again(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = Keys.read(file)
        replace(file, f"{THIRD}\n")
        assert keys.holder(FIRST), "not looked at again at once"
        monkeypatch.setattr(keys_module, "_LOOK_SECONDS", 0.0)
        assert [bool(keys.holder(key)) for key in (FIRST, SECOND, THIRD)] == [False, False, True]
        replace(file, "")
        assert keys.holder(THIRD) is None, "no keys: nobody"

    @pytest.mark.parametrize("spoil", ["short\n", None])
    def test_a_file_that_is_spoilt_leaves_the_last_keys(
        self, spoil: str | None, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(keys_module, "_LOOK_SECONDS", 0.0)
        keys = Keys.read(file)
        file.unlink() if spoil is None else replace(file, spoil)
        assert keys.holder(FIRST) == "alice"
        assert "the last keys stay" in caplog.text
        assert FIRST not in caplog.text

    @pytest.mark.parametrize(
        ("text", "message"),
        [("", "no keys"), ("# none\n", "no keys"), (f"{FIRST}\nshort\n", ":2: "), (f"a b {FIRST}", ":1: ")],
    )
    def test_a_file_without_sound_keys(self, text: str, message: str, file: Path) -> None:
        file.write_text(text)
        with pytest.raises(ConfigError, match=message) as caught:
            Keys.read(file)
        assert FIRST not in str(caught.value)


def replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)


LIMITS = RequestLimits(max_body_bytes=1000, max_media_bytes=5000, body_seconds=0.3, max_held_bytes=8000)
LARGE = RequestLimits()


class TestBodies:
    def test_an_announced_body_is_refused_unread(self) -> None:
        app = App()
        announced = [("Content-Length", "1001")]
        status, headers, body = ask(LimitBodies(app, limits=LIMITS), b" " * 1001, headers=announced)
        assert (status, body["error"]["code"], headers["connection"]) == (413, "too_large", "close")
        assert not app.bodies
        assert ask(LimitBodies(app, limits=LARGE), b" " * 1001, headers=announced)[0] == 200

    @pytest.mark.parametrize("headers", [(), [("Transfer-Encoding", "chunked")], [("Content-Length", "5")]])
    def test_bytes_are_counted_as_they_come(self, headers: Any) -> None:
        app = App()
        chunks = [b" " * 100] * 11
        assert ask(LimitBodies(app, limits=LIMITS), *chunks, headers=headers)[0] == 413
        assert not app.bodies
        assert ask(LimitBodies(app, limits=LIMITS), *chunks[:10], headers=headers)[0] == 200
        assert ask(LimitBodies(app, limits=LARGE), *chunks, headers=headers)[0] == 200

    def test_media_have_a_limit_of_their_own(self) -> None:
        door = LimitBodies(App(), limits=LIMITS)
        for path, method, size, status in (
            ("/v1/media", "PUT", 5000, 200),
            ("/v1/media", "PUT", 5001, 413),
            ("/v1/media", "POST", 1001, 413),
            ("/v1/media/", "PUT", 1001, 413),
        ):
            assert ask(door, b"\xff" * size, path=path, method=method)[0] == status

    def test_one_byte_after_another(self) -> None:
        app, chunks = App(), [b" "] * 20
        status, _, body = ask(LimitBodies(app, limits=LIMITS), *chunks, pause=0.05)
        assert (status, body["error"]["message"]) == (400, "the body took longer than 0.3 s")
        assert not app.bodies
        assert ask(LimitBodies(app, limits=LARGE), *chunks, pause=0.05)[0] == 200

    def test_many_large_bodies_at_one_time(self) -> None:
        async def all_at_once(limits: RequestLimits) -> list[int | None]:
            door = LimitBodies(App(), limits=limits)
            asked = [exchange(door, [b" " * 500] * 2, pause=0.02) for _ in range(20)]
            first = [status for status, _, _ in await asyncio.gather(*asked)]
            return [*first, (await exchange(door))[0]]

        statuses = asyncio.run(all_at_once(LIMITS))
        assert 429 in statuses
        assert 200 in statuses
        assert statuses[-1] == 200, "what was held is given back"
        assert set(asyncio.run(all_at_once(LARGE))) == {200}

    def test_who_hangs_up_is_forgotten(self) -> None:
        app = App()
        door = LimitBodies(app, limits=LIMITS)

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise AssertionError("nobody is there")

        asyncio.run(door({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send))
        assert not app.bodies

    def test_errors_of_the_application_are_its_own(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            raise TimeoutError("not of the body")

        with pytest.raises(TimeoutError, match="not of the body"):
            ask(LimitBodies(app, limits=LIMITS))

    def test_other_forms_of_errors(self) -> None:
        door = LimitBodies(App(), limits=LIMITS, shape_of=lambda path: lambda refusal: {"detail": path})
        assert ask(door, b" " * 1001, path="/classify")[2] == {"detail": "/classify"}

    def test_what_is_not_http_passes(self) -> None:
        seen: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope["type"])

        asyncio.run(LimitBodies(app, limits=LIMITS)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
        asyncio.run(RequireKey(app, keys=None)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
        assert seen == ["lifespan"] * 2
