"""SGLang's rewards: ``/v1/embeddings``, where verl reads ``embedding[-1]``, native ``/classify`` and ``/encode``.

An embedding has one number, the raw reward. ``/v1/embeddings`` takes ``input``: one or several templated texts (see
`vlreward.serve.dialects.templated`), or ``{"text", "image"}`` objects; or ``messages`` that end in the answer, as
vLLM's embeddings do. The native routes take ``text`` and ``image_data``: for one text one picture or several, for a
list of texts one entry (a picture, a list, null) each. A picture is base64, a data URI, or an id of ``PUT /v1/media``.
``extra_info`` is searched for ids where a client can send text only.

SGLang's own ``/v1/classify`` puts a softmax over the one label and always says 1; vLLM's answer to the same body, with
the raw reward, is given here. Token ids are not read, and tokens not counted.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from vlreward.errors import InputError
from vlreward.serve.refusals import Refusal, routes
from vlreward.serve.service import Desk
from vlreward.types import Group

from .bodies import USAGE, described, in_base64, listed, read, score_patiently
from .messages import conversation
from .templated import group_of, media_ids, picture_source


def openai_shape(refusal: Refusal) -> Mapping[str, Any]:
    """``{"object": "error", "message", "type", "param", "code"}`` of the OpenAI-like routes; ``code`` is the status."""
    kind = "BadRequestError" if refusal.status < 500 else "InternalServerError"
    body: dict[str, Any] = {"object": "error", "message": refusal.message, "type": kind, "param": refusal.where}
    return body | {"code": refusal.status} | ({"media": list(refusal.media)} if refusal.media else {})


def native_shape(refusal: Refusal) -> Mapping[str, Any]:
    """``{"error": {"message"}}`` of the native routes, and what is the matter beside it."""
    error: dict[str, Any] = {"message": refusal.message, "code": refusal.code, "where": refusal.where}
    return {"error": error | ({"media": list(refusal.media)} if refusal.media else {})}


class EmbeddingRequest(BaseModel):
    """A body of ``/v1/embeddings``."""

    input: str | list[str | dict[str, Any]] | None = None
    """Templated texts, or objects with ``text`` and ``image`` (a picture, or a list of them)."""
    messages: list[dict[str, Any]] | None = None
    """A conversation that ends in the answer."""
    extra_info: Any = None
    """Searched for ids of media: one entry, or one for each text."""
    model: str | None = None
    """Not compared: the server has one model."""
    encoding_format: Literal["float", "base64"] = "float"
    """OpenAI's client asks for base64."""
    dimensions: int | None = None
    """A reward has one; another number is refused."""

    def groups(self) -> list[Group]:
        """One group of one response for each text or conversation."""
        if (self.input is None) == (self.messages is None):
            raise InputError("give one of 'input' and 'messages'")
        if self.dimensions not in (None, 1):
            raise InputError(f"a reward has one dimension, not {self.dimensions}; leave 'dimensions' out")
        if self.messages is not None:
            return [conversation(self.messages)]
        items = self.input if isinstance(self.input, list) else [self.input or ""]
        texts = [_text_of(item, f"input[{i}]") for i, item in enumerate(items)]
        images = [item.get("image") if isinstance(item, dict) else None for item in items]
        return _groups(texts, images, self.extra_info, "input")


class NativeRequest(BaseModel):
    """A body of the native ``/classify`` or ``/encode``."""

    text: str | list[str]
    """Templated texts."""
    image_data: Any = None
    """Their pictures."""
    extra_info: Any = None
    """Searched for ids of media: one entry, or one for each text."""

    def groups(self) -> list[Group]:
        """One group of one response for each text."""
        if isinstance(self.text, str):
            return _groups([self.text], [self.image_data], self.extra_info, "text")
        return _groups(self.text, listed(self.image_data, len(self.text), "image_data"), self.extra_info, "text")


def _text_of(item: str | dict[str, Any], where: str) -> str:
    text = item if isinstance(item, str) else item.get("text")
    if not isinstance(text, str):
        raise InputError(f"{where}: expected a text, or an object with 'text'")
    return text


def _groups(texts: list[str], images: list[Any], info: Any, name: str) -> list[Group]:
    if not texts:
        raise InputError(f"{name!r} is empty; give at least one text")
    others = listed(info, len(texts), "extra_info")
    return [
        group_of(text, None, _media(images[i], others[i], f"{name}[{i}]"), f"{name}[{i}]")
        for i, text in enumerate(texts)
    ]


def _media(images: Any, other: Any, where: str) -> list[str]:
    if not images:
        return media_ids(other)
    images = images if isinstance(images, list) else [images]
    if not all(isinstance(image, str) for image in images):
        raise InputError(f"{where}: a picture must be a string: base64, a data URI or an id of one sent before")
    return [picture_source(image) for image in images]


_TEXT = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
_NATIVE_ANSWER = {"embedding": [3.25], "meta_info": {"id": "1", "prompt_tokens": 0}}
_EMBEDDINGS = {
    "object": "list",
    "model": "reward-7b",
    "data": [{"object": "embedding", "index": 0, "embedding": [3.25]}],
    "usage": USAGE,
}


def native_answer(body: NativeRequest, values: list[float]) -> Any:
    """What the native routes say: an object for one text, a list for a list."""
    rows = [{"embedding": [value], "meta_info": {"id": uuid.uuid4().hex, "prompt_tokens": 0}} for value in values]
    return rows[0] if isinstance(body.text, str) else rows


def router(desk: Desk, *, prefixed: bool = False) -> APIRouter:
    """The routes of SGLang; ``prefixed``: they go under a prefix, so that ``/classify`` is not vLLM's."""
    api = APIRouter(route_class=routes(openai_shape), tags=["SGLang"])
    native = APIRouter(route_class=routes(native_shape), tags=["SGLang"])

    @api.post("/v1/embeddings", openapi_extra=described(EmbeddingRequest, {"input": _TEXT}, answer=_EMBEDDINGS))
    async def embeddings(request: Request) -> dict[str, Any]:
        """Rewards as ``data[i].embedding``."""
        body, groups = await read(request, EmbeddingRequest, EmbeddingRequest.groups)
        write = in_base64 if body.encoding_format == "base64" else list
        values = await score_patiently(desk, request, groups)
        return {
            "object": "list",
            "model": desk.service.model,
            "data": [{"object": "embedding", "index": i, "embedding": write([v])} for i, v in enumerate(values)],
            "usage": USAGE,
        }

    async def encode(request: Request) -> Any:
        """Rewards as ``embedding``."""
        body, groups = await read(request, NativeRequest, NativeRequest.groups)
        return native_answer(body, await score_patiently(desk, request, groups))

    for path in ("/encode", "/classify") if prefixed else ("/encode",):
        native.post(path, openapi_extra=described(NativeRequest, {"text": _TEXT}, answer=_NATIVE_ANSWER))(encode)
    api.include_router(native)
    return api
