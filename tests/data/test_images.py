"""Decoding: every source, every mode, and everything that a broken or hostile file may be."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from vlreward.data.images import MediaLimits, image_size, load_image
from vlreward.errors import ConfigError, MediaError

BOMB_WARNING = "ignore::PIL.Image.DecompressionBombWarning"


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_says(width: int, height: int) -> bytes:
    """A small file whose header announces ``width`` × ``height`` pixels of RGB."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def pixels(image: Image.Image) -> list[Any]:
    return np.asarray(image).tolist()


class TestSources:
    def test_all_sources_give_the_same_pixels(self, photo: Image.Image, tmp_path: Path) -> None:
        data = encode(photo)
        path = tmp_path / "ein Bild ü%20.png"
        path.write_bytes(data)
        text = base64.b64encode(data).decode()
        sources = [
            path,
            str(path),
            path.as_uri(),
            f"file://{path}",
            f"file://localhost{path}",
            f"data:image;base64,{text}",
            f"data:image/png;base64,{text}",
            f"DATA:image/png;charset=x;BASE64,{text}",
            f"data:;base64,{quote(text)}",
            "data:image/png;base64," + "\n".join(text[i : i + 60] for i in range(0, len(text), 60)),
            f"data:image/png;base64,{text.rstrip('=')}",
            f"data:image/png,{quote(data)}",
            data,
            bytearray(data),
            memoryview(data),
            {"bytes": data, "path": "not there.png"},
            {"bytes": None, "path": str(path)},
            photo,
            np.asarray(photo),
        ]
        for source in sources:
            image = load_image(source)
            assert image.mode == "RGB"
            assert pixels(image) == pixels(photo), source

    def test_the_picture_is_its_own(self, photo: Image.Image) -> None:
        image = load_image(photo)
        image.putpixel((0, 0), (255, 255, 255))
        assert photo.getpixel((0, 0)) == (0, 3, 6)

    def test_a_relative_file_uri(self, photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        photo.save("a.png")
        assert load_image("file://a.png").size == (6, 4)

    def test_arrays(self) -> None:
        grey_HW = np.array([[0, 7], [128, 255]], dtype=np.uint8)
        expected = [[[value] * 3 for value in row] for row in grey_HW.tolist()]
        assert pixels(load_image(grey_HW)) == expected
        assert pixels(load_image(grey_HW[:, :, None])) == expected
        clear_HWC = np.zeros((2, 2, 4), dtype=np.uint8)
        assert pixels(load_image(clear_HWC)) == [[[255] * 3] * 2] * 2
        turned_HWC = np.arange(24, dtype=np.uint8).reshape(2, 4, 3).transpose(1, 0, 2)
        assert pixels(load_image(turned_HWC)) == turned_HWC.tolist()

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((2, 2)), "image: an array: expected values of uint8 from 0 to 255, got float64; .*"),
            (np.zeros((2, 2, 3), np.float32), "image: an array: .* got float32; scale and convert them"),
            (np.zeros((2, 2), np.uint16), "image: an array: .* got uint16; .*"),
            (np.zeros((2, 2), bool), "image: an array: .* got bool; .*"),
            (np.zeros((3, 20, 20), np.uint8), r"image: an array: .* got \(3, 20, 20\); move the channels last"),
            (np.zeros((2, 2, 2), np.uint8), r"image: an array: .* got \(2, 2, 2\)"),
            (np.zeros(5, np.uint8), r"image: an array: .* got \(5,\)"),
            (np.zeros((1, 2, 2, 3), np.uint8), r"image: an array: .* got \(1, 2, 2, 3\)"),
            (np.zeros((0, 4, 3), np.uint8), r"image: an array: no pixels, its shape is \(0, 4, 3\)"),
        ],
    )
    def test_arrays_that_are_no_pictures(self, array: Any, message: str) -> None:
        with pytest.raises(MediaError, match=f"^{message}$"):
            load_image(array)

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (None, "image: there is no source; give .*"),
            ("", "image: there is no source; give .*"),
            (5, "image: expected a path, .* got int"),
            (["a.png"], "image: expected a path, .* got list"),
            ({"a": 1}, r"image: an object as a source needs 'bytes', 'path' or 'url', got \['a'\]"),
            ("not/there.png", "image: not/there.png: no such file"),
            ("a\0b", r"image: a\\x00b: not a path \(embedded null byte\); .*"),
            ("iVBOR" * 1000, r"image: (iVBOR){24}… \(5,000 characters\): not a path .*; base64 needs .*"),
            ("s3://bucket/a.png", "image: s3://bucket/a.png: scheme 's3' is not read; known: file, data, http, https"),
            ("data:image/png;base64", "image: a data URI of 21 characters: no comma .*"),
            ("data:image/png;base64,@@@@", r"image: a data URI of 26 characters: not valid base64 \(.*\)"),
            ("data:image/png;base64,", r"image: a data URI of 22 characters: empty \(zero bytes\)"),
            ("data:image/png;base64,QUJD", "image: a data URI of 26 characters: not a picture; known formats: PNG, .*"),
            (b"", r"image: 0 bytes: empty \(zero bytes\)"),
            (b"\0" * 5000, "image: 5,000 bytes: not a picture; .*"),
            (
                "https://user:secret@x.org/a.png?token=secret",
                "image: https://x.org/a.png is a URL, and URLs are not fetched unless allowed; download it first",
            ),
        ],
    )
    def test_sources_that_are_none(self, source: Any, message: str) -> None:
        with pytest.raises(MediaError, match=f"^{message}$"):
            load_image(source)

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "empty.png").touch()
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(MediaError, match=r"^row 3: .*/empty.png: empty \(zero bytes\)$"):
            load_image(tmp_path / "empty.png", where="row 3")
        with pytest.raises(MediaError, match=r"/pipe.png: not a regular file; give a file$"):
            load_image(tmp_path / "pipe.png")
        with pytest.raises(MediaError, match=r": a folder; give a file$"):
            load_image(tmp_path)
        with pytest.raises(MediaError, match=r"/empty.png/x: no such file$"):
            load_image(tmp_path / "empty.png" / "x")

    def test_errors_never_hold_what_is_in_a_source(self, photo: Image.Image) -> None:
        text = base64.b64encode(encode(photo)[:-30]).decode()
        with pytest.raises(MediaError) as caught:
            load_image(f"data:image/png;base64,{text}")
        assert text[:20] not in str(caught.value)
        assert "\n" not in str(caught.value)


