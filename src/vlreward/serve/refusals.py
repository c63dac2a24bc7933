"""What is said to a client that does not get rewards: one kind of error, written in the form that its protocol has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from fastapi import Request, Response, routing
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from vlreward.errors import ConfigError, InputError, LengthError, ScoreError, UnsupportedError, VLRewardError

logger = logging.getLogger("vlreward.serve")

_LONGEST = 500

STATUS = {
    "bad_request": 400,
    "unauthorized": 401,
    "not_found": 404,
    "not_allowed": 405,
    "unknown_media": 409,
    "too_large": 413,
    "unscorable": 422,
    "busy": 429,
    "internal": 500,
    "unavailable": 503,
    "too_late": 504,
}
"""HTTP status by code. ``unknown_media`` asks the client to send the pictures named in ``media`` and try again."""


class Refusal(Exception):
    """A request that is answered without rewards."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        where: str | None = None,
        media: tuple[str, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        """Args:
        code: a key of `STATUS`.
        message: one line for people; never a path of the server, a stack trace or what the client sent.
        where: the part of the request it is about, such as ``groups[3].responses[0]``.
        media: ids of pictures that the server does not have.
        retry_after: seconds after which to try again.
        """
        super().__init__(message)
        self.code, self.message, self.where = code, _one_line(message), where and _one_line(where)
        self.media, self.retry_after = media, retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that go with it."""
        if self.code == "unauthorized":
            return {"WWW-Authenticate": "Bearer"}
        return {} if self.retry_after is None else {"Retry-After": str(max(1, round(self.retry_after)))}


def refusal_of(error: Exception) -> Refusal:
    """What a client is told of an error. What nobody foresaw is logged and told as such, without its text."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, (RequestValidationError, ValidationError)):
        first = error.errors()[0]
        return Refusal("bad_request", first["msg"], where=_place(first["loc"]) or "body")
    if isinstance(error, HTTPException):  # of the framework: an unknown path, a broken form
        code = next((code for code, status in STATUS.items() if status == error.status_code), "bad_request")
        return Refusal(code, str(error.detail))
    if isinstance(error, LengthError):
        return Refusal("too_large", str(error))
    if isinstance(error, (InputError, ConfigError)):
        return Refusal("bad_request", str(error))
    if isinstance(error, (ScoreError, UnsupportedError)):
        return Refusal("unscorable", str(error))
    if isinstance(error, VLRewardError):
        # Of the engine, the checkpoint, the installation: they may name files of this machine.
        logger.error("a request failed: %s", error)
        return Refusal("unavailable", "the engine behind the server failed; try again", retry_after=1)
    logger.error("a request failed", exc_info=error)
    return Refusal("internal", "the server failed on this request; its log has the reason")


def _place(loc: Sequence[int | str]) -> str:
    """A place in a body as people write it: ``groups[3].id``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc).removeprefix(".")


def _one_line(text: str) -> str:
    """Text that can be said in a header, a log and JSON: one line, whole characters, not too long."""
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"


Shape = Callable[[Refusal], Mapping[str, Any]]
"""The JSON body by which a protocol says an error."""


def native_shape(refusal: Refusal) -> Mapping[str, Any]:
    """``{"error": {"code", "message", "where"}}``, with ``media`` where pictures are to be sent again."""
    error: dict[str, Any] = {"code": refusal.code, "message": refusal.message, "where": refusal.where}
    return {"error": error | ({"media": list(refusal.media)} if refusal.media else {})}


def answer(refusal: Refusal, shape: Shape = native_shape) -> JSONResponse:
    """The response that says a refusal."""
    return JSONResponse(shape(refusal), status_code=refusal.status, headers=refusal.headers)


class ShapedRoute(APIRoute):
    """A route whose errors have the form of its protocol."""

    shape: Shape = staticmethod(native_shape)


def routes(shape: Shape) -> type[ShapedRoute]:
    """The class of a router's routes (``APIRouter(route_class=…)``), so that its errors have the protocol's form."""

    class Route(ShapedRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handled(request: Request) -> Response:
                try:
                    return await handle(request)
                except Exception as error:
                    return answer(refusal_of(error), shape)

            return handled

    Route.shape = staticmethod(shape)
    return Route


def shapes_of(found: Sequence[BaseRoute]) -> dict[str, Shape]:
    """The form of errors by path, of an application's routes."""
    # Newer versions of FastAPI keep included routers as they are, and show their routes so.
    flat: Iterable[Any] = getattr(routing, "iter_route_contexts", iter)(found)
    pairs = ((route.path, getattr(route, "original_route", route)) for route in flat)
    return {path: type(route).shape for path, route in pairs if isinstance(route, ShapedRoute)}
