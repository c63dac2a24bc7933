"""A video file into evenly spaced frames, or a list of frames as it is.

How many frames are taken, and which, is Qwen-VL's published sampling: ``duration · fps`` of them, at least
``min_video_frames`` and at most ``max_video_frames``, rounded down to an even number because the vision tower takes
frames in pairs; frame ``floor(i · total / n)`` for i = 0 … n−1.
"""

from __future__ import annotations

import bisect
import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from vlreward.errors import MediaError, require
from vlreward.types import Video

from .images import load_image
from .limits import DEFAULT_LIMITS, MediaLimits
from .sources import locate, name_of

# Playlists (HLS, DASH, concat) name other files and addresses; a video from somebody else may not.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,gif,h264,hevc,mjpeg,m4v,mxf,ivf"


@dataclass(frozen=True)
class Frames:
    """Sampled frames in the order of time, all of one size."""

    images: tuple[Image.Image, ...]
    """RGB images, at least one."""
    fps: float
    """Rate at which they were sampled, in frames per second: their number over the video's duration."""


def load_video(video: Video, limits: MediaLimits = DEFAULT_LIMITS, where: str = "video") -> Frames:
    """Sample a video file, or decode a list of frames, which counts as already sampled.

    Args:
        video: a file (path, ``file://`` or ``data:`` URI, URL when allowed, encoded bytes), or frames in any form that
            `load_image` reads. ``fps`` is the rate to sample a file at, or that frames were sampled at;
            ``max_frames`` caps what is taken from a file.
        limits: what is refused, and the defaults of sampling.
        where: starts every error message.

    Raises:
        MediaError: it is missing, empty, truncated, has no frames, or is larger than ``limits`` allow.
        MissingDependency: reading a file needs PyAV.
    """
    if video.is_frames:
        return _load_frames(video, limits, where)
    source = locate(video.source, limits, where)
    return _sample_file(source, video, limits, f"{where}: {name_of(video.source)}")


def _load_frames(video: Video, limits: MediaLimits, where: str) -> Frames:
    count = len(video.source)
    if count == 0:
        raise MediaError(f"{where}: a video with no frames")
    if count > limits.max_video_frames:
        raise MediaError(f"{where}: {count:,} frames are more than max_video_frames ({limits.max_video_frames:,})")
    images: list[Image.Image] = []
    for i, source in enumerate(video.source):
        image = load_image(source, limits, f"{where}, frame {i}")
        if images and image.size != images[0].size:
            first, this = (f"{width}×{height}" for width, height in (images[0].size, image.size))
            raise MediaError(f"{where}, frame {i}: its size is {this}, but that of frame 0 is {first}")
        _check_pixels(count, image.size, limits, where)
        images.append(image)
    return Frames(tuple(images), float(video.fps or limits.video_fps))


def _check_pixels(frames: int, size: tuple[int, int], limits: MediaLimits, what: str) -> None:
    width, height = size
    if width * height > limits.max_image_pixels:
        raise MediaError(f"{what}: frames of {width}×{height} exceed max_image_pixels ({limits.max_image_pixels:,})")
    if frames * width * height > limits.max_video_pixels:
        raise MediaError(
            f"{what}: {frames} frames of {width}×{height} exceed max_video_pixels ({limits.max_video_pixels:,}); "
            "take fewer with fps or max_frames"
        )


def _sample_file(source: Path | bytes, video: Video, limits: MediaLimits, what: str) -> Frames:
    av = require("av", extra="video", purpose="reading a video file")
    try:
        with _open(av, source) as container:
            timeline = _read_timeline(container, what)
        wanted = _frame_count(timeline, video, limits)
        _check_pixels(wanted, timeline.size, limits, what)
        with _open(av, source) as container:
            images = _decode(container, timeline.pick(wanted), timeline.size, what)
    except av.error.InvalidDataError:
        raise MediaError(f"{what}: not a video, or truncated") from None
    except av.error.ArgumentError:
        raise MediaError(f"{what}: its container is not accepted; store it as MP4, WebM or MKV") from None
    except av.error.FFmpegError as error:
        raise MediaError(f"{what}: cannot be read ({error.strerror or error})") from None
    return Frames(images, float(wanted / timeline.seconds))


