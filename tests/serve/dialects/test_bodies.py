"""What the dialects' answers and errors look like, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import FakeEngine
from vlreward.errors import EngineError
from vlreward.serve.refusals import Refusal
from vlreward.serve.service import Desk
from vlreward.types import Reward

from .conftest import VISION, Client, EngineService, OpenAdmission, app_of, chatml

TEXT = chatml(("user", "Hi"), ("assistant", "Hello."))
ID = "media:" + "a" * 64


@pytest.fixture
def service() -> EngineService:
    return EngineService(FakeEngine())


def test_answers_have_all_keys_of_their_protocol(client: Client) -> None:
    reply = client.ok("/classify", {"input": TEXT, "request_id": "r7"})
    assert reply.keys() == {"id", "object", "created", "model", "data", "usage"}
    assert (reply["id"], reply["object"], reply["model"]) == ("classify-r7", "list", "tiny")
    assert reply["data"][0].keys() == {"index", "label", "probs", "num_classes"}
    assert reply["usage"]["prompt_tokens"] == 0
    reply = client.ok("/pooling", {"input": TEXT})
    assert (reply["id"][:5], reply["data"][0].keys()) == ("pool-", {"index", "object", "data"})
    reply = client.ok("/score", {"queries": "Hi", "documents": "Hello."})
    assert (reply["data"][0]["object"], reply["data"][0].keys()) == ("score", {"index", "object", "score"})
    reply = client.ok("/rerank", {"query": "Hi", "documents": "Hello."})
    assert reply.keys() == {"id", "model", "usage", "results"}
    reply = client.ok("/v1/embeddings", {"input": TEXT})
    assert (reply["object"], reply["data"][0]["object"], reply["model"]) == ("list", "embedding", "tiny")
    reply = client.ok("/get_reward", {"query": [TEXT]})
    assert (reply["scores"], reply["extra_logs"]) == (reply["rewards"], {})
    reply = client.ok("/v1/score/evaluation", {"messages": [TEXT]})
    assert (reply["object"], len(reply["scores"])) == ("score.evaluation", 1)


SHAPES: dict[str, tuple[Any, Any]] = {
    # Path: a body that asks for a picture the server does not have, and how its errors are said.
    "/get_reward": ({"query": [TEXT], "labels": [ID]}, lambda r: (r["detail"], r["code"], r["media"])),
    "/classify": (
        {"input": TEXT, "extra_info": ID},
        lambda r: (
            r["error"]["message"],
            r["error"]["code"],
            r["error"]["media"],
            r["error"]["type"],
            r["error"]["param"],
        ),
    ),
    "/v1/embeddings": (
        {"input": TEXT, "extra_info": ID},
        lambda r: (r["message"], r["code"], r["media"], r["type"], r["param"], r["object"]),
    ),
    "/encode": (
        {"text": TEXT, "extra_info": ID},
        lambda r: (r["error"]["message"], r["error"]["code"], r["error"]["media"]),
    ),
    "/v1/score/evaluation": ({"messages": [TEXT], "extra_info": [ID]}, lambda r: (r["detail"], r["code"], r["media"])),
}


@pytest.mark.parametrize("path", SHAPES)
def test_errors_have_the_protocols_form(path: str, client: Client) -> None:
    body, said = SHAPES[path]
    response = client.post(path, json=body)
    assert response.status_code == 409
    message, code, media, *_ = said(response.json())
    assert (message, media) == ("send them again", [ID])
    assert code in (409, "unknown_media")


@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b'{"query": 3, "input": 3, "text": 3}', b"\xff"])
def test_what_is_no_body_is_a_bad_request(path: str, content: bytes, client: Client) -> None:
    response = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/classify", {"input": TEXT, "messages": []}, "give one of 'input' and 'messages'"),
        ("/classify", {"input": "2+2? 4"}, r"input[0]: the text is not of the form"),
        ("/classify", {"input": []}, "'input' is empty"),
        ("/classify", {"input": [[1, 2]]}, "string"),
        ("/classify", {"input": TEXT, "truncate_prompt_tokens": 8}, "truncate_prompt_tokens is not supported"),
        ("/classify", {"input": TEXT, "chat_template": "{{ x }}"}, "chat_template is not supported"),
        ("/classify", {"input": TEXT, "extra_info": [1, 2]}, "2 entries for 1 samples"),
        ("/classify", {"messages": [{"role": "user", "content": "Hi"}]}, "the last is the user's"),
        ("/classify", {"messages": []}, "there are none"),
        ("/classify", {"messages": [{"role": "robot", "content": "Hi"}]}, "unknown role"),
        ("/pooling", {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "unknown part type"),
        ("/score", {"queries": "a"}, "give one of documents"),
        ("/score", {"queries": ["a", "b"], "documents": ["c"]}, "2 queries for 1 documents"),
        ("/score", {"queries": "a", "text_1": "b", "documents": "c"}, "give one of queries"),
        ("/score", {"queries": {"x": 1}, "documents": "c"}, "'content'"),
        ("/rerank", {"query": "a", "documents": []}, "'documents' is empty"),
        ("/rerank", {"query": "a", "documents": ["b"], "top_n": -1}, "greater than or equal to 0"),
        ("/rerank", {"query": "a", "documents": ["b"], "instruction": "be strict"}, "instruction is not supported"),
        ("/get_reward", {"query": [TEXT], "prompts": ["a", "b"]}, "2 entries for 1 samples"),
        ("/get_reward", {"query": [TEXT, chatml(("user", "Hi"))]}, "query[1]: the text ends in a user turn"),
        ("/get_reward", {"query": [VISION]}, "comes without its prompt"),
        ("/get_reward", {"query": [TEXT], "images": [["a", "b"]], "labels": [3]}, "not valid base64"),
        ("/v1/embeddings", {"input": [{"image": "x"}]}, "input[0]: expected a text"),
        ("/v1/embeddings", {"input": TEXT, "dimensions": 8}, "one dimension"),
        ("/sglang/classify", {"text": TEXT, "image_data": [1]}, "must be a string"),
        ("/sglang/classify", {"input": TEXT}, "required"),
        ("/vllm/classify", {"text": TEXT}, "give one of 'input' and 'messages'"),
    ],
)
def test_bad_bodies_are_said(path: str, body: Any, words: str, client: Client) -> None:
    response = client.post(path, json=body)
    assert response.status_code == 400, response.text
    assert words in response.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/get_reward", 429),
        ("/classify", 503),
        ("/v1/embeddings", 503),
        ("/encode", 503),
        ("/v1/score/evaluation", 429),
    ],
)
def test_a_full_queue(path: str, status: int, service: EngineService, client: Client) -> None:
    """verl gives up at once on a status below 500, so that its dialects say 503."""
    service.refusal = Refusal("busy", "the queue is full", retry_after=7)
    response = client.post(path, json=SHAPES[path][0] | {"labels": None, "extra_info": None})
    assert (response.status_code, response.headers["Retry-After"]) == (status, "7")
    assert "the queue is full" in response.text


def test_errors_of_the_engine(service: EngineService, client: Client) -> None:
    service.refusal = EngineError("/secret/path: gone")
    response = client.post("/classify", json={"input": TEXT})
    assert response.status_code == 503
    assert "/secret" not in response.text
    service.refusal = RuntimeError("/secret/path")
    response = client.post("/classify", json={"input": TEXT})
    assert (response.status_code, response.json()["error"]["type"]) == (500, "InternalServerError")
    assert "/secret" not in response.text


def test_a_deadline_reaches_the_service(admission: OpenAdmission) -> None:
    seen: list[float | None] = []

    class Watching(EngineService):
        async def score(self, groups: Any, *, client: str, seconds: float | None = None) -> list[Reward]:
            seen.append(seconds)
            return await super().score(groups, client=client, seconds=seconds)

    asked = Client(app_of(Desk(service=Watching(FakeEngine()), admission=admission)))
    for header in ({}, {"X-Vlreward-Deadline": "2.5"}):
        assert asked.post("/classify", json={"input": TEXT}, headers=header).status_code == 200
    assert seen == [None, 2.5]


def test_the_schema_has_every_route_with_examples_that_work(client: Client, service: EngineService) -> None:
    schema = app_of(Desk(service=service, admission=OpenAdmission())).openapi()
    assert {"/get_reward", "/classify", "/pooling", "/score", "/rerank", "/v1/embeddings", "/encode"} < schema[
        "paths"
    ].keys()
    assert "/v1/score" not in schema["paths"]
    for path, methods in schema["paths"].items():
        content = methods["post"]["requestBody"]["content"]["application/json"]
        assert "$defs" not in content["schema"]
        for example in content["examples"].values():
            client.ok(path, example["value"])
