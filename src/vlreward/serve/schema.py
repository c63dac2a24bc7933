"""The OpenAPI schema, with what routes do not say of themselves: bodies that they read, headers, keys, errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .keys import OPEN_PATHS
from .refusals import STATUS, Refusal, Shape
from .requests import DEADLINE_HEADER, ID_HEADER

_ID = {
    "name": ID_HEADER,
    "in": "header",
    "schema": {"type": "string"},
    "description": "echoed, and stands in the log; one is made where there is none",
}
_DEADLINE = {
    "name": DEADLINE_HEADER,
    "in": "header",
    "schema": {"type": "number", "exclusiveMinimum": 0},
    "description": "seconds within which the answer is wanted",
}
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}
_OF_MEDIA = ("bad_request", "unauthorized", "too_large", "unscorable", "busy", "internal")


def complete(app: FastAPI, models: Sequence[type[BaseModel]], shapes: Mapping[str, Shape], *, keyed: bool) -> None:
    """Complete the schema of an application.

    Args:
        app: with all its routes.
        models: are added to the components, where `vlreward.serve.native.body_of` looks for them.
        shapes: the form of errors by path.
        keyed: whether a key is needed.
    """
    build = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = build()
            _add_models(schema, models)
            for path, operations in schema["paths"].items():
                for method, operation in operations.items():
                    _describe(operation, method, shapes[path])
            if keyed:
                _add_keys(schema)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _add_models(schema: dict[str, Any], models: Sequence[type[BaseModel]]) -> None:
    pairs = [(model, "validation") for model in models]
    _, found = models_json_schema(pairs, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schema.setdefault("components", {}).setdefault("schemas", {}).update(found["$defs"])


def _describe(operation: dict[str, Any], method: str, shape: Shape) -> None:
    """Its headers, and an example of every error in the form of its protocol, where there is none."""
    operation.setdefault("parameters", []).extend([_ID, _DEADLINE] if method == "post" else [_ID])
    codes = [code for code in STATUS if code != "not_found"] if method == "post" else _OF_MEDIA
    for code in codes if method in ("post", "put") else ():
        media = ("media:" + "0f" * 32,) if code == "unknown_media" else ()
        example = shape(Refusal(code, "what is the matter", where="the part of the request", media=media))
        found = {"description": code.replace("_", " "), "content": {"application/json": {"example": example}}}
        operation["responses"].setdefault(str(STATUS[code]), found)


def _add_keys(schema: dict[str, Any]) -> None:
    schema["components"]["securitySchemes"] = _KEYS
    schema["security"] = [{name: []} for name in _KEYS]
    for path in OPEN_PATHS:
        for operation in schema["paths"][path].values():
            operation["security"] = []
