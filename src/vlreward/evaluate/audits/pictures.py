"""Pictures changed by rule, as PNG or JPEG bytes: equal bytes are one picture to every engine."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from vlreward.data.images import load_image
from vlreward.data.limits import MediaLimits
from vlreward.data.parts import iter_parts, map_parts
from vlreward.tiny.world.chance import Chance
from vlreward.types import Group, Image, Part, Response, Video

from .pair import LeftOut

ORIENTATION = 0x0112
"""The EXIF tag."""
_TURNED_LEFT = 6
"""The orientation of a picture that has to be turned right to stand upright."""

NO_PICTURE = LeftOut(reason="no picture")
"""What is about pictures does not apply to a pair without any."""

Change = Callable[[PILImage.Image], bytes]


def has_images(group: Group) -> bool:
    """Whether there is a picture that is not a video, anywhere."""
    return any(isinstance(part, Image) for part in iter_parts(group))


def media_in(response: Response) -> Iterator[Image | Video]:
    """The pictures and videos of messages."""
    return (part for message in response for part in message.parts if isinstance(part, (Image, Video)))


def redrawn(group: Group, change: Change, limits: MediaLimits) -> Group:
    """The group with all of its pictures changed; videos stay.

    Raises:
        MediaError: a picture cannot be read; the message names the group.
    """
    where = f"group {group.id!r}: image"

    def redraw(part: Part) -> Part:
        if not isinstance(part, Image):
            return part
        return replace(part, source=change(load_image(part.source, limits, where)))

    return map_parts(group, redraw)


def as_jpeg(image: PILImage.Image, quality: int) -> bytes:
    """Compressed, with loss."""
    return _encoded(image, "JPEG", quality=quality)


def resized(image: PILImage.Image, factor: float) -> bytes:
    """With sides of so many times as many pixels."""
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return _encoded(image.resize(size, PILImage.Resampling.BICUBIC))


def turned_with_exif(image: PILImage.Image) -> bytes:
    """Stored on its side, with the tag that says so, as cameras do: what is shown is the same to the last bit."""
    exif = PILImage.Exif()
    exif[ORIENTATION] = _TURNED_LEFT
    return _encoded(image.transpose(PILImage.Transpose.ROTATE_90), exif=exif)


def with_one_pixel(image: PILImage.Image, chance: Chance) -> bytes:
    """With one pixel in its negative."""
    changed = image.copy()
    place = chance.below(image.width), chance.below(image.height)
    red, green, blue = changed.getpixel(place)  # type: ignore[misc] # a tuple in mode RGB
    changed.putpixel(place, (255 - red, 255 - green, 255 - blue))
    return _encoded(changed)


def with_caption(image: PILImage.Image, text: str) -> bytes:
    """With a strip below that carries a text: nothing of the picture is hidden."""
    font = _font_for(image.width, text)
    left, top, right, bottom = font.getbbox(text)
    height = round((bottom - top) * 1.8)
    taller = PILImage.new("RGB", (image.width, image.height + height), "white")
    taller.paste(image, (0, 0))
    place = (image.width - (right - left)) / 2 - left, image.height + (height - (bottom - top)) / 2 - top
    ImageDraw.Draw(taller).text(place, text, fill="black", font=font)
    return _encoded(taller)


@functools.lru_cache(maxsize=64)
def _font_for(width: int, text: str) -> Any:
    """As large as fits into the width."""
    size = 96.0
    length = ImageFont.load_default(size).getlength(text)
    return ImageFont.load_default(max(6.0, size * 0.94 * width / length))


def _encoded(image: PILImage.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