class TestModes:
    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "YCbCr", "CMYK", "HSV", "LAB", "RGBX"])
    def test_opaque_modes_convert_as_pillow_does(self, photo: Image.Image, mode: str) -> None:
        image = photo.convert("L" if mode == "1" else "RGB")
        image = Image.frombytes("LAB", (6, 4), photo.tobytes()) if mode == "LAB" else image.convert(mode)
        assert pixels(load_image(image)) == pixels(image.convert("RGB"))

    def test_alpha_over_white_is_what_qwen_vl_utils_makes(self) -> None:
        rgba_HWC = np.random.default_rng(0).integers(0, 256, (9, 11, 4), dtype=np.uint8)
        image = Image.fromarray(rgba_HWC)
        # The published definition: a white picture, and the RGBA one pasted with its own alpha as the mask.
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.split()[3])
        assert pixels(load_image(image)) == pixels(white)
        assert pixels(load_image(encode(image))) == pixels(white)

    @pytest.mark.parametrize("mode", ["LA", "PA", "RGBA", "RGBa"])
    def test_clear_is_white(self, mode: str) -> None:
        assert pixels(load_image(Image.new(mode, (2, 1)))) == [[[255] * 3] * 2]

    def test_a_palette_with_a_clear_colour(self) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putdata([0, 1])
        for kind in ("PNG", "GIF"):
            data = encode(image, kind, transparency=1)
            assert pixels(load_image(data)) == [[[10, 20, 30], [255, 255, 255]]]

    def test_a_palette_with_alpha_for_each_colour(self) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putdata([0, 1])
        assert pixels(load_image(encode(image, transparency=bytes([255, 0])))) == [[[10, 20, 30], [255, 255, 255]]]

    @pytest.mark.parametrize(("mode", "clear"), [("RGB", (1, 2, 3)), ("L", 7)])
    def test_one_colour_named_clear(self, mode: str, clear: Any) -> None:
        image = Image.new(mode, (2, 1), clear)
        image.putpixel((1, 0), 0 if mode == "L" else (0, 0, 0))
        assert pixels(load_image(encode(image, transparency=clear))) == [[[255] * 3, [0] * 3]]

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_sixteen_bits_are_scaled_not_clipped(self, kind: str) -> None:
        grey_HW = np.array([[0, 128, 129], [32768, 65407, 65535]], dtype=np.uint16)
        expected_HW = np.rint(grey_HW / 65535 * 255)
        image = load_image(encode(Image.fromarray(grey_HW), kind))
        assert np.asarray(image)[:, :, 0].tolist() == expected_HW.tolist() == [[0, 0, 1], [128, 255, 255]]

    @pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I"])
    def test_sixteen_bits_of_every_byte_order(self, mode: str) -> None:
        assert pixels(load_image(Image.new(mode, (1, 1), 0x8080))) == [[[128] * 3]]

    def test_sixteen_bits_with_a_clear_value(self) -> None:
        image = Image.new("I;16", (2, 1), 0x8080)
        image.putpixel((1, 0), 5)
        image.info["transparency"] = 5
        assert pixels(load_image(image)) == [[[128] * 3, [255] * 3]]

    @pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 70_000), ("I", -1)])
    def test_values_without_a_known_range(self, mode: str, value: float) -> None:
        with pytest.raises(
            MediaError, match=f"^image: a PIL image: mode {mode} with values .* has no known range; .*$"
        ):
            load_image(Image.new(mode, (1, 1), value))

    def test_cmyk_jpeg(self, photo: Image.Image) -> None:
        data = encode(photo.convert("CMYK"), "JPEG", quality=100, subsampling=0)
        difference = np.asarray(load_image(data)).astype(int) - np.asarray(photo).astype(int)
        assert abs(difference).max() < 12

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_the_first_frame_of_an_animation(self, kind: str) -> None:
        first, second = Image.new("RGB", (5, 4), (250, 0, 0)), Image.new("RGB", (5, 4), (0, 0, 250))
        options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
        data = encode(first, kind, save_all=True, append_images=[second], **options)
        assert load_image(data).getpixel((0, 0)) == (250, 0, 0)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, photo: Image.Image, orientation: int, kind: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
        stored_HWC = np.asarray(photo)
        image = load_image(encode(photo, kind, exif=exif, **options))
        # What each value says of where the stored first row and column belong.
        upright_HWC = {
            1: stored_HWC,
            2: stored_HWC[:, ::-1],
            3: stored_HWC[::-1, ::-1],
            4: stored_HWC[::-1],
            5: stored_HWC.transpose(1, 0, 2),
            6: stored_HWC.transpose(1, 0, 2)[:, ::-1],
            7: stored_HWC.transpose(1, 0, 2)[::-1, ::-1],
            8: stored_HWC.transpose(1, 0, 2)[::-1],
        }[orientation]
        assert image.size == (upright_HWC.shape[1], upright_HWC.shape[0])
        assert abs(np.asarray(image).astype(int) - upright_HWC).max() <= (30 if kind == "JPEG" else 0)

    @pytest.mark.parametrize("late", [False, True])
    def test_the_size_of_a_png_is_known_without_its_pixels(
        self, photo: Image.Image, late: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encode(photo)
        text = chunk(b"tEXt", b"Software\0" + b"x" * 50)  # behind the pixels too, but not of which way is up
        cases = {"plain": (data, False), "texts": (data[:-12] + text + data[-12:], False)}
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = encode(photo, exif=exif)
        cases["early"] = (turned, False)
        if late:
            start = turned.index(b"eXIf") - 4
            end = start + 12 + int.from_bytes(turned[start : start + 4], "big")
            cases = {"late": (turned[:start] + turned[end:-12] + turned[start:end] + turned[-12:], True)}
        expected = {name: load_image(data).size for name, (data, _) in cases.items()}
        decoded: list[object] = []
        load = PngImagePlugin.PngImageFile.load
        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda image: decoded.append(image) or load(image))
        for name, (data, needed) in cases.items():
            decoded.clear()
            assert image_size(data) == expected[name], name
            assert bool(decoded) == needed, name
        if late:
            limits = MediaLimits(max_image_pixels=photo.width * photo.height - 1)
            decoded.clear()
            assert image_size(data, limits) == photo.size
            assert not decoded

    def test_a_broken_exif_block_takes_nothing_from_the_picture(self, photo: Image.Image) -> None:
        data = encode(photo, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken")
        assert pixels(load_image(data)) == pixels(photo)


class TestRefusals:
    def test_a_hundred_thousand_by_a_hundred_thousand(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.png"
        path.write_bytes(png_that_says(100_000, 100_000))
        with pytest.raises(MediaError, match=r"^image: .*/bomb.png: more than max_image_pixels \(178,956,970\): .*"):
            load_image(path)

    def test_pixels_are_counted_before_anything_is_decoded(self) -> None:
        limits = MediaLimits(max_image_pixels=1000)
        with pytest.raises(MediaError, match=r"^image: 69 bytes: 40×26 is more than max_image_pixels \(1,000\); "):
            load_image(png_that_says(40, 26), limits)
        with pytest.raises(MediaError, match=r"^image: a PIL image: 40×26 is more than max_image_pixels"):
            load_image(Image.new("RGB", (40, 26)), limits)

    @pytest.mark.filterwarnings(BOMB_WARNING)
    def test_a_large_photo_is_not_a_bomb(self) -> None:
        assert load_image(encode(Image.new("1", (10_000, 9_000)))).size == (10_000, 9_000)

    @pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
    def test_no_pixels(self, size: tuple[int, int]) -> None:
        with pytest.raises(MediaError, match=r"^image: 69 bytes: not a picture|cannot be read|no pixels"):
            load_image(png_that_says(*size))
        with pytest.raises(MediaError, match=r"^image: a PIL image: no pixels, its size is "):
            load_image(Image.new("RGB", size))

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000"])
    def test_truncated(self, kind: str) -> None:
        noise_HWC = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        data = encode(Image.fromarray(noise_HWC), kind)
        for share in (0.05, 0.5, 0.9):
            with pytest.raises(
                MediaError, match=r"^image: [\d,]+ bytes: (cannot be|not a picture|no pixels)"
            ) as caught:
                load_image(data[: int(len(data) * share)])
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "TGA", "PPM", "ICO"])
    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(seed=st.integers(0, 2**32))
    def test_damaged_files_are_a_picture_or_a_media_error(self, kind: str, seed: int) -> None:
        dice = random.Random(seed)
        noise_HWC = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        data = bytearray(encode(Image.fromarray(noise_HWC), kind))
        for _ in range(dice.randrange(1, 8)):
            data[dice.randrange(min(len(data), 200))] = dice.randrange(256)
        with contextlib.suppress(MediaError):
            assert load_image(bytes(data), MediaLimits(max_image_pixels=1_000_000)).mode == "RGB"

    def test_formats_that_run_programs(self, photo: Image.Image) -> None:
        with pytest.raises(MediaError, match=r"not a picture; known formats"):
            load_image(encode(photo, "EPS"))

    def test_bytes_are_limited(self, photo: Image.Image, tmp_path: Path) -> None:
        data = encode(photo)
        path = tmp_path / "a.png"
        path.write_bytes(data)
        limits = MediaLimits(max_bytes=50)
        for source in (data, path, "data:image/png;base64," + base64.b64encode(data).decode()):
            with pytest.raises(MediaError, match=r"more than max_bytes \(50\)"):
                load_image(source, limits)

    def test_a_picture_whose_file_is_gone(self, photo: Image.Image, tmp_path: Path) -> None:
        photo.save(tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as image:
            pass
        with pytest.raises(MediaError, match=r"^image: a PIL image: cannot be decoded \("):
            load_image(image)

    @pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"timeout_seconds": -1.0}, {"video_fps": float("nan")}])
    def test_limits_are_positive(self, limits: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=f"^{next(iter(limits))} must be positive, got "):
            MediaLimits(**limits)


@pytest.mark.shared
def test_the_golden_pictures(shared: Path) -> None:
    folder = shared / "golden" / "skywork" / "images"
    images = {path.name: load_image(path) for path in sorted(folder.iterdir())}
    assert {image.mode for image in images.values()} == {"RGB"}
    assert images["alpha.png"].size == (123, 77)
