"""Sampling: which frames are taken from a file, how fast that is, and files that are no videos."""

from __future__ import annotations

import base64
import functools
import io
import struct
import sys
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlreward.data.limits import MediaLimits
from vlreward.data.video import Frames, _frame_count, _Timeline, load_video
from vlreward.errors import MediaError, MissingDependency
from vlreward.types import Video

av = pytest.importorskip("av")

WIDTH, HEIGHT, STEP = 64, 48, 6
Film = Callable[..., Path]


def write_film(path: Path, frames: int, rate: int, times: Iterable[int] | None, codec: str, options: Any) -> None:
    """A film whose i-th frame has the grey value ``STEP · i``, and white in its upper left quarter."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = {"gif": "gray", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        moments = list(range(frames)) if times is None else list(times)
        for i in range(frames):
            pixels_HWC = np.full((HEIGHT, WIDTH, 3), STEP * i, dtype=np.uint8)
            pixels_HWC[: HEIGHT // 2, : WIDTH // 2] = 255
            frame = av.VideoFrame.from_ndarray(pixels_HWC, "rgb24")
            frame.pts = moments[i]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    monkeypatch.chdir(tmp_path)

    def write(
        frames: int = 20,
        rate: int = 10,
        times: Iterable[int] | None = None,
        name: str = "film.mp4",
        codec: str = "libx264",
        options: dict[str, str] | None = None,
    ) -> Path:
        write_film(Path(name), frames, rate, times, codec, options or {})
        return Path(name)

    return write


def numbers(frames: Frames) -> list[int]:
    """Which frames of a film these are."""
    return [round(image.getpixel((WIDTH - 8, HEIGHT - 8))[0] / STEP) for image in frames.images]  # type: ignore[index]


@functools.cache
def _transformers_sampler() -> Callable[[int, int, float, int], list[int]]:
    module = pytest.importorskip("transformers.models.qwen2_vl.video_processing_qwen2_vl")
    utils = pytest.importorskip("transformers.video_utils")
    processor = module.Qwen2VLVideoProcessor()

    def sample(total: int, rate: int, fps: float, most: int) -> list[int]:
        metadata = utils.VideoMetadata(total_num_frames=total, fps=rate)
        indices: list[int] = processor.sample_frames(metadata, fps=fps, max_frames=most).tolist()
        return indices

    return sample


class TestSampling:
    @pytest.mark.parametrize(
        ("name", "codec"),
        [
            ("film.mp4", "libx264"),
            ("film.mkv", "libx264"),
            ("film.ts", "libx264"),
            ("film.mp4", "mpeg4"),
            ("film.avi", "mjpeg"),
            ("film.webm", "libvpx"),
            ("film.webm", "libvpx-vp9"),
            ("film.gif", "gif"),
        ],
    )
    def test_two_per_second_unless_told(self, film: Film, name: str, codec: str) -> None:
        frames = load_video(Video(source=film(40, 10, name=name, codec=codec)))
        assert numbers(frames) == [0, 5, 10, 15, 20, 25, 30, 35]
        assert frames.fps == pytest.approx(2.0)
        assert {image.mode for image in frames.images} == {"RGB"}
        assert frames.images[0].size == (WIDTH, HEIGHT)

    @pytest.mark.parametrize(
        ("frames", "rate", "video", "expected", "fps"),
        [
            # floor(i · 30 / 10)
            (30, 10, {"fps": 3.5}, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27], 10 / 3),
            # Never fewer than four while there are as many, so this second is sampled at 4 per second.
            (10, 10, {}, [0, 2, 5, 7], 4.0),
            (10, 10, {"fps": 0.1}, [0, 2, 5, 7], 4.0),
            # No more than there are, and an even number of them.
            (7, 10, {"fps": 100}, [0, 1, 2, 3, 4, 5], 6 / 0.7),
            (40, 10, {"max_frames": 5}, [0, 10, 20, 30], 1.0),
            (40, 10, {"max_frames": 3}, [0, 20], 0.5),
            (40, 10, {"max_frames": 1}, [0], 0.25),
            (3, 10, {}, [0, 1], 2 / 0.3),
            (2, 10, {}, [0, 1], 10.0),
            (1, 10, {}, [0], 10.0),
        ],
    )
    def test_published_sampling(
        self, film: Film, frames: int, rate: int, video: dict[str, Any], expected: list[int], fps: float
    ) -> None:
        sampled = load_video(Video(source=film(frames, rate), **video))
        assert numbers(sampled) == expected
        assert sampled.fps == pytest.approx(fps)

    def test_the_limits_cap_and_set_the_default(self, film: Film) -> None:
        limits = MediaLimits(max_video_frames=6, video_fps=5)
        assert numbers(load_video(Video(source=film(40, 10)), limits)) == [0, 6, 13, 20, 26, 33]
        assert len(load_video(Video(source="film.mp4", max_frames=100), limits).images) == 6
        assert len(load_video(Video(source="film.mp4", fps=1), limits).images) == 4

    def test_a_rate_that_varies_is_sampled_by_time(self, film: Film) -> None:
        # Ten frames in the first second, then one a second: at 1 per second, four of six come from the slow part.
        times = [*range(10), 10, 20, 30, 40, 50]
        frames = load_video(Video(source=film(15, 10, times, name="film.mkv"), fps=1))
        duration = 50 / 14 * 15 / 10
        assert numbers(frames) == [0, 10, 11, 13]
        assert frames.fps == pytest.approx(4 / duration)

    @settings(max_examples=200, deadline=None)
    @given(
        total=st.integers(4, 1500),
        rate=st.sampled_from([10, 24, 25, 30, 60]),
        fps=st.sampled_from([0.5, 1.0, 2.0, 3.0]) | st.floats(0.1, 20),
        most=st.sampled_from([4, 16, 64, 768]),
    )
    def test_frames_are_those_of_transformers(self, total: int, rate: int, fps: float, most: int) -> None:
        timeline = _Timeline(tuple(range(0, 512 * total, 512)), Fraction(1, 512 * rate), Fraction(rate), (2, 2))
        ours = timeline.pick(_frame_count(timeline, Video(source="x", fps=fps, max_frames=most), MediaLimits()))
        assert len(ours) % 2 == 0
        theirs = _transformers_sampler()(total, rate, fps, most)
        # Its steps are float32, which now and then (36 of 3,000 tries) makes it one frame more than it counted.
        if len(theirs) % 2 == 0:
            assert [time // 512 for time in ours] == theirs

    @pytest.mark.parametrize("quarter", [0, 1, 2, 3])
    def test_the_display_matrix_turns_the_frames(self, film: Film, quarter: int) -> None:
        data = film(4).read_bytes()
        start = data.index(b"tkhd") + 44
        cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter]
        turned = struct.pack(">9i", *(value << 16 for value in (cosine, sine, 0, -sine, cosine, 0, 0, 0)), 1 << 30)
        image = load_video(Video(source=data[:start] + turned + data[start + 36 :])).images[0]
        assert image.size == ((WIDTH, HEIGHT) if quarter % 2 == 0 else (HEIGHT, WIDTH))
        corners = [(4, 4), (image.width - 4, 4), (image.width - 4, image.height - 4), (4, image.height - 4)]
        bright = [image.getpixel(corner)[0] > 200 for corner in corners]  # type: ignore[index]
        # Clockwise from the upper left, where the white quarter is stored.
        assert bright.index(True) == quarter
        assert sum(bright) == 1


class TestSources:
    def test_bytes_data_uris_and_file_uris(self, film: Film) -> None:
        path = film()
        data = path.read_bytes()
        uri = f"data:video/mp4;base64,{base64.b64encode(data).decode()}"
        for source in (path, str(path), path.absolute().as_uri(), data, uri, {"bytes": data, "path": "gone"}):
            assert numbers(load_video(Video(source=source))) == [0, 5, 10, 15]

    def test_a_name_with_a_colon(self, film: Film) -> None:
        path = film().rename("concat:film.mp4")
        assert len(load_video(Video(source=path)).images) == 4

    def test_a_url_is_not_fetched(self) -> None:
        with pytest.raises(MediaError, match=r"https://x.org/a.mp4 is a URL, and URLs are not fetched unless allowed"):
            load_video(Video(source="https://x.org/a.mp4"))

    def test_without_pyav(self, film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
        path = film()
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(
            MissingDependency, match=r"^reading a video file needs av: pip install 'vlreward\[video\]'$"
        ):
            load_video(Video(source=path))
        assert load_video(Video(source=(Image.new("RGB", (2, 2)),))).fps == 2.0


class TestFrameLists:
    def test_frames_count_as_sampled_already(self, photo: Image.Image, tmp_path: Path) -> None:
        photo.save(tmp_path / "b.png")
        buffer = io.BytesIO()
        photo.save(buffer, "PNG")
        sources = (photo, tmp_path / "b.png", buffer.getvalue(), np.asarray(photo), {"bytes": buffer.getvalue()})
        frames = load_video(Video(source=sources))
        assert [image.tobytes() for image in frames.images] == [photo.tobytes()] * 5
        assert frames.fps == 2.0
        assert load_video(Video(source=sources, fps=0.5, max_frames=2)).fps == 0.5
        assert load_video(Video(source=sources), MediaLimits(video_fps=3)).fps == 3.0

    def test_no_frames(self) -> None:
        with pytest.raises(MediaError, match=r"^row 3: a video with no frames$"):
            load_video(Video(source=()), where="row 3")

    def test_the_frame_at_fault_is_named(self, photo: Image.Image) -> None:
        with pytest.raises(MediaError, match=r"^video, frame 1: gone.png: no such file$"):
            load_video(Video(source=(photo, "gone.png")))

    def test_frames_have_one_size(self, photo: Image.Image) -> None:
        with pytest.raises(MediaError, match=r"^video, frame 1: its size is 3×2, but that of frame 0 is 6×4$"):
            load_video(Video(source=(photo, photo.resize((3, 2)))))

    def test_too_many(self, photo: Image.Image) -> None:
        with pytest.raises(MediaError, match=r"^video: 5 frames are more than max_video_frames \(4\)$"):
            load_video(Video(source=(photo,) * 5), MediaLimits(max_video_frames=4))
        with pytest.raises(MediaError, match=r"^video: 5 frames of 6×4 exceed max_video_pixels \(100\); take fewer"):
            load_video(Video(source=(photo,) * 5), MediaLimits(max_video_pixels=100))


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "video: film.mp4: no such file"),
            (b"", r"video: film.mp4: empty \(zero bytes\)"),
            (b"no video at all" * 99, "video: film.mp4: not a video, or truncated"),
        ],
    )
    def test_files_that_are_no_videos(
        self, content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        if content is not None:
            Path("film.mp4").write_bytes(content)
        with pytest.raises(MediaError, match=f"^{message}$"):
            load_video(Video(source="film.mp4"))

    def test_no_source(self) -> None:
        with pytest.raises(MediaError, match=r"^video: there is no source; give "):
            load_video(Video())

    def test_truncated_before_its_index(self, film: Film) -> None:
        path = film()
        path.write_bytes(path.read_bytes()[:900])
        with pytest.raises(MediaError, match=r"^video: film.mp4: not a video, or truncated$"):
            load_video(Video(source=path))

    def test_truncated_behind_its_index(self, film: Film) -> None:
        path = film(40, options={"movflags": "faststart"})
        data = path.read_bytes()
        path.write_bytes(data[: len(data) - 1500])
        with pytest.raises(MediaError, match=r"^video: film.mp4: truncated: \d+ of 40 frames are there$"):
            load_video(Video(source=path))

    def test_damaged(self, film: Film) -> None:
        path = film(40)
        data = bytearray(path.read_bytes())
        start = data.index(b"mdat") + 4
        data[start : start + 2000] = bytes(2000)
        path.write_bytes(data)
        with pytest.raises(MediaError, match=r"^video: film.mp4: "):
            load_video(Video(source=path))

    def test_a_film_with_no_frames(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with av.open("sound.mp4", "w") as container:
            stream = container.add_stream("aac", rate=16_000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        with pytest.raises(MediaError, match=r"^video: sound.mp4: a video with no frames: it has no video stream$"):
            load_video(Video(source="sound.mp4"))

    def test_a_playlist_may_not_open_other_files(self, film: Film) -> None:
        film(name="film.ts")
        Path("list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfilm.ts\n#EXT-X-ENDLIST\n")
        with pytest.raises(MediaError, match=r"its container is not accepted; store it as MP4, WebM or MKV$"):
            load_video(Video(source="list.m3u8"))
        with pytest.raises(MediaError, match=r"^video: 66 bytes: not a video, or truncated$"):
            load_video(Video(source=Path("list.m3u8").read_bytes()))

    def test_pixels_are_counted_before_decoding(self, film: Film) -> None:
        path = film()
        with pytest.raises(MediaError, match=r"^video: film.mp4: frames of 64×48 exceed max_image_pixels \(100\)$"):
            load_video(Video(source=path), MediaLimits(max_image_pixels=100))
        with pytest.raises(MediaError, match=r": 4 frames of 64×48 exceed max_video_pixels \(10,000\); take fewer"):
            load_video(Video(source=path), MediaLimits(max_video_pixels=10_000))
