"""Safe decoding of one picture into RGB.

What a model sees is what the published procedures give it: alpha over white and colours as stored, without colour
management. EXIF orientation is applied, which those leave to the caller.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from vlreward.errors import MediaError

from .limits import DEFAULT_LIMITS, MediaLimits
from .sources import locate, name_of, read_bytes

__all__ = ["DEFAULT_LIMITS", "MediaLimits", "image_size", "load_image"]

# Pillow knows more, but some run other programs (EPS) or follow what the file says to other files.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF", "ICO", "TGA", "QOI")
_ORIENTATION = 0x0112
_PNG_START = b"\x89PNG\r\n\x1a\n"
# Texts of a PNG in which Pillow looks for it.
_ORIENTING = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")


@functools.cache
def _formats() -> tuple[str, ...]:
    """The formats that this Pillow reads; HEIF comes with a plugin of its own."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def load_image(source: Any, limits: MediaLimits = DEFAULT_LIMITS, where: str = "image") -> Image.Image:
    """Decode a picture.

    Args:
        source: a path, a ``file://`` or ``data:`` URI, an ``http(s)://`` URL when allowed, encoded bytes, a
            ``{"bytes", "path"}`` object, a PIL image, or an array of uint8 of shape ``(H, W)``, ``(H, W, 1)``,
            ``(H, W, 3)`` (RGB) or ``(H, W, 4)`` (RGBA).
        limits: what is refused.
        where: starts every error message.

    Returns:
        An image of its own in mode RGB, fully decoded: EXIF orientation applied, alpha over white, 16 bits scaled to
        8, the first frame of an animation.

    Raises:
        MediaError: it is missing, empty, truncated, larger than ``limits`` allow, or not a picture that we read.
    """
    if isinstance(source, Image.Image):
        return _to_rgb(source, limits, f"{where}: a PIL image")
    if isinstance(source, np.ndarray):
        return _to_rgb(_from_array(source, f"{where}: an array"), limits, f"{where}: an array")
    what = f"{where}: {name_of(source)}"
    with _open(io.BytesIO(read_bytes(source, limits, where)), limits, what) as image:
        return _to_rgb(image, limits, what)


def image_size(source: Any, limits: MediaLimits = DEFAULT_LIMITS, where: str = "image") -> tuple[int, int]:
    """Width and height of what `load_image` gives, from the header where there is one: no pixel is decoded, but for a
    PNG that may say which way is up behind its pixels.

    Raises:
        MediaError: it is missing, empty, larger than ``limits`` allow, or has no header that we read. Whether it can be
            decoded is not known before it is.
    """
    if isinstance(source, Image.Image):
        return _upright_size(source)
    if isinstance(source, np.ndarray):
        return _from_array(source, f"{where}: an array").size
    what = f"{where}: {name_of(source)}"
    found = locate(source, limits, where)
    with _open(found if isinstance(found, Path) else io.BytesIO(found), limits, what) as image:
        too_large = image.width * image.height > limits.max_image_pixels  # which `load_image` refuses
        return _upright_size(image, decode=not too_large and _has_late_orientation(image))


def _upright_size(image: Image.Image, *, decode: bool = True) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image, decode=decode) in range(5, 9) else (width, height)


def _has_late_orientation(image: Image.Image) -> bool:
    """Whether a PNG has a chunk behind its pixels that may say which way is up: Pillow decodes them to see it."""
    file = image.fp if isinstance(image, PngImageFile) else None
    if file is None:
        return False
    at, behind = file.tell(), False
    file.seek(len(_PNG_START))
    while len(head := file.read(8)) == 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        start = file.read(min(size, 24))
        if behind and (kind == b"eXIf" or start.startswith(_ORIENTING)):
            break
        behind = behind or kind == b"IDAT"
        file.seek(size - len(start) + 4, io.SEEK_CUR)
    file.seek(at)
    return len(head) == 8


def _open(data: Path | io.BytesIO, limits: MediaLimits, what: str) -> Image.Image:
    try:
        return Image.open(data, formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(f"{what}: more than max_image_pixels ({limits.max_image_pixels:,}): {error}") from None
    except UnidentifiedImageError:
        raise MediaError(f"{what}: not a picture; known formats: {', '.join(_formats())}") from None
    except Exception as error:  # decoders raise whatever a broken header leads them into
        raise MediaError(f"{what}: cannot be read ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """One line of what a decoder said."""
    return " ".join(f"{error}".split()) or type(error).__name__


def _from_array(array: np.ndarray[Any, Any], what: str) -> Image.Image:
    shape = tuple(array.shape)
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        hint = "; move the channels last" if array.ndim == 3 and shape[0] in (1, 3, 4) else ""
        raise MediaError(f"{what}: expected shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {shape}{hint}")
    if array.dtype != np.uint8:
        raise MediaError(f"{what}: expected values of uint8 from 0 to 255, got {array.dtype}; scale and convert them")
    if array.size == 0:
        raise MediaError(f"{what}: no pixels, its shape is {shape}")
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if shape[2:] == (1,) else array))


def _to_rgb(image: Image.Image, limits: MediaLimits, what: str) -> Image.Image:
    width, height = image.size
    if width * height == 0:
        raise MediaError(f"{what}: no pixels, its size is {width}×{height}")
    if width * height > limits.max_image_pixels:
        raise MediaError(
            f"{what}: {width}×{height} is more than max_image_pixels ({limits.max_image_pixels:,}); make it smaller"
        )
    try:
        image.load()
        return _convert(_upright(image), what)
    except MediaError:
        raise
    except Exception as error:  # decoders raise whatever a broken file leads them into
        raise MediaError(f"{what}: cannot be decoded ({_reason(error)})") from error


def _orientation(image: Image.Image, *, decode: bool = True) -> int:
    try:
        # A PNG's own decodes it, in case that something stands behind the pixels.
        exif = image.getexif() if decode else Image.Image.getexif(image)
        return int(exif.get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block takes nothing from the picture
        return 1


def _upright(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) if _orientation(image) in range(2, 9) else image


def _convert(image: Image.Image, what: str) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_eight_bits(image, what)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


def _to_eight_bits(image: Image.Image, what: str) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion clips at 255, which leaves a white picture."""
    values_HW = np.asarray(image)
    low, high = values_HW.min(), values_HW.max()
    if image.mode == "F" or low < 0 or high > 0xFFFF:
        values = f"mode {image.mode} with values from {low:g} to {high:g}"
        raise MediaError(f"{what}: {values} has no known range; save it with 8 or 16 bits")
    grey = Image.fromarray(((values_HW.astype(np.uint32) * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values_HW == transparent, 0, 255).astype(np.uint8)))
    return grey
