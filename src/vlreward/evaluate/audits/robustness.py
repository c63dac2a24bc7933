"""Whether a preference survives what changes a picture's file and nothing that it shows."""

from __future__ import annotations

from .audit import Audit, Variant, chance_of
from .measures import TURNED
from .pair import DataSet, LeftOut, Pair, Sides, sides_of
from .pictures import NO_PICTURE, Change, as_jpeg, has_images, redrawn, resized, turned_with_exif, with_one_pixel

QUALITY = 75
FACTOR = 0.9


def _jpeg(pair: Pair, data: DataSet) -> Sides | LeftOut:
    return _redrawn(pair, data, lambda image: as_jpeg(image, QUALITY))


def _resized(pair: Pair, data: DataSet) -> Sides | LeftOut:
    return _redrawn(pair, data, lambda image: resized(image, FACTOR))


def _exif(pair: Pair, data: DataSet) -> Sides | LeftOut:
    return _redrawn(pair, data, turned_with_exif)


def _pixel(pair: Pair, data: DataSet) -> Sides | LeftOut:
    # The same place in every picture, or an edited picture would differ from the one before it in two.
    return _redrawn(pair, data, lambda image: with_one_pixel(image, chance_of(pair, "pixel")))


def _redrawn(pair: Pair, data: DataSet, change: Change) -> Sides | LeftOut:
    if not has_images(pair.group):
        return NO_PICTURE
    return sides_of(redrawn(pair.group, change, data.limits))


ROBUSTNESS = Audit(
    name="robustness",
    question="Does the preference turn when the same picture comes in another file?",
    measure=TURNED,
    threshold=0.1,
    variants=(
        Variant(name="jpeg", about=f"pictures as JPEG of quality {QUALITY}", make=_jpeg),
        Variant(name="resized", about=f"pictures with {FACTOR:.0%} of the pixels along each side", make=_resized),
        Variant(name="exif", about="pictures stored on their side, with the EXIF tag that says so", make=_exif),
        Variant(name="pixel", about="one pixel in its negative", make=_pixel),
    ),
)
