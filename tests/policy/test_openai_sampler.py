"""Answers from a server of chat completions, played by a function."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.train.conftest import noise
from vlreward import Group
from vlreward.engines import servers
from vlreward.errors import ConfigError, EngineError, MediaError, UnsupportedError
from vlreward.policy.openai_sampler import OpenAISampler
from vlreward.policy.sampling import Prompt, Sampler, SamplingSettings

httpx = pytest.importorskip("httpx")
SETTINGS = SamplingSettings(answers=3, temperature=0.7, top_p=0.9, max_tokens=40, stop=("\n\n",), seed=5)


class Server:
    """Keeps what it was asked; answers with what the functions say, one after the other, the last one for good."""

    def __init__(self, *replies: Callable[[dict[str, Any]], Any]) -> None:
        self.replies, self.asked, self.headers = list(replies), [], []  # type: ignore[var-annotated]

    def __call__(self, request: Any) -> Any:
        body = json.loads(request.content)
        self.asked.append(body)
        self.headers.append(request.headers)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        found = reply(body)
        return httpx.Response(200, json=found) if isinstance(found, dict) else found

    def sampler(self, **options: Any) -> OpenAISampler:
        return OpenAISampler("http://policy/v1/", "p", transport=httpx.MockTransport(self), **options)


def answers(body: dict[str, Any]) -> dict[str, Any]:
    last = body["messages"][-1]["content"]
    choices = [
        {"message": {"role": "assistant", "content": f"{last} {i}"}, "finish_reason": "length" if i == 1 else "stop"}
        for i in range(body["n"])
    ]
    return {"choices": choices}


def later(_: dict[str, Any]) -> Any:
    return httpx.Response(503, headers={"Retry-After": "0"})


def prompt(content: Any, id: str = "q") -> Prompt:
    return Prompt.of(Group([{"role": "user", "content": content}], ["?"], id=id))


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_wait", lambda attempt, retry_after: 0.0)


def test_what_is_asked_and_what_comes_back() -> None:
    server = Server(answers)
    sampler = server.sampler(api_key="secret")
    assert isinstance(sampler, Sampler)
    first, second = sampler.sample([prompt("One", "1"), prompt("Two", "2")], SETTINGS)
    sampler.close()
    assert [str(response[0].content) for response in second.group.responses] == ["Two 0", "Two 1", "Two 2"]
    assert (first.group.id, first.unfinished) == ("1", {1})
    asked = next(body for body in server.asked if body["messages"][0]["content"] == "One")
    seed = asked.pop("seed")
    assert asked == {
        "model": "p",
        "messages": [{"role": "user", "content": "One"}],
        "n": 3,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 40,
        "stop": ["\n\n"],
    }
    assert 0 <= seed < 2**31
    assert server.headers[0]["Authorization"] == "Bearer secret"


def test_pictures_are_sent_inside(tmp_path: Path) -> None:
    noise(1).save(tmp_path / "one.png")
    server = Server(lambda body: answers(body | {"messages": [{"content": "It"}]}))
    parts = [
        {"type": "image", "image": str(tmp_path / "one.png")},
        {"type": "image", "image": noise(2)},
        {"type": "text", "text": "Which?"},
    ]
    server.sampler().sample([prompt(parts)], SETTINGS)
    first, second, text = server.asked[0]["messages"][0]["content"]
    for part in (first, second):
        assert part["type"] == "image_url"
        assert part["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert text == {"type": "text", "text": "Which?"}
    with pytest.raises(MediaError, match=r"prompt 'q'.*none\.png"):
        server.sampler().sample([prompt([{"type": "image", "image": "none.png"}])], SETTINGS)
    with pytest.raises(UnsupportedError, match="prompt 'q': a video"):
        server.sampler().sample([prompt([{"type": "video", "video": "a.mp4"}])], SETTINGS)


def test_a_begun_answer_is_gone_on_with() -> None:
    server = Server(lambda body: answers(body | {"messages": [{"content": " mat"}]}))
    begun = replace(prompt("Where is it?"), beginning="It is on the")
    (sampled,) = server.sampler().sample([begun], SETTINGS)
    assert [str(response[0].content) for response in sampled.group.responses] == [
        f"It is on the mat {i}" for i in range(3)
    ]
    (body,) = server.asked
    assert body["messages"] == [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "It is on the"},
    ]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    refusing = Server(lambda _: httpx.Response(400, text="unknown parameter"))
    with pytest.raises(EngineError, match=r"answered 400: unknown parameter; it was to go on with a begun answer"):
        refusing.sampler().sample([begun], SETTINGS)


def test_a_server_that_gives_one_answer_is_asked_again() -> None:
    server = Server(lambda body: answers(body | {"n": 1}))
    (sampled,) = server.sampler().sample([prompt("One")], SETTINGS)
    assert len(sampled.group) == 3
    assert [body["n"] for body in server.asked] == [3, 2, 1]
    assert len({body["seed"] for body in server.asked}) == 3


def test_a_busy_server_is_asked_again() -> None:
    def broken(_: dict[str, Any]) -> Any:
        raise httpx.ConnectError("no route")

    server = Server(later, broken, lambda _: httpx.Response(500), answers)
    (sampled,) = server.sampler().sample([prompt("One")], SETTINGS)
    assert len(sampled.group) == 3
    assert len(server.asked) == 4


def test_a_server_that_stays_away_is_an_error() -> None:
    server = Server(later)
    said = r"^http://policy/v1: answered 503 \(asked about prompt 'q', 3 times\); what was sampled before is kept$"
    with pytest.raises(EngineError, match=said):
        server.sampler(retries=2).sample([prompt("One")], SETTINGS)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        (lambda _: httpx.Response(401), ConfigError, "wants an API key"),
        (lambda _: httpx.Response(400, text="no such model"), EngineError, "answered 400: no such model"),
        (lambda _: httpx.Response(200, text="<html>"), EngineError, "answered 200: <html>"),
        (lambda _: {"choices": []}, EngineError, "no choices came back"),
        (lambda _: {"choices": [{"message": {"content": None}}]}, EngineError, "a choice without text"),
    ],
)
def test_what_is_no_answer_is_said_at_once(reply: Any, error: type[Exception], message: str) -> None:
    server = Server(reply)
    with pytest.raises(error, match=message):
        server.sampler().sample([prompt("One")], SETTINGS)
    assert len(server.asked) == 1


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="not the address of a server"):
        OpenAISampler("policy", "p")
    with pytest.raises(ConfigError, match="retries"):
        OpenAISampler("http://policy", "p", retries=-1)
