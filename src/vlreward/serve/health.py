"""Whether the server lives, whether it can score, what it does, and which model it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from .metrics import Metrics
from .refusals import Refusal, answer, native_shape, routes
from .service import Service
from .wire import ErrorResponse


class Health(BaseModel):
    """A good answer."""

    status: Literal["ok"] = "ok"


class Model(BaseModel):
    """A model, as OpenAI clients list it, and how it was loaded."""

    id: str = Field(examples=["reward-7b"])
    object: Literal["model"] = "model"
    owned_by: str = "vlreward"
    calibrated: bool = Field(description="whether probabilities are by the model's calibration")
    settings: dict[str, Any] = Field(description="what rewards depend on beside the weights")


class Models(BaseModel):
    """The models."""

    object: Literal["list"] = "list"
    data: list[Model]


def router(
    service: Service, *, ready: Callable[[], bool], settings: Callable[[], Mapping[str, Any]], metrics: Metrics
) -> APIRouter:
    """``/health/live``, ``/health/ready``, ``/metrics`` and ``/v1/models``.

    Args:
        service: scores.
        ready: whether it can, now.
        settings: of its model, plain values.
        metrics: what is shown.
    """
    api = APIRouter(route_class=routes(native_shape), tags=["server"])

    @api.get("/health/live", summary="Whether the server answers at all")
    async def live() -> Health:
        return Health()

    unready: dict[int | str, dict[str, Any]] = {503: {"model": ErrorResponse, "description": "not ready"}}

    @api.get("/health/ready", summary="Whether the model is loaded", response_model=Health, responses=unready)
    async def check_ready() -> Any:
        if ready():
            return Health()
        return answer(Refusal("unavailable", "the model is not loaded, or the server is about to end", retry_after=1))

    @api.get("/metrics", summary="For Prometheus", response_class=Response)
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @api.get("/v1/models", summary="The model")
    async def models() -> Models:
        model = Model(id=service.model, calibrated=service.calibration is not None, settings=dict(settings()))
        return Models(data=[model])

    return api
