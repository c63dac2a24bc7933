"""The same prompts and answers through every dialect, against the engine itself."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

import pytest

from vlreward.engines.local import LocalEngine
from vlreward.model.calibration import bradley_terry
from vlreward.types import Group, Image, Message

from .conftest import VISION, Client, OpenAdmission, base64_of, chatml, picture, uri_of

TOLERANCE = 1e-5  # float32; measured 0 to 1e-6, since packs differ

CAT, DOG = picture(3), picture(90)
QUESTION = ("user", "What is in the picture?")
ANSWERS = ("A red square.", "Nothing\nat all, I think.", "")
TEXTS = [chatml(QUESTION, ("assistant", answer)) for answer in ANSWERS]
SEEN = [chatml(("user", f"{VISION}What is it?"), ("assistant", answer)) for answer in ANSWERS]


def offline(engine: LocalEngine, pictures: list[bytes] | None = None) -> list[float]:
    """The rewards of the three answers, to the question alone or to one about a picture each."""
    if pictures is None:
        return list(engine.score([Group([Message(*QUESTION)], ANSWERS)])[0].rewards)
    prompts = [
        [{"role": "user", "content": [Image(source=p), {"type": "text", "text": "What is it?"}]}] for p in pictures
    ]
    groups = [Group(prompt, [answer]) for prompt, answer in zip(prompts, ANSWERS, strict=True)]
    return [reward.rewards[0] for reward in engine.score(groups)]


def chat(answer: str, image: bytes | None = None) -> list[dict[str, Any]]:
    if image is None:
        return [{"role": QUESTION[0], "content": QUESTION[1]}, {"role": "assistant", "content": answer}]
    url = {"type": "image_url", "image_url": {"url": uri_of(image), "detail": "auto"}, "uuid": "abc"}
    return [
        {"role": "user", "content": [url, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]


def probs(reply: Any) -> list[float]:
    assert [row["index"] for row in reply["data"]] == list(range(len(reply["data"])))
    return [value for row in reply["data"] for value in row["probs"]]


def numbers(reply: Any) -> list[float]:
    return [value for row in reply["data"] for value in row["data"]]


def embeddings(reply: Any) -> list[float]:
    """As verl reads them, one request each: data[-1].embedding[-1]."""
    return [row["embedding"][-1] for row in reply["data"]]


Ask = Callable[[Client], list[float]]


def one_by_one(path: str, read: Callable[[Any], list[float]], bodies: list[Any]) -> Ask:
    return lambda client: [value for body in bodies for value in read(client.ok(path, body))]


WITHOUT_PICTURES: dict[str, Ask] = {
    "openrlhf": lambda c: c.ok("/get_reward", {"query": TEXTS, "prompts": ["x"] * 3, "labels": ["4"] * 3})["rewards"],
    "openrlhf, one each": one_by_one("/get_reward", lambda r: r["rewards"], [{"query": [text]} for text in TEXTS]),
    "lightrft": lambda c: c.ok("/get_reward", {"queries": TEXTS, "prompts": None, "images": [None] * 3})["scores"],
    "classify": lambda c: probs(c.ok("/classify", {"input": TEXTS, "use_activation": False})),
    "classify, as verl": one_by_one(
        "/classify", probs, [{"model": "m", "input": t, "activation": False} for t in TEXTS]
    ),
    "classify, messages": one_by_one("/v1/classify", probs, [{"messages": chat(a)} for a in ANSWERS]),
    "pooling": lambda c: numbers(c.ok("/pooling", {"input": TEXTS})),
    "score": lambda c: [
        r["score"] for r in c.ok("/score", {"queries": QUESTION[1], "documents": list(ANSWERS)})["data"]
    ],
    "score, text_1": lambda c: [
        r["score"] for r in c.ok("/vllm/v1/score", {"text_1": [QUESTION[1]] * 3, "text_2": list(ANSWERS)})["data"]
    ],
    "score, data_1": lambda c: [
        r["score"] for r in c.ok("/vllm/score", {"data_1": [QUESTION[1]], "data_2": list(ANSWERS)})["data"]
    ],
    "embeddings": lambda c: embeddings(c.ok("/v1/embeddings", {"input": TEXTS, "model": "m"})),
    "embeddings, as verl": one_by_one("/v1/embeddings", embeddings, [{"model": "m", "input": text} for text in TEXTS]),
    "embeddings, messages": one_by_one("/v1/embeddings", embeddings, [{"messages": chat(a)} for a in ANSWERS]),
    "sglang": lambda c: [row["embedding"][0] for row in c.ok("/classify", {"text": TEXTS})],
    "sglang, one each": one_by_one("/encode", lambda r: r["embedding"], [{"text": text} for text in TEXTS]),
    "llamafactory": lambda c: c.ok("/v1/score/evaluation", {"model": "m", "messages": TEXTS, "max_length": 9})[
        "scores"
    ],
}


@pytest.mark.parametrize("name", WITHOUT_PICTURES)
def test_rewards_of_text(name: str, client: Client, engine: LocalEngine) -> None:
    assert WITHOUT_PICTURES[name](client) == pytest.approx(offline(engine), abs=TOLERANCE)


def seen_with(images: Callable[[bytes], Any]) -> list[Any]:
    return [images(image) for image in (CAT, DOG, CAT)]


WITH_PICTURES: dict[str, Ask] = {
    "lightrft": lambda c: c.ok("/get_reward", {"queries": SEEN, "images": seen_with(lambda p: [base64_of(p)])})[
        "rewards"
    ],
    "lightrft, one alone": lambda c: c.ok("/get_reward", {"query": SEEN, "images": seen_with(uri_of)})["rewards"],
    "classify": lambda c: [v for body in messages() for v in probs(c.ok("/classify", body))],
    "pooling": lambda c: [v for body in messages() for v in numbers(c.ok("/vllm/pooling", body))],
    "score": lambda c: [
        r["score"] for r in c.ok("/score", {"queries": questions(), "documents": list(ANSWERS)})["data"]
    ],
    "embeddings": lambda c: embeddings(
        c.ok(
            "/v1/embeddings", {"input": [{"text": t, "image": i} for t, i in zip(SEEN, seen_with(uri_of), strict=True)]}
        )
    ),
    "embeddings, messages": lambda c: [v for body in messages() for v in embeddings(c.ok("/v1/embeddings", body))],
    "sglang": lambda c: [
        row["embedding"][0] for row in c.ok("/classify", {"text": SEEN, "image_data": seen_with(base64_of)})
    ],
    "sglang, one": one_by_one(
        "/sglang/classify",
        lambda r: r["embedding"],
        [{"text": t, "image_data": i} for t, i in zip(SEEN, seen_with(lambda p: [uri_of(p)]), strict=True)],
    ),
    "llamafactory": lambda c: c.ok(
        "/v1/score/evaluation", {"messages": SEEN, "images": seen_with(lambda p: [base64_of(p)])}
    )["scores"],
}


def messages() -> list[dict[str, Any]]:
    return [{"messages": chat(answer, image)} for answer, image in zip(ANSWERS, (CAT, DOG, CAT), strict=True)]


def questions() -> list[dict[str, Any]]:
    return [{"content": chat("", image)[0]["content"]} for image in (CAT, DOG, CAT)]


@pytest.mark.parametrize("name", WITH_PICTURES)
def test_rewards_of_pictures(name: str, client: Client, engine: LocalEngine) -> None:
    expected = offline(engine, [CAT, DOG, CAT])
    assert len({*expected, *offline(engine)}) == 6
    assert WITH_PICTURES[name](client) == pytest.approx(expected, abs=TOLERANCE)


def labelled(name: str, key: str, values: Callable[[str], Any]) -> Callable[[Client, list[str]], list[float]]:
    read: Callable[[Any], list[float]] = {
        "/get_reward": lambda r: r["rewards"],
        "/classify": probs,
        "/v1/embeddings": embeddings,
        "/v1/score/evaluation": lambda r: r["scores"],
    }[name]
    texts = {"/get_reward": "query", "/v1/score/evaluation": "messages"}.get(name, "input")
    return lambda client, ids: read(client.ok(name, {texts: SEEN, key: [values(i) for i in ids]}))


@pytest.mark.parametrize(
    "ask",
    [
        labelled("/get_reward", "labels", lambda i: i),
        labelled("/get_reward", "labels", lambda i: f'{{"answer": "4", "images": ["{i}"]}}'),
        labelled("/get_reward", "extra_info", lambda i: {"images": [i]}),
        labelled("/classify", "extra_info", lambda i: [i]),
        labelled("/v1/embeddings", "extra_info", lambda i: i),
        labelled("/v1/score/evaluation", "extra_info", lambda i: i),
    ],
)
def test_ids_of_pictures_sent_before(
    ask: Callable[[Client, list[str]], list[float]], client: Client, engine: LocalEngine, admission: OpenAdmission
) -> None:
    ids = [admission.put(CAT), admission.put(DOG), admission.put(CAT)]
    assert ask(client, ids) == pytest.approx(offline(engine, [CAT, DOG, CAT]), abs=TOLERANCE)


def test_placeholders_that_were_repeated_per_visual_token(client: Client, engine: LocalEngine) -> None:
    """A trainer decodes token ids in which the processor has repeated the placeholder."""
    text = SEEN[0].replace("<|image_pad|>", "<|image_pad|>" * 37)
    reward = client.ok("/get_reward", {"query": [text], "images": [[base64_of(CAT)]]})["rewards"]
    assert reward == pytest.approx(offline(engine, [CAT, CAT, CAT])[:1], abs=TOLERANCE)


def test_answers_to_rerank_come_best_first(client: Client, engine: LocalEngine) -> None:
    expected = offline(engine)
    order = sorted(range(3), key=lambda i: -expected[i])
    reply = client.ok("/rerank", {"query": QUESTION[1], "documents": list(ANSWERS)})
    assert [row["index"] for row in reply["results"]] == order
    assert [row["relevance_score"] for row in reply["results"]] == pytest.approx(
        [expected[i] for i in order], abs=TOLERANCE
    )
    assert reply["results"][0]["document"] == {"text": ANSWERS[order[0]], "multi_modal": None}
    for path in ("/v1/rerank", "/v2/rerank", "/vllm/rerank"):
        best = client.ok(path, {"query": QUESTION[1], "documents": list(ANSWERS), "top_n": 1})
        assert [row["index"] for row in best["results"]] == order[:1]
    shown = client.ok("/rerank", {"query": questions()[0], "documents": [{"content": chat("A.", CAT)[1]["content"]}]})
    assert shown["results"][0]["document"] == {"text": None, "multi_modal": [{"type": "text", "text": "A."}]}


@pytest.mark.parametrize("name", ["use_activation", "activation", "softmax"])
def test_activation_is_the_sigmoid_and_off_unless_asked(name: str, client: Client, engine: LocalEngine) -> None:
    raw = offline(engine)
    activated = pytest.approx([bradley_terry(value) for value in raw], abs=TOLERANCE)
    assert probs(client.ok("/classify", {"input": TEXTS, name: True})) == activated
    assert probs(client.ok("/classify", {"input": TEXTS, name: False})) == pytest.approx(raw, abs=TOLERANCE)
    assert probs(client.ok("/classify", {"input": TEXTS})) == pytest.approx(raw, abs=TOLERANCE)
    assert numbers(client.ok("/pooling", {"input": TEXTS, name: True})) == activated
    scores = client.ok("/score", {"queries": QUESTION[1], "documents": list(ANSWERS), name: True})
    assert [row["score"] for row in scores["data"]] == activated
    # The newer name counts where both are given.
    assert probs(client.ok("/classify", {"input": TEXTS, "use_activation": True, "activation": False})) == activated


@pytest.mark.parametrize(("path", "key"), [("/pooling", "data"), ("/v1/embeddings", "embedding")])
def test_numbers_in_base64(path: str, key: str, client: Client, engine: LocalEngine) -> None:
    reply = client.ok(path, {"input": TEXTS, "encoding_format": "base64"})
    values = [struct.unpack("<f", base64.b64decode(row[key]))[0] for row in reply["data"]]
    assert values == pytest.approx(offline(engine), abs=TOLERANCE)
