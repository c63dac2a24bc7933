"""What a request may hold. Every attack is refused, and succeeds when the guard that it meets is taken out."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageFile
import pytest

from tests.serve.door import Door, code_of, showing
from tests.serve.pictures import data_uri, png
from vlreward.data.images import load_image
from vlreward.data.sources import read_bytes
from vlreward.errors import CheckpointError
from vlreward.serve import admission, limits, media, native, refusals
from vlreward.serve.addresses import Addresses
from vlreward.serve.admission import Guard
from vlreward.serve.limits import RequestLimits
from vlreward.serve.media import MediaStore
from vlreward.types import Group, Image

SMALL = png((8, 8), "red")


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says that it is ``side`` by ``side``."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def film(seconds: int) -> bytes:
    """A grey video at 5 frames per second."""
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(5 * seconds):
            container.mux(stream.encode(av.VideoFrame.from_image(PIL.Image.new("RGB", (32, 32), "grey"))))
        container.mux(stream.encode())
    return buffer.getvalue()


def text(prompt: str, *responses: str) -> dict[str, Any]:
    return {"messages": prompt, "responses": list(responses) or ["A"]}


def nothing(*_: Any, **__: Any) -> None:
    """A guard that is taken out."""


@dataclass(frozen=True)
class Attack:
    groups: Callable[[], list[dict[str, Any]]]
    code: str
    limits: RequestLimits
    out: Callable[[pytest.MonkeyPatch], object] | RequestLimits
    """Takes the guard out; or limits that let it pass."""


def patched(place: Any, name: str) -> Callable[[pytest.MonkeyPatch], object]:
    return lambda patch: patch.setattr(place, name, nothing)


def filmed(source: Any, **options: Any) -> dict[str, Any]:
    part = {"type": "video", "video": source, **options}
    return {"messages": [{"role": "user", "content": [part]}], "responses": ["A"]}


def tiff() -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (4, 4)).save(buffer, "TIFF")
    return buffer.getvalue()


def let_tiff_in(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(media, "PICTURES", ("TIFF",))
    patch.setattr(media, "_PICTURE_STARTS", (b"II", b"MM"))


USUAL = RequestLimits()
ATTACKS = {
    "many groups": Attack(lambda: [text("Q")] * 3, "too_large", RequestLimits(max_groups=2), USUAL),
    "many responses": Attack(
        lambda: [text("Q", "A", "B")] * 2,
        "too_large",
        RequestLimits(max_responses=3),
        patched(admission, "check_counts"),
    ),
    "a long text": Attack(
        lambda: [text("Q" * 50, "A" * 51)], "too_large", RequestLimits(max_text=100), patched(admission, "check_counts")
    ),
    "a long prompt, many times": Attack(
        lambda: [text("Q" * 50, *"ABCDEFGH")], "too_large", RequestLimits(max_total_text=400), USUAL
    ),
    "half a character": Attack(lambda: [text("Q", "\ud800")], "bad_request", USUAL, patched(admission, "check_counts")),
    "many pictures": Attack(lambda: [showing(data_uri(SMALL))] * 3, "too_large", RequestLimits(max_images=2), USUAL),
    "many frames": Attack(
        lambda: [filmed([data_uri(SMALL)] * 3)],
        "too_large",
        RequestLimits(max_video_frames=2),
        patched(admission, "_check_part"),
    ),
    "many videos": Attack(
        lambda: [filmed(data_uri(film(1)).replace("image/png", "video/mp4"))] * 2,
        "too_large",
        RequestLimits(max_videos=1),
        USUAL,
    ),
    "many bytes": Attack(
        lambda: [showing(data_uri(SMALL + bytes(3000)))], "too_large", RequestLimits(max_media_bytes=2000), USUAL
    ),
    "a decompression bomb": Attack(
        lambda: [showing(data_uri(bomb(8000)))], "too_large", USUAL, RequestLimits(max_image_pixels=10**9)
    ),
    "many large pictures": Attack(
        lambda: [showing(data_uri(bomb(1000 + i))) for i in range(3)],
        "too_large",
        RequestLimits(max_total_pixels=2_500_000),
        patched(admission, "_check_pixels"),
    ),
    "a picture enlarged": Attack(
        lambda: [showing(data_uri(SMALL), min_pixels=10**9)], "too_large", USUAL, patched(admission, "_check_part")
    ),
    "a long video": Attack(lambda: [filmed(data_uri(film(3)))], "too_large", RequestLimits(max_video_seconds=2), USUAL),
    "a video of many pixels": Attack(
        lambda: [filmed(data_uri(film(2)))], "too_large", RequestLimits(max_coded_pixels=9 * 32 * 32), USUAL
    ),
    "a rate that no clock has": Attack(
        lambda: [filmed([data_uri(SMALL)] * 2, fps=1e-300)], "bad_request", USUAL, patched(admission, "_check_part")
    ),
    "a format of many decoders": Attack(lambda: [showing(data_uri(tiff()))], "bad_request", USUAL, let_tiff_in),
    "a video for a picture": Attack(
        lambda: [showing(data_uri(film(1)))], "bad_request", USUAL, patched(admission, "_check_kind")
    ),
}


def admit(given: RequestLimits, *rows: dict[str, Any], store: MediaStore | None = None) -> list[Group]:
    """What the guard lets in."""
    groups = [Group(row["messages"], row["responses"]) for row in rows]
    return asyncio.run(Guard(given, store or MediaStore()).admit(groups))


def refusal(given: RequestLimits, *rows: dict[str, Any]) -> refusals.Refusal:
    with pytest.raises(refusals.Refusal) as caught:
        admit(given, *rows)
    return caught.value


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_succeeds_without_its_guard(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = ATTACKS[name]
    groups = attack.groups()
    assert refusal(attack.limits, *groups).code == attack.code
    given = attack.limits
    if isinstance(attack.out, RequestLimits):
        given = attack.out
    else:
        attack.out(monkeypatch)
    assert len(admit(given, *groups)) == len(groups)


def test_a_bomb_is_refused_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[object] = []
    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", lambda image: decoded.append(image))  # noqa: PLW0108 - a method
    for side in (8_000, 12_000, 60_000):
        assert refusal(USUAL, showing(data_uri(bomb(side)))).code == "too_large"
    assert admit(USUAL, showing(data_uri(bomb(1_000))))
    assert not decoded
    with pytest.raises(Exception):  # noqa: B017, PT011 - any way in which a picture without pixels ends
        load_image(bomb(100))
    assert decoded, "as it is when somebody decodes"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.png"
    path.write_bytes(SMALL)
    return path


def test_no_file_is_read(secret: Path) -> None:
    plain = str(secret)
    uris = [f"{scheme}:{slashes}{plain}" for scheme in ("file", "FILE", "ftp", "media") for slashes in ("", "//")]
    others = [{"path": plain}, {"bytes": plain}, [plain], 7, "", "secret.png", f"../{plain}", f" {plain}"]
    for way in [plain, *uris, *others]:
        for group in (showing(way), filmed(way), filmed([way])):
            found = refusal(USUAL, group)
            assert found.code == "bad_request", way
            assert plain not in found.message
    assert refusal(USUAL, showing(plain)).message == refusal(USUAL, showing(plain + "x")).message, "whether it is there"


def test_a_file_is_read_without_the_guard(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_check_source", nothing)
    monkeypatch.setattr(
        admission, "_carried", lambda source, given, where: read_bytes(source, given.media_limits(), where)
    )
    assert source_of(admit(USUAL, showing(str(secret)))[0]) == SMALL


def source_of(group: Group) -> Any:
    part = group.messages[0].parts[0]
    assert isinstance(part, Image)
    return part.source


def test_no_address_is_fetched_unless_allowed() -> None:
    asked: list[str] = []

    class Willing(Addresses):
        async def fetch(self, url: str, where: str) -> bytes:
            asked.append(url)
            return SMALL

    url = "https://example.org/cat.png"
    assert refusal(USUAL, showing(url)).code == "bad_request"
    assert not asked
    group = Group(**showing(url))
    admitted = asyncio.run(Guard(USUAL, MediaStore(), Willing(["example.org"])).admit([group, group]))
    assert asked == [url], "once"
    assert [source_of(group) for group in admitted] == [SMALL, SMALL]


def test_what_is_fetched_for_a_request_is_bounded_and_ends_with_a_refusal() -> None:
    ended: list[str] = []

    class Large(Addresses):
        async def fetch(self, url: str, where: str) -> bytes:
            try:
                if url.endswith("slow"):
                    await asyncio.Event().wait()
                return SMALL + bytes(1000)
            finally:
                ended.append(url)

    rows = [Group(**showing(f"https://example.org/{name}")) for name in ("a", "b", "c", "slow")]

    async def ask(given: RequestLimits, rows: list[Group]) -> list[Group]:
        async with asyncio.timeout(10):
            return await Guard(given, MediaStore(), Large(["example.org"])).admit(rows)

    with pytest.raises(refusals.Refusal, match="are fetched for this request") as caught:
        asyncio.run(ask(RequestLimits(max_body_bytes=2500), rows))
    assert caught.value.code == "too_large"
    assert set(ended) == {f"https://example.org/{name}" for name in ("a", "b", "c", "slow")}
    assert len(asyncio.run(ask(RequestLimits(max_body_bytes=5000), rows[:3]))) == 3
    with pytest.raises(refusals.Refusal, match=r"pictures took longer than 0\.05 s to fetch"):
        asyncio.run(ask(RequestLimits(body_seconds=0.05), rows))
    assert ended.count("https://example.org/slow") == 2


def test_errors_show_neither_paths_nor_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    for error in (CheckpointError("/srv/secret: broken"), RuntimeError("/srv/secret"), KeyError("secret")):
        door.service.error = error
        response = door.score(text("Q"))
        assert response.status_code in (500, 503)
        assert "secret" not in response.text
        assert "Traceback" not in response.text
    monkeypatch.setattr(refusals, "refusal_of", lambda error: refusals.Refusal("internal", str(error)))
    assert "secret" in door.score(text("Q")).text


def test_all_unknown_pictures_are_named_at_once() -> None:
    store = MediaStore()
    known, unknown = store.put(SMALL), [f"media:{digit * 64}" for digit in "ab"]
    with pytest.raises(refusals.Refusal) as caught:
        admit(USUAL, showing(unknown[0]), showing(known), showing(unknown[1]), showing(unknown[0]), store=store)
    assert caught.value.status == 409
    assert caught.value.media == tuple(unknown)
    assert source_of(admit(USUAL, showing(known), store=store)[0]) is store.get(known)


def test_equal_pictures_are_one_object() -> None:
    other = data_uri(SMALL).replace("image/png", "image/x")
    first, second = admit(USUAL, showing(data_uri(SMALL)), showing(other))
    assert source_of(first) is source_of(second)


NOT_JSON_WE_TAKE = {
    "nested": b'{"groups": ' + b"[" * 100 + b"]" * 100 + b"}",
    "nested, behind a string": b'{"a": "\\\\\\"[", "groups": ' + b"[" * 100 + b"]" * 100 + b"}",
    "objects": b'{"a":' * 100 + b"1" + b"}" * 100,
    "UTF-16": json.dumps({"groups": []}).encode("utf-16"),
    "bytes": b'{"groups": "\xff"}',
    "half a character": b'{"groups": [{"messages": "\\ud800", "responses": ["A"]}]}',
    "the other half": b'{"groups": [{"messages": "\\udc00", "responses": ["A"]}]}',
    "a number": b'{"groups": ' + b"9" * 5000 + b"}",
}


def test_json_that_costs_more_than_it_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[bytes] = []

    def parse(text: bytes, model: object) -> None:
        reached.append(text)
        raise refusals.Refusal("not_found", "parsed")

    monkeypatch.setattr(native, "_parse", parse)
    door, headers = Door(), {"Content-Type": "application/json"}
    for name, body in NOT_JSON_WE_TAKE.items():
        assert code_of(door.ask("POST", "/v1/score", content=body, headers=headers)) == "bad_request", name
    assert not reached
    monkeypatch.setattr(limits, "check_json", nothing)
    for body in NOT_JSON_WE_TAKE.values():
        assert code_of(door.ask("POST", "/v1/score", content=body, headers=headers)) == "not_found"
    assert reached == list(NOT_JSON_WE_TAKE.values())
