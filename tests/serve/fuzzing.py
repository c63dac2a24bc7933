"""Requests that are nearly right, from the OpenAPI schema of a server, the same for a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.serve.pictures import data_uri, png

_DEEPEST = 6
_PICTURE = png((4, 4), "red")
_TEXTS = (
    *(
        "",
        "Q",
        "user",
        "assistant",
        "système 数 🙂",
        "\x00",
        "\ud800",
        "\udc00x",
        "A" * 5000,
        "<|im_end|>",
        "%s{}",
        "1e5",
    ),
    *("../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/", "https://example.org/cat.png"),
    *("media:", "media:" + "0" * 64, "part:picture", "part:", "data:", "data:image/png;base64,", "data:;base64,!!!!"),
    *(data_uri(_PICTURE), data_uri(_PICTURE[:40]), data_uri(b"\x00\x00\x00\x18ftypmp42" + bytes(30))),
)
_NUMBERS = (0, 1, 2, -1, 3.5, 1e308, -1e-300, 10**30, 2**63, float("nan"), float("inf"), True)
_ANY = (*_TEXTS, *_NUMBERS, None, [], {}, [[]], {"": {}}, [None], {"type": "image"}, {"type": "text", "text": 1})


@dataclass(frozen=True)
class Fuzzed:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes


class Fuzzer:
    """Makes requests.

    Args:
        schema: of the application.
        seed: equal ones give equal requests.
    """

    def __init__(self, schema: Mapping[str, Any], seed: int) -> None:
        self._random = random.Random(seed)
        self._components = schema["components"]["schemas"]
        self._routes = [
            (method.upper(), path, operation)
            for path, operations in schema["paths"].items()
            for method, operation in operations.items()
        ]

    def requests(self, number: int) -> Iterator[Fuzzed]:
        """So many requests."""
        for _ in range(number):
            yield self._request()

    def _request(self) -> Fuzzed:
        draw = self._random
        method, path, operation = draw.choice(self._routes)
        content = operation.get("requestBody", {}).get("content", {})
        body = b""
        if content:
            described = content.get("application/json", {}).get("schema")
            value = self._value(described, 0) if described else None
            body = (
                json.dumps(value).encode()
                if described
                else draw.choice((_PICTURE, _PICTURE[:30], b"GIF89a", b"BM", b""))
            )
        kind = draw.choice(
            ("application/json",) * 8 + ("text/plain", "multipart/form-data; boundary=x", "image/png", "x")
        )
        if kind.startswith("multipart"):
            body = b'--x\r\nContent-Disposition: form-data; name="request"\r\n\r\n' + body + b"\r\n--x--\r\n"
        if draw.random() < 0.15:
            body = self._spoilt(body)
        headers = {"Content-Type": kind}
        if draw.random() < 0.05:
            headers["X-Vlreward-Deadline"] = draw.choice(("0", "-1", "nan", "x", "1e-9", "60"))
        if draw.random() < 0.02:
            method, path = (
                draw.choice(("GET", "DELETE", "PATCH", "POST")),
                draw.choice((path, path + "/", "//", "/v1/media/%00")),
            )
        return Fuzzed(method, path.replace("{name}", draw.choice(("x", "media:0", "%2e%2e"))), headers, body)

    def _spoilt(self, body: bytes) -> bytes:
        draw = self._random
        place = draw.randrange(len(body) + 1)
        return draw.choice(
            (
                body[:place],
                body[:place] + bytes([draw.randrange(256)]) + body[place + 1 :],
                body[:place]
                + draw.choice((b"[" * 5000, b'"', b"\\", b"\x00", b"\xff\xfe", b",,", b"9" * 5000))
                + body[place:],
                body + body,
                body.decode("utf-8", "replace").encode("utf-16"),
            )
        )

    def _value(self, schema: Mapping[str, Any], depth: int) -> Any:
        """A value that the schema allows, or now and then one that it does not."""
        draw = self._random
        if draw.random() < 0.04 or depth > _DEEPEST:
            return draw.choice(_ANY)
        if "$ref" in schema:
            return self._value(self._components[schema["$ref"].rpartition("/")[2]], depth)
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return self._value(draw.choice(schema[several]), depth + 1)
        if "const" in schema or "enum" in schema:
            return draw.choice(schema.get("enum", [schema.get("const")]))
        return self._of_type(schema, depth)

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        draw = self._random
        match schema.get("type"):
            case "object":
                needed = schema.get("required", ())
                names = [
                    name for name in schema.get("properties", {}) if draw.random() < (0.97 if name in needed else 0.3)
                ]
                made = {name: self._value(schema["properties"][name], depth + 1) for name in names}
                return made | ({draw.choice(_TEXTS): 1} if draw.random() < 0.03 else {})
            case "array":
                return [self._value(schema.get("items", {}), depth + 1) for _ in range(draw.choice((0, 1, 1, 2, 3)))]
            case "string":
                return draw.choice(_TEXTS)
            case "integer" | "number":
                return draw.choice(_NUMBERS)
            case "boolean":
                return draw.random() < 0.5
            case "null":
                return None
        return draw.choice(_ANY)
