"""Pictures and videos as a backbone takes them: resized, cut into patches, and named by their content.

The resize is PIL's bicubic, which is the published procedure's; the torchvision one moves scores by up to 0.025.

Shape suffixes: ``N`` patches, ``P`` values of a patch (channels × frames × height × width).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import PIL.Image

from vlreward.data.images import MediaLimits, image_size, load_image
from vlreward.data.video import load_video
from vlreward.errors import ConfigError, MediaError
from vlreward.types import Image, Video

from .backbone import BackboneSpec

RESIZE = "pil"
"""The resize backend, saved with results."""
FRAME_MAX_TOKENS = 768
"""Visual tokens a video frame may take, as in Qwen's reference code (qwen-vl-utils)."""
VIDEO_MAX_TOKENS = 115_200
"""Visual tokens that a video's frames share, 0.9 of 128,000, as there."""


@dataclass(frozen=True, eq=False)
class Medium:
    """One distinct picture or video, decoded but not yet cut into patches."""

    key: bytes
    """Digest of the pixels, the size they are resized to and the frame timing: equal keys, equal visual tokens."""
    kind: Literal["image", "video"]
    grid: tuple[int, int, int]
    """Patches along time, height and width."""
    tokens: int
    """Visual tokens, after the merger."""
    fps: float | None
    """For a video, the rate at which its frames were sampled."""
    frames: tuple[PIL.Image.Image, ...]


