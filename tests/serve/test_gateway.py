"""Another server behind ours: a stand-in for vLLM, and an engine that stands for another vlreward server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest

from tests.fakes import FakeEngine, fake_reward
from vlreward.engines.remote import AsyncRemoteEngine
from vlreward.errors import ConfigError, EngineError, InputError, ScoreError, UnsupportedError
from vlreward.serve import gateway, native
from vlreward.serve.app import ServerOptions, create_app
from vlreward.serve.gateway import DetectedEngine, GatewayLimits, RemoteService
from vlreward.serve.limits import RequestLimits
from vlreward.serve.refusals import Refusal
from vlreward.serve.service import Desk
from vlreward.serve.vllm_engine import VllmEngine
from vlreward.types import Group, Image, Reward

from .dialects.conftest import VISION, OpenAdmission, app_of, chatml, picture, served, uri_of
from .dialects.vllm_standin import StandIn, standin_app
from .engines import CALIBRATION
from .test_server import wait_ready

URL = "http://vllm:8000"


class Bare:
    """An engine that does as told."""

    def __init__(self, **models: Any) -> None:
        self.models: Any = models or {"data": [{"id": "far", "owned_by": "vlreward", "settings": {"dtype": "float32"}}]}
        self.scored: list[str | None] = []
        self.blocked = asyncio.Event()
        self.blocked.set()
        self.failure: Exception | None = None
        self.closed = 0

    async def describe(self) -> dict[str, Any]:
        await self.blocked.wait()
        if self.failure is not None:
            raise self.failure
        return dict(self.models)

    async def score(self, groups: Sequence[Group]) -> list[Reward]:
        self.scored.append(groups[0].id)
        await self.blocked.wait()
        if self.failure is not None:
            raise self.failure
        return FakeEngine().score(groups)

    async def close(self) -> None:
        self.closed += 1


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await work()

    asyncio.run(limited())


def over(standin: StandIn, **options: Any) -> VllmEngine:
    transport = httpx.ASGITransport(app=standin_app(standin))
    return VllmEngine(URL, transport=transport, **options)


GROUPS = [
    Group("What is 2 + 2?", ["4", "5", ""], id="a"),
    Group([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Größe 数?"}], ["🙂"]),
]
SEEN = Group(
    [{"role": "user", "content": [Image(source=picture(3)), {"type": "text", "text": "What is it?"}]}],
    ["A square.", [{"type": "image", "image": picture(90)}]],
)


@pytest.mark.parametrize("route", ["classify", "pooling"])
def test_rewards_of_vllm_are_raw(route: Any) -> None:
    async def work() -> None:
        standin = StandIn(FakeEngine())
        engine = over(standin, route=route)
        expected = [tuple(fake_reward(group, i) for i in range(len(group))) for group in GROUPS]
        rewards = await engine.score(GROUPS)
        assert [reward.id for reward in rewards] == ["a", None]
        for reward, values in zip(rewards, expected, strict=True):
            assert reward.rewards == pytest.approx(values, abs=1e-9)
        assert len(standin.asked) == 4  # one request per response
        assert {body["model"] for body in standin.asked} == {standin.name}
        await engine.close()

    run(work)


def test_pictures_go_as_data_uris() -> None:
    async def work() -> None:
        standin = StandIn(FakeEngine())
        engine = over(standin, model="served/reward")
        await engine.score([SEEN])
        asked = standin.asked[0]["messages"]
        url = {"type": "image_url", "image_url": {"url": uri_of(picture(3))}}
        assert asked[0] == {"role": "user", "content": [url, {"type": "text", "text": "What is it?"}]}
        assert standin.asked[1]["messages"][1]["content"][0]["image_url"]["url"] == uri_of(picture(90))

    run(work)


def test_what_cannot_be_answered_now_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlreward.engines.servers._FIRST_WAIT", 0.001)

    async def work() -> None:
        standin = StandIn(FakeEngine(), failures=[503, 429, 500])
        engine = over(standin, model="served/reward")
        assert len(await engine.score(GROUPS[1:])) == 1
        assert len(standin.asked) == 4
        standin.failures = [500] * 9
        with pytest.raises(EngineError, match=r"answered 500 \(asked about groups\[0\]: responses\[0\], 6 times\)"):
            await engine.score(GROUPS[1:])

    run(work)


def test_errors_of_vllm_name_the_group() -> None:
    async def work() -> None:
        engine = over(StandIn(FakeEngine()))
        with pytest.raises(
            InputError, match=r"group 'b': responses\[0\]: vLLM does not take it: maximum context length"
        ):
            await engine.score([*GROUPS, Group("too long", ["A"], id="b")])
        with pytest.raises(EngineError, match="404: The model `other` does not exist"):
            await over(StandIn(FakeEngine()), model="other").score(GROUPS)
        with pytest.raises(EngineError, match="num_labels 1"):
            await over(StandIn(FakeEngine(), labels=2)).score(GROUPS)
        video = Group([{"role": "user", "content": [{"type": "video", "video": "a.mp4"}]}], ["A"])
        with pytest.raises(UnsupportedError, match="a video"):
            await engine.score([video])
        limited = Group([{"role": "user", "content": [Image(source=picture(3), max_pixels=9)]}], ["A"])
        with pytest.raises(UnsupportedError, match="pixel limits"):
            await engine.score([limited])

    run(work)


def test_another_server_stands_in() -> None:
    asked: list[str] = []

    class OneDown(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.url.host)
            if request.url.host == "down":
                raise httpx.ConnectError("refused")
            return await up.handle_async_request(request)

    up = httpx.ASGITransport(app=standin_app(StandIn(FakeEngine())))

    async def work() -> None:
        engine = VllmEngine(["http://down", "http://up"], model="served/reward", transport=OneDown(), retries=1)
        assert len(await engine.score(GROUPS)) == 2
        assert set(asked) == {"down", "up"}

    run(work)


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_a_reward_that_is_no_finite_number(number: str) -> None:
    async def work() -> None:
        answer = f'{{"data": [{{"index": 0, "probs": [{number}]}}]}}'
        transport = httpx.MockTransport(lambda request: httpx.Response(200, text=answer))
        with pytest.raises(ScoreError, match=r"group 'a': responses\[0\]: vLLM's reward is (nan|inf)"):
            await VllmEngine(URL, model="m", transport=transport).score(GROUPS[:1])

    run(work)


@pytest.mark.parametrize("servers", [[], "localhost:8000", ["http://a", "b"]])
def test_addresses_are_checked(servers: Any) -> None:
    with pytest.raises(ConfigError, match=r"no servers|not the address of a server"):
        VllmEngine(servers)


def test_the_kind_of_server_is_found_out() -> None:
    async def work() -> None:
        ours, theirs = Bare(), Bare(data=[{"id": "theirs", "owned_by": "vllm", "max_model_len": 9}])
        for answering, kind in ((ours, "vlreward"), (theirs, "vllm")):
            asked = Bare(**answering.models)
            made = {"vlreward": lambda *_, **__: asked, "vllm": lambda *_, **__: theirs}  # noqa: B023
            engine = DetectedEngine(URL, engines=made)  # type: ignore[arg-type]
            service = RemoteService(engine)
            service.start()
            await service.wait_tried()
            assert service.ready
            await service.score(GROUPS, client="x")
            assert len((asked if kind == "vlreward" else theirs).scored) == 1
            assert service.settings["owned_by"] == kind
            await service.close()
            assert asked.closed == 1
        assert (service.model, service.settings["max_model_len"]) == ("theirs", 9)
        strange = {"vlreward": lambda *_, **__: Bare(data=[{"id": "m", "owned_by": "somebody"}])}
        with pytest.raises(EngineError, match="owned by 'somebody'"):
            await DetectedEngine(URL, engines=strange).describe()  # type: ignore[arg-type]

    run(work)


def test_a_dead_server_is_said_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_WATCH_SECONDS", 0.01)
    monkeypatch.setattr(gateway, "_PROBE_SECONDS", 0.05)

    async def work() -> None:
        engine = Bare()
        engine.failure = EngineError("cannot be reached")
        service = RemoteService(engine, model="mine")
        service.start()
        with pytest.raises(EngineError, match="cannot be reached"):
            await service.wait_tried()
        assert (service.ready, service.model) == (False, "mine")
        engine.failure = None
        while not service.ready:
            await asyncio.sleep(0.01)
        assert service.settings == {"dtype": "float32", "owned_by": "vlreward"}
        engine.blocked.clear()  # it hangs
        while service.ready:
            await asyncio.sleep(0.01)
        engine.blocked.set()
        while not service.ready:
            await asyncio.sleep(0.01)
        await service.close()
        await service.close()
        assert engine.closed == 1
        with pytest.raises(Refusal, match="about to end"):
            await service.score(GROUPS, client="x")

    run(work)


def test_a_server_that_shapes_its_rewards_is_refused() -> None:
    async def work() -> None:
        card = {"id": "far", "owned_by": "vlreward", "settings": {"shaping": {"clip": 3.0}}}
        service = RemoteService(Bare(data=[card]))
        service.start()
        with pytest.raises(EngineError, match="shapes its rewards; start it without"):
            await service.wait_tried()
        await service.close()

    run(work)


def test_a_server_that_ends_tells_everybody() -> None:
    async def work() -> None:
        engine = Bare()
        service = RemoteService(engine, limits=GatewayLimits(at_once=1))
        service.start()
        await service.wait_tried()
        engine.blocked.clear()
        calls = [asyncio.create_task(service.score(GROUPS, client=name)) for name in "ab"]  # one asks, one waits
        await asyncio.sleep(0.01)
        await service.close()
        for told in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(told, Refusal)
            assert (told.code, told.message) == ("unavailable", "the server is about to end")

    run(work)


def test_rewards_are_shaped() -> None:
    async def work() -> None:
        service = RemoteService(Bare(), calibration=CALIBRATION)  # of spread 4
        desk = Desk(service=service, admission=OpenAdmission(), normalise=True)
        plain, shaped = await desk.unshaped(GROUPS, client="x"), await desk.score(GROUPS, client="x")
        for a, b in zip(plain, shaped, strict=True):
            assert b.rewards == pytest.approx([value / 4 for value in a.rewards])

    run(work)


def test_a_deadline_and_a_key_that_is_not_known() -> None:
    async def work() -> None:
        engine = Bare()
        service = RemoteService(engine, limits=GatewayLimits(at_once=1))
        engine.blocked.clear()
        with pytest.raises(Refusal) as late:
            await service.score(GROUPS, client="x", seconds=0.01)
        assert late.value.code == "too_late"
        engine.blocked.set()
        engine.failure = ConfigError("the API key is not known")
        with pytest.raises(EngineError, match="API key"):  # not the client's mistake
            await service.score(GROUPS, client="x")

    run(work)


def one(name: str) -> list[Group]:
    return [Group("Q", ["A"], id=name)]


def test_clients_take_turns_and_the_queue_is_bounded() -> None:
    async def work() -> None:
        engine = Bare()
        service = RemoteService(engine, limits=GatewayLimits(at_once=1, waiting=6))
        engine.blocked.clear()
        names = ["a0", "a1", "a2", "a3", "b0", "b1", "c0"]
        calls = []
        for name in names:
            calls.append(asyncio.create_task(service.score(one(name), client=name[0])))
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        with pytest.raises(Refusal) as full:
            await service.score(one("d0"), client="d")
        assert (full.value.code, full.value.retry_after) == ("busy", 1)
        calls[2].cancel()  # a2 gives up its place in the queue
        await asyncio.sleep(0)
        engine.blocked.set()
        await asyncio.gather(*calls, return_exceptions=True)
        assert engine.scored == ["a0", "a1", "b0", "c0", "a3", "b1"]
        assert len(await service.score(one("e0"), client="e")) == 1  # all places are back

    run(work)


def test_dialects_and_ids_of_pictures_in_front_of_vllm() -> None:
    async def work() -> None:
        standin, admission = StandIn(FakeEngine()), OpenAdmission()
        service = RemoteService(over(standin), model="mine")
        desk = Desk(service=service, admission=admission)
        transport = httpx.ASGITransport(app=app_of(desk))
        text = (
            "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What is it?<|im_end|>\n"
            "<|im_start|>assistant\nA square.<|im_end|>"
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            body = {"query": [text] * 2, "labels": [admission.put(picture(3)), admission.put(picture(90))]}
            reply = (await client.post("/get_reward", json=body)).json()
            late = await client.post("/get_reward", json=body | {"query": [text.replace("What", "too long")] * 2})
        assert len({*reply["rewards"]}) == 2
        seen = standin.asked[0]["messages"][0]["content"][0]["image_url"]["url"]
        assert seen == uri_of(picture(3))
        assert late.status_code == 400
        assert "query[0]" in late.json()["detail"]

    run(work)


def test_our_own_server_behind_ours() -> None:
    """`AsyncRemoteEngine` against the routes of the native protocol, through the gateway."""
    from fastapi import FastAPI

    from .dialects.conftest import EngineService

    async def work() -> None:
        behind = FastAPI()
        desk = Desk(service=EngineService(FakeEngine()), admission=OpenAdmission())
        behind.include_router(native.router(desk, RequestLimits()))
        engine = AsyncRemoteEngine("http://far", transport=httpx.ASGITransport(app=behind), retries=0)
        service = RemoteService(engine, model="mine")
        rewards = await service.score(GROUPS, client="x")
        expected = FakeEngine().score(GROUPS)
        assert [reward.rewards for reward in rewards] == [reward.rewards for reward in expected]
        await engine.close()

    run(work)


def test_a_whole_server_in_front_of_vllm() -> None:
    """As ``vlreward serve --backend`` puts it together, over sockets."""
    standin = StandIn(FakeEngine())
    options = ServerOptions(model="remote")
    parts = [Image(source=uri_of(picture(3))), {"type": "text", "text": "What is it?"}]
    seen = Group([{"role": "user", "content": parts}], ["A."])
    with served(standin_app(standin)) as vllm:
        app = create_app(options, lambda metrics: RemoteService(DetectedEngine([vllm])))
        with served(app, lifespan="on") as address, httpx.Client(base_url=address, timeout=60) as client:
            wait_ready(address)
            card = client.get("/v1/models").json()["data"][0]
            assert (card["id"], card["settings"]["max_model_len"]) == (standin.name, 4096)
            picture_id = client.put("/v1/media", content=picture(3)).json()["id"]
            text = chatml(("user", f"{VISION}What is it?"), ("assistant", "A."))
            body = {"query": [text], "labels": [picture_id]}
            reward = client.post("/get_reward", json=body).json()["rewards"][0]
            missing = client.post("/get_reward", json=body | {"labels": ["media:" + "0" * 64]})
    assert reward == pytest.approx(fake_reward(seen, 0), abs=1e-9)
    assert (missing.status_code, missing.json()["media"]) == (409, ["media:" + "0" * 64])
