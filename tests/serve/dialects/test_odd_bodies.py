"""Bodies of the right keys with anything in them: answered or refused, never a failure of the server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes import FakeEngine
from vlreward.serve.admission import Guard
from vlreward.serve.limits import RequestLimits
from vlreward.serve.media import MediaStore
from vlreward.serve.service import Desk

from .conftest import VISION, Client, EngineService, app_of, chatml, uri_of

GUARD = Guard(RequestLimits(), MediaStore(2**20))
CLIENT = Client(app_of(Desk(service=EngineService(FakeEngine()), admission=GUARD)))

PIECES = [
    "<|im_start|>",
    "<|im_end|>",
    "user\n",
    "assistant\n",
    "\n",
    VISION,
    "<image>",
    "<|endoftext|>",
    "a",
    "media:",
]
SOUND = [chatml(("user", "Hi"), ("assistant", "A")), chatml(("user", VISION), ("assistant", "A")), uri_of(b"\x89PNG")]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=7).map("".join) | st.sampled_from(SOUND) | st.text(max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
KEYS = st.sampled_from(["role", "content", "type", "text", "image", "image_url", "url", "uuid"]) | st.text(max_size=4)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "video", "x"])}, optional={"text": ANYTHING}
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "x"]), "content": TEXTS | st.lists(PART, max_size=2) | ANYTHING}
    ),
    max_size=3,
)
VALUES = ANYTHING | MESSAGES | st.lists(TEXTS, max_size=3)

ROUTES = {
    "/get_reward": ["query", "queries", "prompts", "labels", "images", "extra_info"],
    "/classify": ["input", "messages", "text", "image_data", "extra_info", "use_activation", "truncate_prompt_tokens"],
    "/pooling": ["input", "messages", "encoding_format", "request_id", "dimensions"],
    "/score": ["queries", "documents", "items", "text_1", "text_2"],
    "/rerank": ["query", "documents", "top_n"],
    "/v1/embeddings": ["input", "messages", "encoding_format", "extra_info"],
    "/encode": ["text", "image_data", "extra_info"],
    "/v1/score/evaluation": ["messages", "images", "extra_info"],
}


@pytest.mark.parametrize("path", ROUTES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_body_breaks_the_server(path: str, data: Any) -> None:
    body = data.draw(st.dictionaries(st.sampled_from(ROUTES[path]), VALUES, max_size=4) | ANYTHING)
    response = CLIENT.post(path, content=json.dumps(body))  # Infinity included
    assert response.status_code in (200, 400, 409, 413), response.text
    assert response.json() is not None
