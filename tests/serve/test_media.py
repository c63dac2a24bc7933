"""The store of what clients have sent, and its routes."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import PIL.Image
import pytest

from tests.serve.door import Door, code_of
from tests.serve.pictures import png
from vlreward.engines.wire import media_id
from vlreward.errors import ConfigError
from vlreward.serve.limits import RequestLimits
from vlreward.serve.media import PICTURES, MediaStore, read_header
from vlreward.serve.refusals import Refusal

LIMITS = RequestLimits()
ENTRY = 1024


def test_the_oldest_make_room() -> None:
    store = MediaStore(3 * (10 + ENTRY))
    names = [store.put(bytes([i]) * 10) for i in range(3)]
    assert store.get(names[0]) == bytes(10)
    assert store.put(bytes([2]) * 10) == names[2], "again is not more"
    store.put(b"x" * 10)
    assert [store.get(name) is not None for name in names] == [True, False, True]
    assert (len(store), store.size) == (3, 3 * (10 + ENTRY))
    store.put(b"y" * (20 + ENTRY))
    assert store.size <= 3 * (10 + ENTRY)
    with pytest.raises(Refusal, match="more than the server keeps"):
        store.put(bytes(4 * ENTRY))
    with pytest.raises(ConfigError):
        MediaStore(0)


def test_many_small_ones_are_bounded_too() -> None:
    store = MediaStore(10 * ENTRY)
    for i in range(100):
        store.put(i.to_bytes(2))
    assert len(store) == 9


def test_threads_share_it() -> None:
    store = MediaStore(50 * (4 + ENTRY))

    def use(i: int) -> None:
        for k in range(200):
            name = store.put((i * 1000 + k % 60).to_bytes(4))
            store.get(name)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert len(store) == 50
    assert store.size == 50 * (4 + ENTRY)


def test_the_routes() -> None:
    door, data = Door(), png((8, 8), "red")
    name = door.ask("PUT", "/v1/media", content=data).json()["id"]
    assert name == media_id(data)
    assert door.ask("PUT", "/v1/media", content=data, headers={"Content-Type": "image/png"}).json() == {"id": name}
    assert door.ask("HEAD", f"/v1/media/{name}").status_code == 200
    assert door.ask("HEAD", "/v1/media/media:0").status_code == 404
    for body in (b"", b"hello", b'{"groups": []}', data[:20], b"\x00\x00\x00\x18ftypheic" + bytes(20)):
        assert code_of(door.ask("PUT", "/v1/media", content=body)) == "bad_request", body
    assert len(door.store) == 1


@pytest.mark.parametrize("kind", PICTURES)
def test_the_formats_of_pictures(kind: str) -> None:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (30, 20)).save(buffer, kind)
    header = read_header(buffer.getvalue(), LIMITS, "here")
    assert (header.kind, header.pixels, header.frames) == ("image", 600, 1)


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mpeg4"), ("mov", "mpeg4")]
)
def test_the_containers_of_videos(container: str, codec: str) -> None:
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=5)
        stream.width, stream.height = 32, 16
        for _ in range(10):
            file.mux(stream.encode(av.VideoFrame.from_image(PIL.Image.new("RGB", (32, 16)))))
        file.mux(stream.encode())
    data = buffer.getvalue()
    header = read_header(data, LIMITS, "here")
    assert (header.kind, header.pixels, header.frames) == ("video", 512, 10)
    assert header.seconds == pytest.approx(2.0)
    with pytest.raises(Refusal):
        read_header(data[:60], LIMITS, "here")
