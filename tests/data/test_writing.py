"""Groups into files and back: nothing is lost, and paths still lead to the pictures."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from vlreward.data.groups import read_groups
from vlreward.data.images import load_image
from vlreward.data.parts import iter_parts
from vlreward.data.writing import group_to_row, write_groups
from vlreward.errors import InputError, MediaError
from vlreward.types import Group, Image, Message, Text, Video

FORMATS = ["groups.jsonl", "groups.parquet"]

text = st.text(max_size=8)
path = st.from_regex(r"[a-z]{1,6}(/[a-z]{1,4})?\.png", fullmatch=True)
source = st.one_of(path, path.map("/abs/{}".format), path.map("https://x.org/{}".format), st.binary(min_size=1))
limits = st.fixed_dictionaries({}, optional={name: st.integers(1, 10**9) for name in ("min_pixels", "max_pixels")})
sampling = st.fixed_dictionaries({}, optional={"fps": st.floats(0.01, 1e6), "max_frames": st.integers(1, 10**6)})
texts = text.map(lambda value: Text(text=value))
images = st.builds(lambda source, limits: Image(source=source, **limits), source, limits)
videos = st.builds(
    lambda source, limits, sampling: Video(source=source, **limits, **sampling),
    st.one_of(source, st.lists(source, min_size=1, max_size=3).map(tuple)),
    limits,
    sampling,
)
content = st.one_of(text, st.lists(st.one_of(texts, images, videos), max_size=3).map(tuple))
answer = st.builds(lambda value: Message("assistant", value), content)
message = st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), content)
response = st.builds(lambda turns, last: (*turns, last), st.lists(message, max_size=2).map(tuple), answer)
groups = st.builds(
    lambda messages, responses, task: Group(tuple(messages), responses, task=task),
    st.lists(message, max_size=3),
    st.lists(response, min_size=1, max_size=3),
    st.none() | text,
)


def as_values(group: Group) -> Any:
    """A group as plain values that can be compared: parts with pictures compare by identity."""

    def plain(part: Any) -> Any:
        if isinstance(part, Text):
            return part.text
        found = part.source if isinstance(part.source, tuple) else (part.source,)
        rest = {key: value for key, value in vars(part).items() if key != "source"}
        return type(part).__name__, isinstance(part.source, tuple), [where_it_is(item) for item in found], rest

    def where_it_is(item: Any) -> Any:
        if isinstance(item, str) and item.startswith("data:"):
            return base64.b64decode(item.partition(",")[2])
        return item if isinstance(item, bytes) or ":" in item else os.path.abspath(item)

    def turns(messages: Any) -> Any:
        return [
            (one.role, one.content if isinstance(one.content, str) else [plain(part) for part in one.content])
            for one in messages
        ]

    return turns(group.messages), [turns(one) for one in group.responses], group.task


class TestRoundTrip:
    @pytest.mark.parametrize("name", FORMATS)
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(batch=st.lists(groups, min_size=1, max_size=4))
    def test_random_groups(self, name: str, batch: list[Group], tmp_path: Path) -> None:
        assert write_groups(tmp_path / name, batch) == len(batch)
        again = list(read_groups(tmp_path / name))
        assert [as_values(group) for group in again] == [as_values(group) for group in batch]
        assert [group.id for group in again] == [str(i + 1) for i in range(len(batch))]

    @pytest.mark.parametrize("name", FORMATS)
    def test_written_twice_is_the_same(self, name: str, tmp_path: Path) -> None:
        group = Group([Message("user", (Image(source=b"x"), Text(text="q")))], ["a", ""], id="x", task="chat")
        write_groups(tmp_path / name, [group])
        write_groups(tmp_path / f"b_{name}", read_groups(tmp_path / name))
        [again] = read_groups(tmp_path / f"b_{name}")
        assert group_to_row(again) == group_to_row(group)

    @pytest.mark.parametrize("name", FORMATS)
    def test_pictures_in_memory(self, name: str, tmp_path: Path, photo: PILImage.Image) -> None:
        clear = PILImage.new("RGBA", (3, 2))
        array = np.asarray(photo)
        buffer = io.BytesIO()
        photo.save(buffer, "JPEG")
        given = [photo, clear, array, buffer.getvalue(), {"bytes": buffer.getvalue(), "path": None}]
        parts = [Image(source=item) for item in given]
        film = Video(source=(photo, array))
        write_groups(tmp_path / name, [Group([Message("user", (*parts, film))], ["a"])])
        [group] = read_groups(tmp_path / name)
        *images, video = iter_parts(group)
        for part, original in zip(images[:5], given, strict=True):
            assert isinstance(part, Image)
            assert load_image(part.source).tobytes() == load_image(original).tobytes()
        assert [str(part.source)[:15] for part in images[3:5]] == ["data:image/jpeg"] * 2  # type: ignore[union-attr]
        assert group_to_row(group)["messages"][0]["content"][5]["video"][0].startswith("data:image/png;base64,")
        assert isinstance(video, Text)  # the answer

    @pytest.mark.parametrize("name", FORMATS)
    def test_paths_lead_to_the_same_files(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "out").mkdir()
        inside, outside = Path("out/a.png"), "b.png"
        write_groups(f"out/{name}", [Group([Message("user", (Image(source=inside), Image(source=outside)))], ["a"])])
        monkeypatch.chdir("/")
        [group] = read_groups(tmp_path / "out" / name)
        found = [part.source for part in iter_parts(group) if isinstance(part, Image)]
        assert found == [str(tmp_path / "out" / "a.png"), str(tmp_path / "b.png")]
        (tmp_path / "out").rename(tmp_path / "moved")
        [group] = read_groups(tmp_path / "moved" / name)
        assert next(iter_parts(group)).source == str(tmp_path / "moved" / "a.png")  # type: ignore[union-attr]

    def test_rows_are_short_where_they_can_be(self) -> None:
        group = Group("q", ["a", [Text(text="b")], [Message("assistant", ())]])
        assert group_to_row(group) == {
            "messages": [{"role": "user", "content": "q"}],
            "responses": ["a", [{"type": "text", "text": "b"}], [{"role": "assistant", "content": []}]],
        }

    def test_tables_are_read_by_others(self, tmp_path: Path) -> None:
        import pyarrow.parquet as pq

        film, frames = Video(source="/abs/v.mp4"), Video(source=("data:,a", "data:,b"))
        write_groups(tmp_path / "a.parquet", [Group([Message("user", (film, frames))], ["a"])])
        [row] = pq.read_table(tmp_path / "a.parquet").to_pylist()
        content = [{key: value for key, value in part.items() if value} for part in row["messages"][0]["content"]]
        assert content == [{"type": "video", "path": "/abs/v.mp4"}, {"type": "video", "video": ["data:,a", "data:,b"]}]
        assert row["responses"][0][0]["content"][0]["text"] == "a"


class TestErrors:
    @pytest.mark.parametrize("name", FORMATS)
    def test_what_was_there_stays_when_writing_fails(self, name: str, tmp_path: Path) -> None:
        write_groups(tmp_path / name, [Group("q", ["a"])])
        before = (tmp_path / name).read_bytes()

        def broken() -> Iterator[Group]:
            yield Group("q", ["b"])
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_groups(tmp_path / name, broken())
        assert (tmp_path / name).read_bytes() == before
        assert os.listdir(tmp_path) == [name]

    def test_a_file_may_be_rewritten_from_itself(self, tmp_path: Path) -> None:
        write_groups(tmp_path / "a.jsonl", [Group("q", [text]) for text in "abc"])
        assert write_groups(tmp_path / "a.jsonl", read_groups(tmp_path / "a.jsonl")) == 3

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("a.csv", "a.csv: unknown kind of file to write; known: .jsonl, .ndjson, .parquet"),
            ("gone/a.jsonl", "gone/a.jsonl: its folder does not exist; create gone"),
        ],
    )
    def test_files_that_cannot_be_written(
        self, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match=f"^{message}$"):
            write_groups(name, [])

    @pytest.mark.parametrize(
        ("group", "error", "message"),
        [
            (Group("q", [[Image(source=5)]], id="x"), InputError, "group 'x': image source of type int cannot be .*"),
            (Group("q", ["\ud83d"], id="x"), InputError, "group 'x': cannot be written .*"),
            (Group("q", [[Image(source=np.zeros(3))]], id="x"), MediaError, "group 'x': an array: expected shape .*"),
        ],
    )
    def test_groups_that_have_no_form(self, group: Group, error: type[Exception], message: str, tmp_path: Path) -> None:
        with pytest.raises(error, match=f"^{message}$"):
            write_groups(tmp_path / "a.jsonl", [group])

    def test_half_a_pair_in_a_table(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"^group 'x': cannot be written \('utf-8' codec "):
            write_groups(tmp_path / "a.parquet", [Group("q", ["\ud83d"], id="x")])


def test_rows_are_json(photo: PILImage.Image) -> None:
    row = group_to_row(Group([Message("user", (Image(source=photo),))], ["a"]))
    assert json.loads(json.dumps(row)) == row
