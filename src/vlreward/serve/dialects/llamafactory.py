"""LLaMA-Factory's score API: ``POST /v1/score/evaluation``.

``messages`` are whole texts (see `vlreward.serve.dialects.templated`), one score each. Beside what LLaMA-Factory
knows, ``images`` has the pictures of each text, and ``extra_info`` is searched for ids of media. ``max_length`` is
passed over: texts are never cut off.
"""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from vlreward.serve.refusals import routes
from vlreward.serve.service import Desk
from vlreward.types import Group

from .bodies import described, listed, read, score
from .openrlhf import media_of, shape
from .templated import group_of


class EvaluationRequest(BaseModel):
    """The body."""

    messages: list[str] = Field(min_length=1)
    """Prompt and answer, templated."""
    images: list[list[str] | str | None] | None = None
    """The pictures of each."""
    extra_info: Any = None
    """Searched for ids of media: one entry for each text."""

    def groups(self) -> list[Group]:
        """One group of one response for each text."""
        images = listed(self.images, len(self.messages), "images")
        info = listed(self.extra_info, len(self.messages), "extra_info")
        return [
            group_of(text, None, media_of(images[i], info[i]), f"messages[{i}]") for i, text in enumerate(self.messages)
        ]


_TEXT = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
_ANSWER = {"id": "scoreeval-1", "object": "score.evaluation", "model": "reward-7b", "scores": [3.25]}


def router(desk: Desk) -> APIRouter:
    """The route of LLaMA-Factory's score API."""
    api = APIRouter(route_class=routes(shape), tags=["LLaMA-Factory"])

    @api.post("/v1/score/evaluation", openapi_extra=described(EvaluationRequest, {"messages": [_TEXT]}, answer=_ANSWER))
    async def evaluate(request: Request) -> dict[str, Any]:
        """The scores of templated texts."""
        _, groups = await read(request, EvaluationRequest, EvaluationRequest.groups)
        scores = await score(desk, request, groups)
        return {
            "id": f"scoreeval-{uuid.uuid4().hex}",
            "object": "score.evaluation",
            "model": desk.service.model,
            "scores": scores,
        }

    return api