def _open(av: Any, source: Path | bytes) -> Any:
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source.absolute())
    # "file:" because a path that holds a colon would be taken for a protocol.
    file = f"file:{file}" if isinstance(file, str) else file
    return av.open(file, options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"})


@dataclass(frozen=True)
class _Timeline:
    """When the frames of a file are shown."""

    times: tuple[int, ...]
    """Presentation time of each frame, ascending, in ticks."""
    tick: Fraction
    """Seconds of one tick."""
    rate: Fraction
    """Frames per second that the file states."""
    size: tuple[int, int]
    """Width and height as coded."""

    @property
    def interval(self) -> Fraction:
        """Mean ticks between frames."""
        steps = len(self.times) - 1
        span = self.times[-1] - self.times[0]
        return Fraction(span, steps) if steps and span else 1 / (self.rate * self.tick)

    @property
    def seconds(self) -> Fraction:
        """Duration, the last frame's included."""
        return self.interval * len(self.times) * self.tick

    def pick(self, wanted: int) -> list[int]:
        """Times of ``wanted`` frames, evenly spread over the duration."""
        total, start = len(self.times), self.times[0]
        if self._is_even():
            return [self.times[i * total // wanted] for i in range(wanted)]
        # Phones and screen recorders vary their rate: the frame on show at that time, not the i-th that is stored.
        moments = [start + i * self.interval * total / wanted for i in range(wanted)]
        return [self.times[bisect.bisect_right(self.times, moment) - 1] for moment in moments]

    def _is_even(self) -> bool:
        """Whether every frame is within half an interval of where a constant rate has it."""
        steps, start = len(self.times) - 1, self.times[0]
        span = self.times[-1] - start
        return all(2 * abs((time - start) * steps - k * span) <= span for k, time in enumerate(self.times))


def _video_stream(container: Any, what: str) -> Any:
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition).lower():  # the cover of a song
            return stream
    raise MediaError(f"{what}: a video with no frames: it has no video stream")


def _read_timeline(container: Any, what: str) -> _Timeline:
    stream = _video_stream(container, what)
    stored, times = 0, []
    for packet in container.demux(stream):
        if packet.size or packet.pts is not None:  # the last one is empty and asks the decoder for what it holds
            stored += 1
            if not packet.is_discard:
                times.append(packet.pts)
    if stored < stream.frames:
        raise MediaError(f"{what}: truncated: {stored} of {stream.frames} frames are there")
    if not times:
        raise MediaError(f"{what}: a video with no frames")
    if None in times:
        raise MediaError(f"{what}: its frames have no times; store it as MP4, WebM or MKV")
    rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
    size = (stream.codec_context.width, stream.codec_context.height)
    return _Timeline(tuple(sorted(times)), stream.time_base, rate, size)


def _frame_count(timeline: _Timeline, video: Video, limits: MediaLimits) -> int:
    total = len(timeline.times)
    most = min(limits.max_video_frames, video.max_frames or limits.max_video_frames, total)
    wanted = float(timeline.seconds) * (video.fps or limits.video_fps)
    count = int(min(max(wanted, limits.min_video_frames), most))
    return max(count // 2 * 2, min(2, most))


def _decode(container: Any, times: list[int], size: tuple[int, int], what: str) -> tuple[Image.Image, ...]:
    """The frames shown at ``times``; frames in between are decoded, since later ones are built on them, and dropped."""
    stream = _video_stream(container, what)
    stream.thread_type = "AUTO"
    found: list[Image.Image] = []
    last: Any = None
    for frame in _frames_in_order(container, stream):
        last = frame
        while len(found) < len(times) and frame.pts >= times[len(found)]:
            found.append(_upright(frame, size, what))
        if len(found) == len(times):
            break
    if last is None:
        raise MediaError(f"{what}: a video with no frames: none of them can be decoded")
    # The last packet of some codecs (VP8) is never shown; anything more is a file that ends too early.
    if len(found) == len(times) - 1:
        found.append(_upright(last, size, what))
    if len(found) < len(times):
        raise MediaError(f"{what}: truncated: only {len(found)} of {len(times)} sampled frames can be decoded")
    return tuple(found)


def _frames_in_order(container: Any, stream: Any) -> Iterator[Any]:
    for frame in container.decode(stream):
        if frame.pts is not None:
            yield frame


def _upright(frame: Any, size: tuple[int, int], what: str) -> Image.Image:
    if (frame.width, frame.height) != size:
        raise MediaError(f"{what}: the frame size changes within the video, which is not supported")
    image: Image.Image = frame.to_image()
    # The display matrix turns counter-clockwise, and so does Pillow.
    turn = {
        90: Image.Transpose.ROTATE_90,
        180: Image.Transpose.ROTATE_180,
        270: Image.Transpose.ROTATE_270,
    }.get(round(frame.rotation) % 360)
    return image if turn is None else image.transpose(turn)
