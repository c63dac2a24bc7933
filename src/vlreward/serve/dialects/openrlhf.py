"""The remote reward of OpenRLHF, and of LightRFT, which sends pictures.

``POST /get_reward`` with ``query`` (LightRFT: ``queries``), a list of whole texts, and as they come ``prompts``,
``labels`` and ``images``, one entry per text. See `vlreward.serve.dialects.templated` for how a text is taken apart.

Pictures fill the placeholders of a text in order. They come from ``images`` (per text a list, one alone, or null; each
base64, a data URI, or an id of `PUT /v1/media`), else from the ids in the text's entry of ``labels`` or ``extra_info``:
OpenRLHF sends no pictures, but hands a data set's label through. A text without placeholders has its pictures at its
``<image>`` marks, else in front of the first user turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from pydantic import AliasChoices, BaseModel, Field

from vlreward.serve.refusals import Refusal, routes
from vlreward.serve.service import Desk
from vlreward.types import Group

from .bodies import described, listed, read, score
from .templated import group_of, media_ids, picture_source


class RewardRequest(BaseModel):
    """What the trainers post; keys that say nothing to a reward model are passed over."""

    query: list[str] = Field(validation_alias=AliasChoices("query", "queries"), min_length=1)
    """Prompt and answer, templated."""
    prompts: list[str | None] | str | None = None
    """The prompt of each; needed only for texts that are not ChatML."""
    labels: Any = None
    """What the data set says of each: searched for ids of media."""
    extra_info: Any = None
    """The same."""
    images: list[list[str] | str | None] | None = None
    """The pictures of each."""


_TEXT = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
_PROMPT = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"
_EXAMPLE = {"query": [_TEXT], "prompts": [_PROMPT]}
_ANSWER: dict[str, Any] = {"rewards": [3.25], "scores": [3.25], "extra_logs": {}}


def shape(refusal: Refusal) -> Mapping[str, Any]:
    """``{"detail", "code", "where"}``: FastAPI's own form, which is OpenRLHF's, and what is the matter beside it."""
    body: dict[str, Any] = {"detail": refusal.message, "code": refusal.code, "where": refusal.where}
    return body | ({"media": list(refusal.media)} if refusal.media else {})


def router(desk: Desk) -> APIRouter:
    """The routes of OpenRLHF's remote reward."""
    api = APIRouter(route_class=routes(shape), tags=["OpenRLHF"])

    @api.post("/get_reward", openapi_extra=described(RewardRequest, _EXAMPLE, answer=_ANSWER))
    async def get_reward(request: Request) -> dict[str, Any]:
        """The rewards of templated texts."""
        _, groups = await read(request, RewardRequest, _groups)
        rewards = await score(desk, request, groups)
        return {"rewards": rewards, "scores": rewards, "extra_logs": {}}

    return api


def _groups(body: RewardRequest) -> list[Group]:
    count = len(body.query)
    prompts, images = listed(body.prompts, count, "prompts"), listed(body.images, count, "images")
    labels, info = listed(body.labels, count, "labels"), listed(body.extra_info, count, "extra_info")
    return [
        group_of(text, prompts[i], media_of(images[i], [labels[i], info[i]]), f"query[{i}]")
        for i, text in enumerate(body.query)
    ]


def media_of(images: list[str] | str | None, others: Any) -> list[str]:
    """The sources of a text's pictures: ``images``, else the ids in what goes with it."""
    if images:
        return [picture_source(image) for image in ([images] if isinstance(images, str) else images)]
    return media_ids(others)
