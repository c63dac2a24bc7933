"""Keeping what has been drawn, up to a number of bytes."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import ParamSpec

from PIL import Image

P = ParamSpec("P")

BUDGET = 64 * 2**20
"""Bytes of pictures that are kept, of all kinds together."""


class _Store:
    """Pictures by what they were drawn from; those not used for longest go first."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[object, Image.Image] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: object) -> Image.Image | None:
        with self._lock:
            picture = self._pictures.get(key)
            if picture is not None:
                self._pictures.move_to_end(key)
            return picture

    def put(self, key: object, picture: Image.Image) -> None:
        with self._lock:
            if key in self._pictures:
                return
            self._pictures[key] = picture
            self._bytes += _bytes(picture)
            while self._bytes > BUDGET and len(self._pictures) > 1:
                self._bytes -= _bytes(self._pictures.popitem(last=False)[1])


def _bytes(picture: Image.Image) -> int:
    # Pillow stores RGB in four bytes a pixel, as RGBA.
    return picture.width * picture.height * (1 if picture.mode == "L" else 4)


_STORE = _Store()


def kept(draw: Callable[P, Image.Image]) -> Callable[P, Image.Image]:
    """Draw the same thing once, as long as it is kept. What comes out is shared: not to be drawn on."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Image.Image:
        key = (draw.__module__, draw.__name__, args, tuple(kwargs.items()))
        picture = _STORE.get(key)
        if picture is None:
            picture = draw(*args, **kwargs)
            _STORE.put(key, picture)
        return picture

    return drawn
