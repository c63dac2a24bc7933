"""How much of somebody else's media is accepted."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from vlreward.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MediaLimits:
    """What a picture or a video may cost before it is refused, and how a video file is sampled.

    Raises:
        ConfigError: a limit is not positive.
    """

    max_image_pixels: int = 178_956_970
    """Pixels of one picture or video frame, read from the header before anything is decoded. The default is where
    Pillow itself refuses (512 MiB of RGB), so 108-megapixel photos pass; Pillow warns from half of it on. More needs
    ``PIL.Image.MAX_IMAGE_PIXELS`` raised as well."""
    max_bytes: int = 256 * 2**20
    """Encoded bytes of one picture from anywhere, and of anything that is downloaded or sits in a data URI."""
    allow_urls: bool = False
    """Whether ``http:`` and ``https:`` sources are fetched. Addresses are not filtered: a server that fetches for
    strangers has to guard its own network."""
    timeout_seconds: float = 20.0
    """Time for one download, from connecting to the last byte."""
    video_fps: float = 2.0
    """Rate at which a video file is sampled, and that a list of frames is taken to have, where the video does not say
    (Qwen-VL's published value)."""
    min_video_frames: int = 4
    """Frames taken from a file even when the rate asks for fewer, as far as it has them (Qwen-VL's published value)."""
    max_video_frames: int = 768
    """Frames of one video (Qwen-VL's published value): a file is sampled more sparsely, a longer list is refused."""
    max_video_pixels: int = 2_000_000_000
    """Pixels of all sampled frames of one video together; the default is 6 GB of RGB, or 768 frames of full HD."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, bool) and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{field.name} must be positive, got {value!r}")


DEFAULT_LIMITS = MediaLimits()
