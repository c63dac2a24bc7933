"""The server's own protocol: groups in; rewards, rankings, probabilities or traces out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from vlreward.data.parts import map_parts
from vlreward.errors import InputError, UnsupportedError
from vlreward.model.calibration import bradley_terry
from vlreward.model.sentences import sentence_ends
from vlreward.types import Group, Message, Part, Reward, Text, Video, parse_messages

from .keys import client_of
from .limits import RequestLimits, check_json
from .refusals import STATUS, Refusal, native_shape, refusal_of, routes
from .requests import deadline_of
from .service import Desk
from .wire import (
    CompareRequest,
    CompareResponse,
    ErrorResponse,
    Point,
    Ranked,
    RankResponse,
    ScoreRequest,
    ScoreResponse,
    TraceRequest,
    TraceResponse,
    WireGroup,
)

REQUEST_PART = "request"
"""The part of a multipart request that holds the JSON."""
PART_SCHEME = "part:"
"""Starts a source that is another part of the same request."""
_MOST_PARTS = 2048
"""In a row."""
_VLLM_FIELDS = frozenset(("queries", "documents", "text_1", "text_2", "data_1", "data_2"))
"""Its clients post to the same path."""

Body = TypeVar("Body", bound=BaseModel)
Parts = Mapping[str, bytes]


def router(desk: Desk, limits: RequestLimits) -> APIRouter:
    """``POST /v1/score``, ``/v1/rank``, ``/v1/compare`` and ``/v1/trace``.

    Args:
        desk: scores.
        limits: of the JSON in a request of several parts; the JSON of others is for `LimitBodies` to look at.
    """
    errors: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorResponse, "description": code.replace("_", " ")}
        for code, status in STATUS.items()
        if code != "not_found"
    }
    api = APIRouter(route_class=routes(native_shape), prefix="/v1", tags=["native"], responses=errors)

    async def ask(request: Request, groups: Sequence[Group]) -> list[Reward]:
        return await desk.score(groups, client=client_of(request), seconds=deadline_of(request))

    async def groups_of(request: Request, model: type[ScoreRequest] | type[CompareRequest]) -> list[Group]:
        body, parts = await _read(request, model, limits)
        return await asyncio.to_thread(lambda: [_group(item, parts, i) for i, item in enumerate(body.groups)])

    @api.post("/score", summary="The reward of each response", openapi_extra=body_of(ScoreRequest))
    async def score(request: Request) -> ScoreResponse:
        groups = await groups_of(request, ScoreRequest)
        rewards = await ask(request, groups)
        return ScoreResponse(rewards=[list(reward.rewards) for reward in rewards], model=desk.service.model)

    @api.post("/rank", summary="The responses from best to worst", openapi_extra=body_of(ScoreRequest))
    async def rank(request: Request) -> RankResponse:
        groups = await groups_of(request, ScoreRequest)
        rankings = [
            [Ranked(index=i, reward=reward.rewards[i]) for i in reward.order] for reward in await ask(request, groups)
        ]
        return RankResponse(rankings=rankings, model=desk.service.model)

    @api.post("/compare", summary="Which of two responses is better", openapi_extra=body_of(CompareRequest))
    async def compare(request: Request) -> CompareResponse:
        groups = await groups_of(request, CompareRequest)
        for i, group in enumerate(groups):
            if len(group) != 2:
                message = f"a comparison is of two responses, got {len(group)}"
                raise Refusal("bad_request", message, where=f"groups[{i}].responses")
        scored = await desk.unshaped(groups, client=client_of(request), seconds=deadline_of(request))
        pairs = [reward.rewards for reward in scored]
        calibration = desk.service.calibration
        probability = bradley_terry if calibration is None else calibration.probability
        return CompareResponse(
            probabilities=[probability(first - second) for first, second in pairs],
            calibrated=calibration is not None,
            model=desk.service.model,
        )

    @api.post("/trace", summary="The reward after each sentence", openapi_extra=body_of(TraceRequest))
    async def trace(request: Request) -> TraceResponse:
        body, parts = await _read(request, TraceRequest, limits)
        group, answer, ends = await asyncio.to_thread(_cuts, body, parts, limits)
        rewards = (await ask(request, [group]))[0].rewards
        starts = [0, *ends[:-1]]
        points = [
            Point(end=end, text=answer[start:end], reward=reward)
            for start, end, reward in zip(starts, ends, rewards, strict=True)
        ]
        return TraceResponse(points=points, model=desk.service.model)

    return api


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of a body that a route reads itself; `vlreward.serve.schema` adds the model."""
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    examples = model.model_config.get("json_schema_extra", {})
    shown = examples.get("examples", []) if isinstance(examples, dict) else []
    named = {f"example {i}": {"value": value} for i, value in enumerate(shown if isinstance(shown, list) else [], 1)}
    form = {
        "type": "object",
        "required": [REQUEST_PART],
        "properties": {REQUEST_PART: reference},
        "additionalProperties": {"type": "string", "format": "binary"},
        "description": f"The JSON as part {REQUEST_PART!r}; in it, a source {PART_SCHEME}NAME is the part NAME",
    }
    content = {
        "application/json": {"schema": reference, "examples": named},
        "multipart/form-data": {"schema": form, "encoding": {REQUEST_PART: {"contentType": "application/json"}}},
    }
    return {"requestBody": {"required": True, "content": content}}


