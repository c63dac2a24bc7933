"""What all dialects do with a request: read its body off the event loop, ask the desk, describe the body in OpenAPI."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel

from vlreward.serve.keys import client_of
from vlreward.serve.refusals import Refusal
from vlreward.serve.requests import deadline_of
from vlreward.serve.service import Desk
from vlreward.types import Group

Form = TypeVar("Form", bound=BaseModel)

USAGE = {"prompt_tokens": 0, "total_tokens": 0, "completion_tokens": 0, "prompt_tokens_details": None}
"""Of answers that have one: tokens are not counted."""


async def read(request: Request, form: type[Form], groups: Callable[[Form], list[Group]]) -> tuple[Form, list[Group]]:
    """The body in its form, and the groups that it asks about.

    Raises:
        ValidationError: the body is not of that form.
        InputError, Refusal: from ``groups``.
    """
    raw = await request.body()

    def parse() -> tuple[Form, list[Group]]:
        body = form.model_validate_json(raw)
        return body, groups(body)

    return await asyncio.to_thread(parse)


async def score(desk: Desk, request: Request, groups: Sequence[Group]) -> list[float]:
    """The rewards of all responses, one after the other; errors as `Desk.score`."""
    rewards = await desk.score(groups, client=client_of(request), seconds=deadline_of(request))
    return [value for reward in rewards for value in reward.rewards]


async def score_patiently(desk: Desk, request: Request, groups: Sequence[Group]) -> list[float]:
    """As `score`, for clients that take any status below 500 for final: a full queue is told as 503, not 429."""
    try:
        return await score(desk, request, groups)
    except Refusal as refusal:
        if refusal.code != "busy":
            raise
        raise Refusal("unavailable", refusal.message, retry_after=refusal.retry_after or 1) from refusal


def described(form: type[BaseModel], *examples: dict[str, Any], answer: Any) -> dict[str, Any]:
    """``openapi_extra`` of a route that reads its body itself.

    Args:
        form: of the body; it must not hold other models.
        examples: bodies.
        answer: an example of one.
    """
    named = {str(i + 1): {"value": example} for i, example in enumerate(examples)}
    content = {"schema": form.model_json_schema(), "examples": named}
    answers = {"200": {"content": {"application/json": {"example": answer}}}}
    return {"requestBody": {"required": True, "content": {"application/json": content}}, "responses": answers}


def in_base64(values: Sequence[float]) -> str:
    """Numbers as OpenAI's clients decode them: float32, little-endian, base64."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def listed(value: Any, count: int, name: str) -> list[Any]:
    """``value`` as a list with one entry per sample; None is a list of None, the entry of one sample may come alone.

    Raises:
        Refusal: it has another length.
    """
    if value is None:
        return [None] * count
    entries: list[Any] = value if isinstance(value, list) else [value]
    if len(entries) != count:
        raise Refusal("bad_request", f"{len(entries)} entries for {count} samples; send one for each", where=name)
    return entries
