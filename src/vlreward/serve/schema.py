"""The OpenAPI schema, with the bodies that routes read themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema


def add_models(app: FastAPI, models: Sequence[type[BaseModel]]) -> None:
    """Add models to the components of an application's schema, where `body_of` looks for them."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = build()
            pairs = [(model, "validation") for model in models]
            _, found = models_json_schema(pairs, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
            schema.setdefault("components", {}).setdefault("schemas", {}).update(found["$defs"])
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
