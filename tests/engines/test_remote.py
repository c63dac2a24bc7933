"""Asking servers: real routes over a fake engine, and servers that misbehave."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest

from tests.fakes import FakeEngine, group_row
from tests.serve.door import Door
from tests.serve.pictures import data_uri, png
from vlreward.engines import servers
from vlreward.engines.base import Engine
from vlreward.engines.remote import AsyncRemoteEngine, RemoteEngine
from vlreward.errors import ConfigError, EngineError, InputError, MediaError, ScoreError, VLRewardError
from vlreward.serve.limits import RequestLimits
from vlreward.serve.refusals import Refusal
from vlreward.types import Group, Image, Message, Text, Video

A, B = "http://a.example", "http://b.example"
Script = Callable[[httpx.Request], httpx.Response | None]


class Wires(httpx.AsyncBaseTransport):
    """Servers by host. A script may answer, or raise, before the application does."""

    def __init__(self, app: Any, script: Script | None = None) -> None:
        self._app, self._script = httpx.ASGITransport(app=app), script
        self.log: list[tuple[str, str, str]] = []
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        self.requests.append(request)
        self.log.append((request.url.host[0], request.method, request.url.path))
        answer = self._script(request) if self._script else None
        if answer is not None:
            return answer
        again = httpx.Request(request.method, request.url, headers=request.headers, content=body)
        return await self._app.handle_async_request(again)


@pytest.fixture(scope="module")
def door() -> Door:
    return Door()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(servers, "_LONGEST_WAIT", 0.01)


def engine_of(wires: Wires, servers: str | Sequence[str] = A, **options: Any) -> RemoteEngine:
    return RemoteEngine(servers, transport=wires, **options)


def texts(number: int) -> list[Group]:
    return [Group(**group_row(i)) for i in range(number)]


def once(answer: httpx.Response | Exception, path: str = "/v1/score") -> Script:
    """The first request to a path meets this."""
    left = [answer]

    def script(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != path or not left:
            return None
        found = left.pop()
        if isinstance(found, Exception):
            raise found
        return found

    return script


def always(answer: httpx.Response) -> Script:
    return lambda request: httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)


def refusing(code: str, where: str | None = None, message: str = "so it is", **more: Any) -> httpx.Response:
    status = Refusal(code, "").status
    return httpx.Response(status, json={"error": {"code": code, "message": message, "where": where, **more}})


def test_it_is_an_engine(door: Door) -> None:
    with engine_of(Wires(door.app), groups_per_request=3) as engine:
        assert isinstance(engine, Engine)
        assert engine.score(texts(8)) == FakeEngine().score(texts(8))
        assert engine.score([]) == []
    assert engine.score(texts(1)) == FakeEngine().score(texts(1)), "it opens again"
    engine.close()
    engine.close()


def test_lists_are_split(door: Door) -> None:
    wires = Wires(door.app)
    with engine_of(wires, groups_per_request=3, requests_at_once=2) as engine:
        engine.score(texts(8))
    assert sorted(len(json.loads(request.content)["groups"]) for request in wires.requests) == [2, 3, 3]


def test_groups_without_ids_stay_so(door: Door) -> None:
    rows = [group_row(i) | {"id": None} for i in range(2)]
    with engine_of(Wires(door.app)) as engine:
        assert [reward.id for reward in engine.score([Group(**row) for row in rows])] == [None, None]


def shown(*parts: Any) -> Group:
    return Group([Message("user", (*parts, Text(text="What?")))], ["A", "B"], id="g")


def test_pictures_go_once_and_arrive_as_they_are(door: Door, tmp_path: Path) -> None:
    data = png((30, 20), "red")
    path = tmp_path / "cat.png"
    path.write_bytes(data)
    picture = PIL.Image.new("RGB", (9, 9), "blue")
    PIL.Image.new("RGB", (5, 4), "green").save(tmp_path / "leaf.tiff")
    group = shown(
        Image(source=str(path)),
        Image(source=data),
        Image(source=data_uri(data), max_pixels=5000),
        Image(source={"bytes": None, "path": path}),
        Image(source=picture),
        Image(source=np.asarray(picture)),
        Image(source=tmp_path / "leaf.tiff"),
        Video(source=[picture, data], fps=4),
    )
    wires = Wires(door.app)
    with engine_of(wires) as engine:
        engine.score([group, group])
        engine.score([group])
    methods = Counter(method for _, method, _ in wires.log)
    assert methods == {"PUT": 3, "POST": 2}
    *stills, video, _ = door.service.seen[-1][1][0].messages[0].parts
    assert [part.source for part in stills[:4]] == [data] * 4
    assert stills[2].max_pixels == 5000
    assert stills[4].source == stills[5].source
    assert np.array_equal(np.asarray(PIL.Image.open(_file(stills[6].source))), np.full((4, 5, 3), (0, 128, 0)))
    assert video.source == (stills[4].source, data)
    assert video.fps == 4


def _file(data: bytes) -> Any:
    import io

    return io.BytesIO(data)


def test_forgotten_pictures_are_sent_again() -> None:
    door = Door()
    wires = Wires(door.app)
    group = shown(Image(source=png((8, 8), "red")))
    with engine_of(wires) as engine:
        first = engine.score([group])
        door.store._kept.clear()
        assert engine.score([group]) == first
    assert [path for _, _, path in wires.log] == ["/v1/media", "/v1/score", "/v1/score", "/v1/media", "/v1/score"]


def test_a_server_that_always_forgets(door: Door) -> None:
    group = shown(Image(source=png((8, 8), "red")))
    name = "media:" + "0" * 64

    def script(request: httpx.Request) -> httpx.Response | None:
        named = (
            [part["image"] for part in json.loads(request.content)["groups"][0]["messages"][0]["content"][:1]]
            if request.method == "POST"
            else []
        )
        return refusing("unknown_media", media=named) if named else None

    with engine_of(Wires(door.app, script), retries=1) as engine, pytest.raises(EngineError, match="drops pictures"):
        engine.score([group])
    with engine_of(Wires(door.app), retries=1) as engine, pytest.raises(EngineError, match="never sent media:0"):
        engine.score([shown(Image(source=name))])


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.Response(429, headers={"Retry-After": "0"}),
        httpx.Response(503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        httpx.Response(502, text="<html>"),
        refusing("busy"),
        refusing("unavailable"),
        refusing("too_late"),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout(""),
        httpx.RemoteProtocolError("closed"),
    ],
)
def test_it_tries_again(trouble: httpx.Response | Exception, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers.random, "uniform", lambda low, high: 0.0)
    with engine_of(Wires(door.app, once(trouble))) as engine:
        assert engine.score(texts(2)) == FakeEngine().score(texts(2))


def test_it_gives_up(door: Door) -> None:
    wires = Wires(door.app, always(refusing("busy", message="the queue is full")))
    with engine_of(wires, retries=2) as engine, pytest.raises(EngineError) as caught:
        engine.score(texts(2))
    assert str(caught.value) == f"{A}: the queue is full (asked about group 'g0' and 1 more, 3 times)"
    assert len(wires.log) == 3


def test_servers_share_the_work_and_stand_in_for_each_other(door: Door) -> None:
    wires = Wires(door.app)
    with engine_of(wires, [A, B], groups_per_request=1, requests_at_once=4) as engine:
        engine.score(texts(12))
    assert {host for host, _, _ in wires.log} == {"a", "b"}

    def a_is_down(request: httpx.Request) -> None:
        if request.url.host == "a.example":
            raise httpx.ConnectError("down")

    wires = Wires(door.app, a_is_down)
    with engine_of(wires, [A, B + "/"], groups_per_request=1) as engine:
        assert engine.score(texts(12)) == FakeEngine().score(texts(12))


def test_pictures_go_to_the_server_that_is_asked() -> None:
    doors = {"a": Door(), "b": Door()}

    class Two(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await httpx.ASGITransport(app=doors[request.url.host[0]].app).handle_async_request(request)

    groups = [shown(Image(source=png((8, 8 + i), "red"))) for i in range(8)]
    with RemoteEngine([A, B], transport=Two(), groups_per_request=1, requests_at_once=4) as engine:
        assert len(engine.score(groups)) == 8
    assert all(len(door.store) > 0 for door in doors.values())


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (refusing("bad_request", "groups[1].responses[0]"), InputError, "group 'g1'.responses[0]: so it is"),
        (refusing("bad_request", "body"), InputError, "body: so it is"),
        (refusing("unscorable", "groups[0]"), ScoreError, "group 'g0': so it is"),
        (refusing("unauthorized"), ConfigError, f"{A}: so it is"),
        (refusing("internal"), EngineError, f"{A}: so it is"),
        (httpx.Response(500, text="oh"), EngineError, f"{A}: answered 500 Internal Server Error, not as"),
        (httpx.Response(404, json={"detail": "Not Found"}), EngineError, f"{A}: answered 404 Not Found, not as"),
        (httpx.Response(401, text="nginx"), ConfigError, "wants an API key"),
        (httpx.Response(200, text="hello"), EngineError, f"{A}: answered 200 OK, not as"),
        (httpx.Response(200, json={}), EngineError, f"{A}: no rewards came back for 2 groups"),
        (httpx.Response(200, json={"rewards": [[1, 2, 3]]}), EngineError, f"{A}: 1 rewards came back for 2 groups"),
        (httpx.Response(200, json={"rewards": [[1, 2, 3], [1]]}), EngineError, "group 'g1': 1 rewards came back for 3"),
        (httpx.Response(200, content=b'{"rewards": [[1, 2, NaN], [1, 2, 3]]}'), EngineError, "group 'g0': "),
        (httpx.Response(200, json={"rewards": [[1, 2, "3"], [1, 2, 3]]}), EngineError, "group 'g0': "),
    ],
)
def test_answers_that_are_none(answer: httpx.Response, kind: type[VLRewardError], message: str, door: Door) -> None:
    wires = Wires(door.app, always(answer))
    with engine_of(wires) as engine, pytest.raises(kind) as caught:
        engine.score(texts(2))
    assert message in str(caught.value)
    assert type(caught.value) is kind
    assert len(wires.log) == 1, "trying again would not help"


def test_what_is_too_large_is_asked_in_halves() -> None:
    door = Door(RequestLimits(max_responses=7))
    wires = Wires(door.app)
    with engine_of(wires) as engine:
        assert engine.score(texts(9)) == FakeEngine().score(texts(9))
        with pytest.raises(InputError, match="8 responses; at most 7"):
            engine.score([*texts(3), Group("Q", list("ABCDEFGH"))])


def test_broken_pictures_name_their_group(door: Door, tmp_path: Path) -> None:
    with engine_of(Wires(door.app)) as engine:
        with pytest.raises(MediaError, match=r"group 'g': .*gone\.png: no such file"):
            engine.score([shown(Image(source=tmp_path / "gone.png"))])
        with pytest.raises(MediaError, match="group 'g': there is no source"):
            engine.score([shown(Image())])
        with pytest.raises(InputError, match=r"group 'g': body: .*header"):
            engine.score([shown(Image(source=b"\x89PNG\r\n\x1a\n"))])


def test_it_says_its_key_and_how_long_it_waits(door: Door) -> None:
    wires = Wires(door.app)
    with engine_of(wires, api_key="k" * 16, timeout=7) as engine:
        engine.score(texts(1))
    headers = wires.requests[0].headers
    assert headers["Authorization"] == "Bearer " + "k" * 16
    assert headers["X-Vlreward-Deadline"] == "7"


def test_one_failure_ends_the_rest(door: Door) -> None:
    def script(request: httpx.Request) -> httpx.Response | None:
        return refusing("bad_request", "groups[0]") if b'"id":"g0"' in request.content else None

    wires = Wires(door.app, script)
    with engine_of(wires, groups_per_request=1, requests_at_once=1) as engine, pytest.raises(InputError, match="'g0'"):
        engine.score(texts(50))
    assert len(wires.log) < 50


def test_asynchronous_callers(door: Door) -> None:
    async def ask() -> Any:
        async with AsyncRemoteEngine(A, transport=Wires(door.app)) as engine:
            return await asyncio.gather(*(engine.score([group]) for group in texts(5)))

    assert [part[0] for part in asyncio.run(ask())] == FakeEngine().score(texts(5))


def test_it_can_be_used_inside_a_loop(door: Door) -> None:
    async def ask() -> Any:
        return engine.score(texts(1))

    with engine_of(Wires(door.app)) as engine:
        assert asyncio.run(ask()) == FakeEngine().score(texts(1))


def test_it_can_be_pickled(door: Door) -> None:
    engine = RemoteEngine([A, B], api_key="k" * 16, retries=3)
    copy = pickle.loads(pickle.dumps(engine))
    assert copy._make.keywords["retries"] == 3
    copy.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_has_a_thread_of_its_own(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine_of(Wires(door.app)) as engine:
        engine.score(texts(1))
        ours = engine._running
        assert ours is not None
        with monkeypatch.context() as patch:
            patch.setattr(ours[0], "_process", -1)  # as the object looks from a child
            theirs = engine._started()
            assert theirs is not ours
        theirs[0].stop()
        engine._running = ours


@pytest.mark.parametrize(
    ("servers", "options", "message"),
    [
        ([], {}, "no servers"),
        ("localhost:8080", {}, "not the address"),
        ("http://a/?x=1", {}, "not the address"),
        ("http://a:99999", {}, "not the address"),
        ("http://a:x", {}, "not the address"),
        (A, {"api_key": "schlüssel"}, "API key must be ASCII"),
        (A, {"api_key": "key\nX-Other: 1"}, "API key must be ASCII"),
        (A, {"timeout": 0}, "timeout"),
        (A, {"groups_per_request": 0}, "groups_per_request"),
        (A, {"requests_at_once": 0}, "requests_at_once"),
        (A, {"retries": -1}, "retries"),
    ],
)
def test_wrong_arguments(servers: Any, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RemoteEngine(servers, **options)


def test_both_take_the_same_arguments() -> None:
    assert inspect.signature(RemoteEngine) == inspect.signature(AsyncRemoteEngine)


def test_it_needs_neither_torch_nor_transformers() -> None:
    code = """
import sys
absent = "torch transformers accelerate safetensors huggingface_hub jinja2 pyarrow rich fastapi"
for name in absent.split():
    sys.modules[name] = None  # as if it were not installed
import io, httpx, PIL.Image
from vlreward.engines.remote import RemoteEngine
from vlreward.types import Group, Image
class Server(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request):
        await request.aread()
        return httpx.Response(200, json={"rewards": [[0.5]]})
part = {"type": "image", "image": PIL.Image.new("RGB", (9, 9))}
group = Group([{"role": "user", "content": [part]}], ["A"])
with RemoteEngine("http://a", transport=Server()) as engine:
    print(engine.score([group])[0].rewards)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(0.5,)", done.stderr