def _group(item: WireGroup, parts: Parts, index: int) -> Group:
    where = f"groups[{index}]"
    try:
        group = Group(item.messages, item.responses, id=item.id, where=where)
    except InputError as error:
        raise _at(where, error) from None
    return _filled(group, parts, where)


def _at(where: str, error: InputError) -> Refusal:
    refusal = refusal_of(error)
    return Refusal(refusal.code, refusal.message.removeprefix(f"{where}: "), where=where)


def _filled(group: Group, parts: Parts, where: str) -> Group:
    """The group with the parts of the request in place of their names."""

    def fill(source: Any) -> Any:
        if not isinstance(source, str) or not source.startswith(PART_SCHEME):
            return source
        found = parts.get(source.removeprefix(PART_SCHEME))
        if found is None:
            raise Refusal(
                "bad_request", f"no part {source.removeprefix(PART_SCHEME)!r:.80} in this request", where=where
            )
        return found

    def part(old: Part) -> Part:
        if isinstance(old, Video) and old.is_frames:
            return replace(old, source=tuple(map(fill, old.source)))
        return old if isinstance(old, Text) else replace(old, source=fill(old.source))

    return map_parts(group, part) if parts else group


async def _read(request: Request, model: type[Body], limits: RequestLimits) -> tuple[Body, Parts]:
    """The body, and the other parts where it is of several."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _read_form(request, model, limits)
    text = await request.body()
    return await asyncio.to_thread(_parse, text, model), {}


async def _read_form(request: Request, model: type[Body], limits: RequestLimits) -> tuple[Body, Parts]:
    async with request.form(max_files=_MOST_PARTS, max_fields=_MOST_PARTS, max_part_size=2**26) as form:
        parts = {
            name: await value.read() if isinstance(value, UploadFile) else value.encode()
            for name, value in form.multi_items()
        }
    text = parts.pop(REQUEST_PART, None)
    if text is None:
        raise Refusal("bad_request", f"a multipart request needs a part {REQUEST_PART!r}, the JSON", where="body")

    def parse() -> Body:
        check_json(text, limits)
        return _parse(text, model)

    return await asyncio.to_thread(parse), parts


def _parse(text: bytes, model: type[Body]) -> Body:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise Refusal("bad_request", f"not JSON: {reason}", where="body") from None
    if isinstance(value, dict) and "groups" not in value and not _VLLM_FIELDS.isdisjoint(value):
        raise Refusal("bad_request", "a body of vLLM's /score; post it to /vllm/v1/score", where="body")
    return model.model_validate(value)


def _cuts(body: TraceRequest, parts: Parts, limits: RequestLimits) -> tuple[Group, str, list[int]]:
    """The answer cut after each sentence, as a group; the answer, and where the cuts are."""
    where = "messages"
    messages = parse_messages(body.messages)
    if not messages or messages[-1].role != "assistant":
        raise Refusal("bad_request", "the last message must be an assistant's, the answer", where=where)
    answer = messages[-1].content
    if not isinstance(answer, str):
        raise UnsupportedError("trace cuts an answer that is plain text; this one has parts")
    # Before the cuts are made, which together are far longer than the answer.
    if len(answer) > limits.max_text:
        raise Refusal("too_large", f"an answer of {len(answer):,} characters; at most {limits.max_text:,}", where=where)
    ends = sentence_ends(answer)
    if len(ends) > limits.max_responses or sum(ends) > limits.max_total_text:
        raise Refusal("too_large", f"an answer of {len(ends):,} sentences is too long to be traced", where=where)
    cuts = [(Message("assistant", answer[:end]),) for end in ends]
    return _filled(Group(messages[:-1], cuts, where=where), parts, where), answer, ends
