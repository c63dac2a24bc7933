"""Whether what a group shows is there, looked for before a model is loaded."""

from __future__ import annotations

from vlreward.data.images import image_size
from vlreward.data.limits import DEFAULT_LIMITS, MediaLimits
from vlreward.data.parts import iter_parts
from vlreward.data.sources import is_uri, locate
from vlreward.types import Group, Image, Source, Video


def check_media(group: Group, where: str, limits: MediaLimits = DEFAULT_LIMITS) -> None:
    """See that every picture and video is there, pictures by their headers; what is on the web is left for later.

    Args:
        group: prompt and responses.
        where: the group's place, for errors.
        limits: what pictures may be.

    Raises:
        MediaError: one is not; the message names the place and the picture.
    """
    media = [part for part in iter_parts(group) if isinstance(part, (Image, Video))]
    for number, part in enumerate(media, start=1):
        name = f"{where}: {type(part).__name__.lower()} {number}"
        if isinstance(part, Video) and not part.is_frames:
            if not _is_remote(part.source):
                locate(part.source, limits, name)
            continue
        for source in [part.source] if isinstance(part, Image) else part.source:
            if not _is_remote(source):
                image_size(source, limits, name)


def _is_remote(source: Source) -> bool:
    return isinstance(source, str) and source[:4].lower() == "http" and is_uri(source)
