"""The application: routes, what stands before them, and what scores."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

import vlreward
from vlreward.engines.shaped import Shaping

from . import dialects, health, media, native
from .addresses import Addresses
from .admission import Guard
from .batching import Batcher, BatchLimits
from .keys import Keys, RequireKey
from .limits import LimitBodies, RequestLimits
from .media import MediaStore
from .metrics import Metrics
from .refusals import Shape, answer, native_shape, refusal_of, shapes_of
from .requests import InFlight, Requests
from .schema import complete
from .service import Desk, Service
from .wire import CompareRequest, ScoreRequest, TraceRequest
from .worker import Worker
from .worker_process import Factory


class Backend(Service, Protocol):
    """A `Service` that is started and ended with the server."""

    draining: bool
    """Set to turn new requests away."""

    @property
    def ready(self) -> bool:
        """Whether it can score now."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What `GET /v1/models` says of the model."""
        ...

    def start(self) -> None:
        """Begin; called once, in the event loop."""
        ...

    async def wait_tried(self) -> None:
        """Until it is known whether the model can be had.

        Raises:
            VLRewardError: it cannot.
        """
        ...

    async def close(self) -> None:
        """End; whoever still waits is told so. Calling it twice is harmless."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """What a server lets in, and how it computes."""

    model: str
    """The model's name, as clients are told."""
    batching: BatchLimits = field(default_factory=BatchLimits)
    requests: RequestLimits = field(default_factory=RequestLimits)
    media_bytes: int = 2 * 2**30
    """For pictures and videos that clients have sent, to be named in later requests."""
    keys: Path | None = None
    """A file of API keys; None: everybody may ask."""
    hosts: tuple[str, ...] = ()
    """From which pictures may be fetched; see `Addresses`."""
    shaping: Shaping = field(default_factory=Shaping)
    """What is done to rewards before anybody is told."""
    normalise: bool = False
    """Whether, before that, they are normalised by the scale of the model's calibration."""
    drain_seconds: float = 30.0
    """For the requests that are there when the server is told to end."""


def create_app(options: ServerOptions, make: Callable[[Metrics], Backend]) -> FastAPI:
    """The application. Its ``state`` has ``backend`` and ``in_flight``.

    Args:
        options: of the server.
        make: what scores, told where to count; see `over_worker`.

    Raises:
        ConfigError: the file of keys, a host or a limit is wrong.
    """
    metrics, in_flight = Metrics(), InFlight()
    backend = make(metrics)
    store = MediaStore(options.media_bytes)
    metrics.watch_media(lambda: store.size, lambda: len(store))
    addresses = Addresses(options.hosts, max_bytes=options.requests.max_media_bytes) if options.hosts else None
    guard = Guard(options.requests, store, addresses)
    desk = Desk(service=backend, admission=guard, shaping=options.shaping, normalise=options.normalise)
    keys = Keys.read(options.keys) if options.keys is not None else None

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001 - as FastAPI calls it
        backend.start()
        try:
            yield
        finally:
            await backend.close()

    # The pages that show the schema fetch their scripts from elsewhere; the schema itself is /openapi.json.
    app = FastAPI(
        title="vlreward",
        version=vlreward.__version__,
        summary=_SUMMARY,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.backend, app.state.in_flight = backend, in_flight

    def ready() -> bool:
        return backend.ready and not backend.draining

    def settings() -> Mapping[str, Any]:
        return {**backend.settings, **_told(options)}

    for router in (
        native.router(desk, options.requests),
        media.router(store, options.requests),
        dialects.router(desk),
        health.router(backend, ready=ready, settings=settings, metrics=metrics),
    ):
        app.include_router(router)
    shapes = shapes_of(app.routes)
    complete(app, (ScoreRequest, CompareRequest, TraceRequest), shapes, keyed=keys is not None)

    def shape_of(path: str) -> Shape:
        return shapes.get(path, native_shape)

    async def refuse(request: Request, error: Exception) -> Response:
        """What no route has answered: an unknown path or method, or a mistake of ours."""
        return answer(refusal_of(error), shape_of(request.scope["path"]))

    for kind in (HTTPException, Exception):
        app.add_exception_handler(kind, refuse)
    # The last one added is the outermost.
    app.add_middleware(LimitBodies, limits=options.requests, shape_of=shape_of)
    app.add_middleware(RequireKey, keys=keys, shape_of=shape_of)
    app.add_middleware(Requests, metrics=metrics, in_flight=in_flight, paths=shapes)
    return app


def _told(options: ServerOptions) -> dict[str, Any]:
    """What clients are told of shaping, where there is any."""
    shaping = {"normalise": options.normalise, "clip": options.shaping.clip, "squash": options.shaping.squash}
    return {"shaping": shaping} if any(shaping.values()) else {}


_SUMMARY = "Rewards for the answers of vision-language models"


def over_worker(factory: Factory, options: ServerOptions) -> Callable[[Metrics], Batcher]:
    """For `create_app`: a model in a process of its own.

    Args:
        factory: makes the engine there.
        options: of the server.
    """
    return lambda metrics: Batcher(Worker(factory), model=options.model, limits=options.batching, metrics=metrics)
