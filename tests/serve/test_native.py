"""The server's own protocol, over an engine in this process."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.fakes import fake_reward
from vlreward import Group
from vlreward.engines.shaped import Shaping, Squash
from vlreward.errors import EngineError, LengthError, ScoreError
from vlreward.model.calibration import RewardScale, bradley_terry
from vlreward.serve import native, requests
from vlreward.serve.app import ServerOptions, create_app
from vlreward.serve.limits import RequestLimits
from vlreward.serve.refusals import Refusal
from vlreward.serve.service import Desk

from .backends import FakeBackend, media_bytes
from .dialects.conftest import OpenAdmission
from .engines import CALIBRATION
from .pictures import data_uri, png

Q = [{"role": "user", "content": "Q"}]
RED, BLUE = png((56, 56), "red"), png((30, 40), "blue")


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def client(backend: FakeBackend) -> Iterator[TestClient]:
    with TestClient(create_app(ServerOptions(model="fake"), lambda metrics: backend)) as client:
        yield client


def shown(source: str, text: str = "What is it?") -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image", "image": source}, {"type": "text", "text": text}]}]


def rewards_of(group: Group) -> list[float]:
    return [fake_reward(group, i) for i in range(len(group))]


def test_score_takes_every_form_of_a_response(client: TestClient, backend: FakeBackend) -> None:
    bodies: list[dict[str, Any]] = [
        {"id": "x", "messages": "Q", "responses": ["A", "B"]},
        {"messages": shown(data_uri(RED)), "responses": ["A", {"role": "assistant", "content": "B"}]},
        {"messages": "Draw", "responses": [[{"type": "image_url", "image_url": {"url": data_uri(BLUE)}}]]},
        {"messages": "Q", "responses": [[{"role": "tool", "content": "4"}, {"role": "assistant", "content": "4"}]]},
    ]
    answer = client.post("/v1/score", json={"groups": bodies})
    assert answer.status_code == 200, answer.text
    groups = backend.asked[0][0]
    assert media_bytes(groups) == [RED, BLUE]
    assert answer.json() == {"rewards": [rewards_of(group) for group in groups], "model": "fake"}
    assert groups[0].id == "x"


def test_rank_and_compare(client: TestClient, backend: FakeBackend) -> None:
    group = Group("Q", ["A", "B", "C"])
    body = {"messages": "Q", "responses": ["A", "B", "C"]}
    rewards = rewards_of(group)
    ranking = client.post("/v1/rank", json={"groups": [body]}).json()["rankings"][0]
    assert [item["reward"] for item in ranking] == sorted(rewards, reverse=True)
    assert [rewards[item["index"]] for item in ranking] == sorted(rewards, reverse=True)

    pair = {"groups": [{"messages": "Q", "responses": ["A", "B"]}]}
    margin = rewards[0] - rewards[1]
    assert client.post("/v1/compare", json=pair).json() == {
        "probabilities": [bradley_terry(margin)],
        "calibrated": False,
        "model": "fake",
    }
    backend.calibration = CALIBRATION
    answer = client.post("/v1/compare", json=pair).json()
    assert (answer["probabilities"], answer["calibrated"]) == ([bradley_terry(margin / 2)], True)
    refused = client.post("/v1/compare", json={"groups": [body]})
    assert (refused.status_code, refused.json()["error"]["where"]) == (400, "groups[0].responses")


def test_trace_scores_the_answer_up_to_each_sentence(client: TestClient, backend: FakeBackend) -> None:
    messages = [*shown(data_uri(RED)), {"role": "assistant", "content": "It is red. It is 3.5 cm. Sure"}]
    answer = client.post("/v1/trace", json={"messages": messages}).json()
    group = backend.asked[0][0][0]
    assert [point["text"] for point in answer["points"]] == ["It is red.", " It is 3.5 cm.", " Sure"]
    assert [point["end"] for point in answer["points"]] == [10, 24, 29]
    assert [point["reward"] for point in answer["points"]] == rewards_of(group)
    assert media_bytes([group]) == [RED]
    for wrong in ([], messages[:1], [{"role": "assistant", "content": []}], "Q", None, [3]):
        assert client.post("/v1/trace", json={"messages": wrong}).status_code in (400, 422)


def test_a_trace_is_of_bounded_length(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    message = native.Message
    monkeypatch.setattr(native, "Message", lambda role, text: made.append(text) or message(role, text))
    limits = RequestLimits(max_text=100, max_responses=10, max_total_text=300)
    with TestClient(create_app(ServerOptions(model="fake", requests=limits), lambda metrics: backend)) as client:
        for answer in ("a" * 101, "A. " * 11, f"{'a' * 60}. " + "A. " * 6):
            refused = client.post("/v1/trace", json={"messages": [*Q, {"role": "assistant", "content": answer}]})
            assert (refused.status_code, refused.json()["error"]["where"]) == (413, "messages"), answer
            assert not made
        trace = client.post("/v1/trace", json={"messages": [*Q, {"role": "assistant", "content": "A. " * 10}]})
        assert (trace.status_code, len(trace.json()["points"])) == (200, 10)


def test_multipart_carries_raw_bytes(client: TestClient, backend: FakeBackend) -> None:
    group = {"messages": shown("part:photo"), "responses": ["A", [{"type": "image", "image": "part:edited"}]]}
    form = {"request": (None, json.dumps({"groups": [group]}), "application/json")}
    files = {"photo": ("a.png", RED, "image/png"), "edited": ("b.png", BLUE, "image/png")}
    answer = client.post("/v1/score", files=form | files)
    assert answer.status_code == 200, answer.text
    assert media_bytes(backend.asked[0][0]) == [RED, BLUE]
    missing = client.post("/v1/score", files=form | {"photo": files["photo"]})
    assert (missing.status_code, missing.json()["error"]["message"]) == (400, "no part 'edited' in this request")
    assert "part 'request'" in client.post("/v1/score", files=files).json()["error"]["message"]
    video = {
        "messages": [{"role": "user", "content": [{"type": "video", "video": ["part:photo"] * 2}]}],
        "responses": ["A"],
    }
    form = {"request": (None, json.dumps({"groups": [video]}), "application/json")}
    assert client.post("/v1/score", files=form | files).status_code == 200
    assert media_bytes(backend.asked[-1][0]) == [(RED, RED)]
    # Without parts, it is a name like any other, and no file is read.
    assert client.post("/v1/score", json={"groups": [group]}).status_code == 400


def test_the_json_of_a_form_is_looked_at_before_it_is_parsed(client: TestClient) -> None:
    def refused(text: str) -> str:
        answer = client.post("/v1/score", files={"request": (None, text, "application/json")})
        assert (answer.status_code, answer.json()["error"]["where"]) == (400, "body")
        return str(answer.json()["error"]["message"])

    assert refused("[" * 40 + "]" * 40) == "nested deeper than 32"
    assert refused('{"groups": [' + "9" * 400 + "]}") == "a number of more than 400 digits"
    assert refused('{"groups": "\\ud800"}') == "half of a surrogate pair is no character"


def test_json_that_calls_itself_a_form_is_looked_at_all_the_same(client: TestClient) -> None:
    body = b'{"groups": ' + b"[" * 40 + b"]" * 40 + b"}"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for path in ("/get_reward", "/classify", "/vllm/v1/score", "/v1/embeddings", "/v1/score/evaluation"):
        answer = client.post(path, content=body, headers=headers)
        assert (answer.status_code, "nested deeper than 32" in answer.text) == (400, True), path


def test_a_body_of_vllm_is_shown_its_route(client: TestClient) -> None:
    for body in ({"queries": "Q", "documents": ["A"]}, {"text_1": "Q", "text_2": "A"}):
        answer = client.post("/v1/score", json=body)
        assert answer.status_code == 400
        assert "post it to /vllm/v1/score" in answer.json()["error"]["message"]
        assert client.post("/vllm/v1/score", json=body).status_code == 200


@pytest.mark.parametrize("squash", [None, "tanh"])
def test_rewards_are_shaped_on_every_route_that_tells_any(squash: Squash | None) -> None:
    backend = FakeBackend()
    backend.calibration = replace(CALIBRATION, scale=RewardScale(mean=0.25, spread=0.5, n=10))
    options = ServerOptions(model="fake", shaping=Shaping(clip=1.5, squash=squash), normalise=True)
    group = {"messages": "Q", "responses": ["A", "B"]}
    parsed = Group("Q", ["A", "B"])
    told = [max(-1.5, min(1.5, (reward - 0.25) / 0.5)) for reward in rewards_of(parsed)]
    told = [math.tanh(reward) for reward in told] if squash else told
    with TestClient(create_app(options, lambda metrics: backend)) as client:
        assert client.post("/v1/score", json={"groups": [group]}).json()["rewards"] == [pytest.approx(told)]
        ranking = client.post("/v1/rank", json={"groups": [group]}).json()["rankings"][0]
        assert sorted(entry["reward"] for entry in ranking) == pytest.approx(sorted(told))
        body = {"queries": "Q", "documents": ["A", "B"]}
        assert [entry["score"] for entry in client.post("/score", json=body).json()["data"]] == pytest.approx(told)
        trace = client.post("/v1/trace", json={"messages": [*Q, {"role": "assistant", "content": "A"}]}).json()
        assert [point["reward"] for point in trace["points"]] == pytest.approx(told[:1])
        # Probabilities are of the model's own rewards.
        first, second = rewards_of(parsed)
        found = client.post("/v1/compare", json={"groups": [group]}).json()["probabilities"]
        assert found == [pytest.approx(CALIBRATION.probability(first - second))]
        settings = client.get("/v1/models").json()["data"][0]["settings"]
        assert settings["shaping"] == {"normalise": True, "clip": 1.5, "squash": squash}
        backend.calibration = None
        refused = client.post("/v1/score", json={"groups": [group]})
        assert (refused.status_code, "no calibration" in refused.json()["error"]["message"]) == (503, True)


def test_media_that_were_sent_before_are_named_by_id(client: TestClient, backend: FakeBackend) -> None:
    name = client.put("/v1/media", content=RED).json()["id"]
    unknown = "media:" + "0" * 64
    bodies = {"groups": [{"messages": shown(source), "responses": ["A"]} for source in (name, unknown)]}
    refused = client.post("/v1/score", json=bodies)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "unknown_media")
    assert refused.json()["error"]["media"] == [unknown]
    assert client.post("/v1/score", json={"groups": bodies["groups"][:1]}).status_code == 200
    assert media_bytes(backend.asked[0][0]) == [RED]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b'"\xff"', "body"),
        (b"[]", "body"),
        (b"{}", "groups"),
        (b'{"groups": 3}', "groups"),
        (b'{"groups": [], "model": "m"}', "model"),
        (b'{"groups": [{"messages": "Q", "responses": ["A"], "id": 3}]}', "groups[0].id"),
        (b'{"groups": [{"messages": "Q", "responses": ["A"]}, {"messages": "Q", "responses": []}]}', "groups[1]"),
        (b'{"groups": [{"messages": [{"role": "robot", "content": "Q"}], "responses": ["A"]}]}', "groups[0]"),
        (b'{"groups": [{"messages": "Q", "responses": ["A"], "\\u00e9\\n\\u2028": 1}]}', "groups[0].\u00e9"),
    ],
)
def test_bodies_of_the_wrong_form(client: TestClient, content: bytes, where: str) -> None:
    answer = client.post("/v1/score", content=content, headers={"Content-Type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["where"]) == (400, "bad_request", where)
    assert set(error) == {"code", "message", "where"}
    assert "\n" not in error["message"]


def test_errors_have_the_right_status_and_show_no_paths(client: TestClient, backend: FakeBackend) -> None:
    body = {"groups": [{"messages": "Q", "responses": ["A"]}]}
    for error, status in (
        (LengthError("groups[0]: 9,000 tokens"), 413),
        (ScoreError("the reward is nan"), 422),
        (EngineError("/secret/model: gone"), 503),
        (RuntimeError("/secret/model: bug"), 500),
        (Refusal("busy", "later", retry_after=7.2), 429),
        (Refusal("too_late", "late"), 504),
    ):
        backend.error = error
        answer = client.post("/v1/score", json=body)
        assert answer.status_code == status
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text
    backend.error = Refusal("busy", "later", retry_after=7.2)
    assert client.post("/v1/score", json=body).headers["Retry-After"] == "7"
    assert client.get("/v1/nothing").json()["error"]["code"] == "not_found"
    assert client.get("/v1/score").json()["error"]["code"] == "not_allowed"


def test_what_no_route_has_seen_is_refused_in_the_form_of_its_dialect(client: TestClient) -> None:
    deep = b"[" * 100 + b"]" * 100
    native, dialect = (client.post(path, content=deep) for path in ("/v1/score", "/v1/embeddings"))
    assert (native.status_code, dialect.status_code) == (400, 400)
    assert set(native.json()["error"]) == {"code", "message", "where"}
    assert set(dialect.json()) != set(native.json()) or set(dialect.json()["error"]) != set(native.json()["error"])
    for path, keys in (("/get_reward", {"detail", "code", "where"}), ("/v1/embeddings", set(dialect.json()))):
        answer = client.delete(path)
        assert (answer.status_code, set(answer.json())) == (405, keys)
    text = client.get("/metrics").text
    assert 'vlreward_requests_total{route="/v1/score",status="400"} 1.0' in text


def test_logs_have_ids_and_never_contents(
    client: TestClient, backend: FakeBackend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"groups": [{"id": "SECRET", "messages": "SECRET", "responses": ["SECRET"]}]}

    def ask(name: str = "abc-1") -> str:
        caplog.clear()
        for error in (None, ScoreError("groups[0]: of SECRET"), Refusal("bad_request", "SECRET")):
            backend.error = error
            client.post("/v1/score?q=SECRET", json=body, headers={"X-Request-Id": name})
        client.post("/v1/score", json=body | {"SECRET": 1})
        client.get("/SECRET")
        assert len(caplog.records) >= 5
        return caplog.text

    with caplog.at_level("DEBUG", "vlreward.serve"):
        assert "SECRET" not in ask()
        assert "abc-1 POST /v1/score 200" in ask()
        assert "SECRET" not in ask("a SECRET of two\twords")
        monkeypatch.setattr(requests, "_ID", re.compile("(?s).*"))
        assert "SECRET" in ask("a SECRET of two\twords"), "without the guard"


def test_a_deadline_is_for_fetching_too() -> None:
    class Slow(OpenAdmission):
        async def admit(self, groups: Sequence[Group]) -> list[Group]:
            await asyncio.sleep(60)
            return list(groups)

    desk = Desk(service=FakeBackend(), admission=Slow())
    with pytest.raises(Refusal) as late:
        asyncio.run(desk.score([Group("Q", ["A"])], client="x", seconds=0.01))
    assert late.value.code == "too_late"


def test_ids_deadlines_and_clients_are_read_from_the_request(client: TestClient, backend: FakeBackend) -> None:
    body = {"groups": [{"messages": "Q", "responses": ["A"]}]}
    answer = client.post("/v1/score", json=body, headers={"X-Request-Id": "abc-1", "X-Vlreward-Deadline": "2.5"})
    assert answer.headers["X-Request-Id"] == "abc-1"
    assert backend.asked[0][1:] == ("testclient", 2.5)
    made = client.post("/v1/score", json=body, headers={"X-Request-Id": 'a b"'}).headers["X-Request-Id"]
    assert len(made) == 32
    for wrong in ("0", "-1", "soon", "inf", "nan"):
        refused = client.post("/v1/score", json=body, headers={"X-Vlreward-Deadline": wrong})
        assert (refused.status_code, refused.json()["error"]["where"]) == (400, "X-Vlreward-Deadline")


def test_health_models_and_metrics(client: TestClient, backend: FakeBackend) -> None:
    assert client.get("/health/live").json() == client.get("/health/ready").json() == {"status": "ok"}
    backend.ready = False
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health/live").status_code == 200
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["object"], model["settings"]) == ("fake", "model", {"dtype": "float32"})
    client.post("/v1/score", json={"groups": []})
    client.post("/v1/score", json=[])
    client.get("/some/path")
    text = client.get("/metrics").text
    assert 'vlreward_requests_total{route="/v1/score",status="200"} 1.0' in text
    assert 'vlreward_requests_total{route="/v1/score",status="400"} 1.0' in text
    assert 'vlreward_requests_total{route="unmatched",status="404"} 1.0' in text
    assert "vlreward_requests_in_flight 1.0" in text


def test_the_schema_is_complete(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    text = json.dumps(schema)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(schema["components"]["schemas"])
    for path in ("/v1/score", "/v1/rank", "/v1/compare", "/v1/trace"):
        body = schema["paths"][path]["post"]["requestBody"]["content"]
        assert body["multipart/form-data"]["schema"]["required"] == ["request"]
        examples = [example["value"] for example in body["application/json"]["examples"].values()]
        assert examples
        for example in examples:
            answer = client.post(path, json=example)
            assert answer.status_code == 200, answer.text
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            names = {parameter["name"] for parameter in operation["parameters"]}
            assert names >= ({"X-Request-Id", "X-Vlreward-Deadline"} if method == "post" else {"X-Request-Id"})
            if method == "post":
                answers_are_described(client, path, operation)


def answers_are_described(client: TestClient, path: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    assert {"200", "400", "401", "409", "413", "422", "429", "500", "503", "504"} <= set(answers)
    example = next(iter(operation["requestBody"]["content"]["application/json"]["examples"].values()))["value"]
    for status, answer in (("200", client.post(path, json=example)), ("400", client.post(path, json=[]))):
        assert answer.status_code == int(status), answer.text
        said = answers[status]["content"]["application/json"]
        if "example" in said:
            assert keys_of(answer.json()) == keys_of(said["example"])
        else:
            assert "$ref" in said["schema"]


def keys_of(value: Any) -> Any:
    """The keys of an answer, those of the first entry of a list for all of it; FastAPI leaves null out of examples."""
    if isinstance(value, dict):
        return {name: keys_of(inner) for name, inner in value.items() if inner is not None}
    return [keys_of(inner) for inner in value[:1]] if isinstance(value, list) else None


def test_the_schema_says_that_a_key_is_needed(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("a-key-of-some-length")
    app = create_app(ServerOptions(model="fake", keys=tmp_path / "keys.txt"), lambda metrics: FakeBackend())
    schema = app.openapi()
    assert schema["components"]["securitySchemes"].keys() == {"bearer", "key"}
    assert schema["security"] == [{"bearer": []}, {"key": []}]
    assert schema["paths"]["/health/live"]["get"]["security"] == []
