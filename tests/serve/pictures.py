"""Small pictures as bytes."""

from __future__ import annotations

import base64
import io

import PIL.Image


def png(size: tuple[int, int], colour: str) -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(data: bytes) -> str:
    """Bytes of a PNG as requests carry them."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
