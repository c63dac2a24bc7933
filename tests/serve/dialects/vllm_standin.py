"""A stand-in for a vLLM server with a reward model: its requests and responses have the fields of vLLM 0.33.

Whatever it is sent must fit vLLM's request models, and it answers by vLLM's response models; like vLLM with a
checkpoint that says no problem type, it puts a sigmoid over the score unless told otherwise. The scores are an engine's
of ours.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from vlreward.engines.base import Engine
from vlreward.model.calibration import bradley_terry
from vlreward.types import Group, parse_messages


class OpenAIBaseModel(BaseModel):
    model_config = ConfigDict(extra="allow")


class ImageURL(TypedDict, total=False):
    url: str
    detail: Literal["auto", "low", "high"]


class ContentPart(TypedDict, total=False):
    type: Literal["text", "image_url"]
    text: str
    image_url: ImageURL


class ChatMessage(TypedDict):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[ContentPart]


class PoolingBasicRequestMixin(OpenAIBaseModel):
    model: str | None = None
    user: str | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None
    padding: Literal["max_length", "do_not_pad"] | None = None
    truncation_side: Literal["left", "right"] | None = None
    request_id: str = "standin"
    priority: int = 0
    mm_processor_kwargs: dict[str, Any] | None = None
    cache_salt: str | None = None


class ChatRequestMixin(OpenAIBaseModel):
    messages: list[ChatMessage]
    add_generation_prompt: bool = False
    continue_final_message: bool = False
    add_special_tokens: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    media_io_kwargs: dict[str, dict[str, Any]] | None = None


class ClassifyRequestMixin(OpenAIBaseModel):
    use_activation: bool | None = None


class ClassificationChatRequest(PoolingBasicRequestMixin, ChatRequestMixin, ClassifyRequestMixin):
    pass


class EncodingRequestMixin(OpenAIBaseModel):
    encoding_format: Literal["float", "base64", "bytes", "bytes_only"] = "float"
    embed_dtype: str = "float32"
    endianness: str = "native"


class PoolingChatRequest(PoolingBasicRequestMixin, ChatRequestMixin, EncodingRequestMixin, ClassifyRequestMixin):
    task: str | None = None
    dimensions: int | None = None


class UsageInfo(OpenAIBaseModel):
    prompt_tokens: int = 0
    total_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: None = None
    completion_tokens_details: None = None


class ClassificationData(OpenAIBaseModel):
    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class ClassificationResponse(OpenAIBaseModel):
    id: str = "classify-standin"
    object: str = "list"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str
    data: list[ClassificationData]
    usage: UsageInfo


class PoolingResponseData(OpenAIBaseModel):
    index: int
    object: str = "pooling"
    data: list[list[float]] | list[float] | str


class PoolingResponse(OpenAIBaseModel):
    id: str = "pool-standin"
    object: str = "list"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str
    data: list[PoolingResponseData]
    usage: UsageInfo


class ErrorInfo(OpenAIBaseModel):
    message: str
    type: str
    param: str | None = None
    code: int


class ErrorResponse(OpenAIBaseModel):
    error: ErrorInfo


class ModelCard(OpenAIBaseModel):
    id: str
    object: str = "model"
    created: int = Field(default_factory=lambda: int(time.time()))
    owned_by: str = "vllm"
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None
    permission: list[Any] = Field(default_factory=list)


class ModelList(OpenAIBaseModel):
    object: str = "list"
    data: list[ModelCard] = Field(default_factory=list)


@dataclass
class StandIn:
    """The server's state: what it was asked, and how it is to misbehave."""

    engine: Engine
    name: str = "served/reward"
    labels: int = 1
    failures: list[int] = field(default_factory=list)
    """Statuses of the next answers."""
    asked: list[dict[str, Any]] = field(default_factory=list)


def error(status: int, message: str, kind: str = "BadRequestError") -> JSONResponse:
    return JSONResponse(ErrorResponse(error=ErrorInfo(message=message, type=kind, code=status)).model_dump(), status)


def values(state: StandIn, request: ClassificationChatRequest | PoolingChatRequest) -> list[float] | JSONResponse:
    """One number per label, or the error."""
    state.asked.append(request.model_dump())
    if state.failures:
        return error(state.failures.pop(0), "told to fail", "InternalServerError")
    if request.model not in (None, state.name):
        return error(404, f"The model `{request.model}` does not exist.", "NotFoundError")
    *prompt, answer = parse_messages(request.messages)
    if any("too long" in str(message.content) for message in prompt):
        return error(400, "maximum context length is 4096 tokens")
    reward = state.engine.score([Group(prompt, [(answer,)])])[0].rewards[0]
    value = reward if request.use_activation is False else bradley_terry(reward)
    return [value] * state.labels


def standin_app(state: StandIn) -> FastAPI:
    app = FastAPI()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, failed: RequestValidationError) -> JSONResponse:
        return error(400, failed.errors()[0]["msg"], "Bad Request")

    @app.get("/v1/models")
    async def models() -> ModelList:
        return ModelList(data=[ModelCard(id=state.name, root="/models/reward", max_model_len=4096)])

    @app.post("/classify", response_model=None)
    async def classify(request: ClassificationChatRequest) -> ClassificationResponse | JSONResponse:
        probs = values(state, request)
        if isinstance(probs, JSONResponse):
            return probs
        row = ClassificationData(index=0, label="LABEL_0", probs=probs, num_classes=len(probs))
        return ClassificationResponse(model=state.name, data=[row], usage=UsageInfo(prompt_tokens=9, total_tokens=9))

    @app.post("/pooling", response_model=None)
    async def pooling(request: PoolingChatRequest) -> PoolingResponse | JSONResponse:
        data = values(state, request)
        if isinstance(data, JSONResponse):
            return data
        return PoolingResponse(model=state.name, data=[PoolingResponseData(index=0, data=data)], usage=UsageInfo())

    return app