class MediaProcessor:
    """Turns parts into media and media into patches, with explicit pixel limits.

    Args:
        image_processor: transformers' PIL image processor of the backbone.
        min_pixels, max_pixels: the size a picture is resized to lies between these.
    """

    def __init__(
        self, image_processor: Any, spec: BackboneSpec, *, min_pixels: int, max_pixels: int, limits: MediaLimits
    ) -> None:
        if not 0 < min_pixels <= max_pixels:
            raise ConfigError(f"min_pixels {min_pixels} and max_pixels {max_pixels}: need 0 < min_pixels <= max_pixels")
        self.min_pixels, self.max_pixels, self.limits = min_pixels, max_pixels, limits
        self._processor, self._spec = image_processor, spec
        self._patch = int(image_processor.patch_size)
        self._merge = int(image_processor.merge_size)
        self._frames_per_patch = int(image_processor.temporal_patch_size)

    def load(self, part: Image | Video, where: str) -> Medium:
        """Decode a part and find the size and content that name it."""
        if isinstance(part, Image):
            picture = load_image(part.source, self.limits, where)
            size = self._picture_size(part, picture.size, where)
            return self._medium("image", (picture,), size, None)
        video = load_video(part, self.limits, where)
        frames = video.images
        if any(frame.size != frames[0].size for frame in frames):
            raise MediaError(f"{where}: the frames of a video must have one size")
        return self._medium("video", frames, self._frame_size(part, frames, where), video.fps)

    def measure(self, part: Image | Video, where: str) -> Medium:
        """What `load` gives, without its content: a picture is known by its header, and named by its source.

        Equal sources have equal keys; other sources may still hold equal pictures. A video is decoded all the same.
        """
        if not isinstance(part, Image):
            return replace(self.load(part, where), frames=())
        height, width = self._picture_size(part, image_size(part.source, self.limits, where), where)
        digest = hashlib.blake2b(repr((height, width)).encode(), digest_size=16)
        digest.update(_identity(part.source))
        grid = (1, height // self._patch, width // self._patch)
        return Medium(digest.digest(), "image", grid, math.prod(grid) // self._merge**2, None, ())

    def _medium(
        self,
        kind: Literal["image", "video"],
        frames: tuple[PIL.Image.Image, ...],
        size: tuple[int, int],
        fps: float | None,
    ) -> Medium:
        height, width = size
        digest = hashlib.blake2b(repr((kind, size, fps, frames[0].size, len(frames))).encode(), digest_size=16)
        for frame in frames:
            digest.update(frame.tobytes())
        steps = -(-len(frames) // self._frames_per_patch)
        grid = (steps, height // self._patch, width // self._patch)
        return Medium(digest.digest(), kind, grid, math.prod(grid) // self._merge**2, fps, frames)

    def _picture_size(self, part: Image, size: tuple[int, int], where: str) -> tuple[int, int]:
        low, high = self._limits_of(part, self.min_pixels, self.max_pixels, where)
        return self._smart_size(size, low, high, where)

    def _limits_of(self, part: Image | Video, low: int, high: int, where: str) -> tuple[int, int]:
        """The part's own limits; where it sets one of the two, the model's other one makes room for it."""
        if part.min_pixels and part.max_pixels and part.min_pixels > part.max_pixels:
            raise MediaError(f"{where}: min_pixels {part.min_pixels} is above max_pixels {part.max_pixels}")
        if part.min_pixels:
            low, high = part.min_pixels, max(high, part.min_pixels)
        if part.max_pixels:
            low, high = min(low, part.max_pixels), part.max_pixels
        return low, high

    def _smart_size(self, size: tuple[int, int], low: int, high: int, where: str) -> tuple[int, int]:
        """Height and width after the resize, of a picture of this width and height."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        try:
            height, width = smart_resize(size[1], size[0], self._patch * self._merge, low, high)
        except ValueError as error:
            raise MediaError(f"{where}: {size[0]}x{size[1]}: {error}") from error
        return height, width

    def _frame_size(self, video: Video, frames: tuple[PIL.Image.Image, ...], where: str) -> tuple[int, int]:
        """A frame's size: within the picture limits, a cap per frame, and its share of the whole video's."""
        token = (self._patch * self._merge) ** 2
        share = VIDEO_MAX_TOKENS * token * self._frames_per_patch // len(frames)
        cap = max(min(self.max_pixels, FRAME_MAX_TOKENS * token, share), self.min_pixels)
        low, high = self._limits_of(video, self.min_pixels, cap, where)
        return self._smart_size(frames[0].size, low, high, where)

    def patches(self, medium: Medium) -> npt.NDArray[np.float32]:
        """The medium's patches, float32 ``(N, P)``, in the order of the vision tower."""
        from transformers.image_processing_backends import PilBackend
        from transformers.image_utils import SizeDict

        steps, rows, columns = medium.grid
        size = SizeDict(height=rows * self._patch, width=columns * self._patch)
        processor = self._processor
        frames = []
        for frame in medium.frames:
            pixels = np.moveaxis(np.asarray(frame), -1, 0)
            # Qwen's own resize would find the size again; the one of its base class takes it.
            resized = PilBackend.resize(processor, pixels, size, processor.resample)
            scaled = processor.rescale(resized, processor.rescale_factor)
            frames.append(processor.normalize(scaled, processor.image_mean, processor.image_std))
        frames += [frames[-1]] * (steps * self._frames_per_patch - len(frames))
        return self._cut(np.stack(frames).astype(np.float32, copy=False), medium.grid)

    def _cut(self, pixels: npt.NDArray[np.float32], grid: tuple[int, int, int]) -> npt.NDArray[np.float32]:
        """Cut ``(frames, channels, height, width)`` into patches, the four of one merged token in a row."""
        steps, rows, columns = grid
        merge, patch, depth = self._merge, self._patch, self._frames_per_patch
        channels = pixels.shape[1]
        shape = (steps, depth, channels, rows // merge, merge, patch, columns // merge, merge, patch)
        cut = pixels.reshape(shape).transpose(0, 3, 6, 4, 7, 2, 1, 5, 8)
        return np.ascontiguousarray(cut.reshape(math.prod(grid), channels * depth * patch * patch))

    def frame_times(self, medium: Medium) -> list[float]:
        """For each step of a video, the mean time in seconds of the frames behind it."""
        assert medium.fps is not None
        indices = list(range(len(medium.frames)))
        indices += [indices[-1]] * (medium.grid[0] * self._frames_per_patch - len(indices))
        depth = self._frames_per_patch
        return [(indices[i] + indices[i + depth - 1]) / 2 / medium.fps for i in range(0, len(indices), depth)]


def _identity(source: Any) -> bytes:
    """What tells one source from another without decoding it."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        return os.fsencode(source)
    if isinstance(source, Mapping):
        return _identity(next((source[key] for key in ("bytes", "path", "url") if source.get(key) is not None), ""))
    return np.asarray(source).tobytes()
