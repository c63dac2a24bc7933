"""What a row of a groups file means, and every way in which it may be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlreward.data.groups import read_groups, scan_groups
from vlreward.data.parts import iter_parts
from vlreward.errors import InputError
from vlreward.types import Group, Image, Message, Text, Video

Lines = Callable[..., Path]

IMAGE = {"type": "image"}
VIDEO = {"type": "video"}


def row(*parts: dict[str, Any], responses: Any = ("a", "b"), **rest: Any) -> dict[str, Any]:
    """A row whose prompt is one user message of ``parts`` and a question."""
    content = [*parts, {"type": "text", "text": "q"}]
    return {"messages": [{"role": "user", "content": content}], "responses": list(responses), **rest}


def sources(group: Group) -> list[Any]:
    return [part.source for part in iter_parts(group) if isinstance(part, (Image, Video))]


class TestRows:
    def test_a_row(self, lines: Lines) -> None:
        path = lines({"id": "x", "messages": "q", "responses": ["a", "b"], "task": "chat"})
        assert list(read_groups(path)) == [Group("q", ["a", "b"], id="x", task="chat")]

    def test_what_is_known_of_the_responses_is_no_part_of_the_group(self, lines: Lines) -> None:
        path = lines({"messages": "q", "responses": ["a", "b"], "answer": "a", "unfinished": [1]})
        assert list(read_groups(path)) == [Group("q", ["a", "b"], id="1")]

    def test_ids_are_given_or_the_line(self, lines: Lines) -> None:
        path = lines(row(id="x"), "", row(), row(id=7), row(id=None))
        assert [group.id for group in read_groups(path)] == ["x", "3", "7", "5"]

    def test_every_form_of_response(self, lines: Lines) -> None:
        parts = [{"type": "text", "text": "a"}]
        turns = [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b"}]
        last = {"role": "assistant", "content": parts}
        [group] = read_groups(lines(row(responses=["a", "", parts, last, [*turns, last]])))
        assert [len(response) for response in group.responses] == [1, 1, 1, 1, 3]
        assert group.responses[2] == (Message("assistant", (Text(text="a"),)),)

    def test_other_columns_only_when_told(self, lines: Lines) -> None:
        path = lines(row(score=1, origin="x"))
        with pytest.raises(InputError, match=r"^pairs.jsonl:1: unknown key 'score'; known: "):
            list(read_groups(path))
        assert len(list(read_groups(path, ignore=["score", "origin"]))) == 1


class TestMedia:
    def test_images_fill_open_parts_in_order(self, lines: Lines) -> None:
        given = {"type": "image", "image": "own.png"}
        limited = {"type": "image", "max_pixels": 99}
        path = lines(row(IMAGE, given, limited, responses=["a", [IMAGE], "b", [IMAGE]], images=list("1234")))
        [group] = read_groups(path)
        assert sources(group) == ["1", "own.png", "2", "3", "4"]
        parts = [part for part in iter_parts(group) if isinstance(part, Image)]
        assert [part.max_pixels for part in parts] == [None, None, 99, None, None]

    def test_videos_are_files_or_frames(self, lines: Lines) -> None:
        path = lines(row(VIDEO, IMAGE, VIDEO | {"fps": 1}, images=["i.png"], videos=["v.mp4", ["f0.png", "f1.png"]]))
        [group] = read_groups(path)
        assert sources(group) == ["v.mp4", "i.png", ("f0.png", "f1.png")]
        assert [part.fps for part in iter_parts(group) if isinstance(part, Video)] == [None, 1.0]

    def test_relative_paths_start_from_the_file(self, lines: Lines, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        stays = ["/abs/a.png", "https://x/a.png", "data:image/png;base64,QUJD", "file:///abs/a.png", "s3://b/a.png"]
        frames = {"type": "video", "video": ["f0.png", "/abs/f1.png", "data:,x"]}
        path = lines(row(*[IMAGE] * 6, frames, images=["../a.png", *stays]), name="sub/pairs.jsonl")
        [group] = read_groups(path)
        assert sources(group) == ["sub/../a.png", *stays, ("sub/f0.png", "/abs/f1.png", "data:,x")]
        assert sources(next(read_groups(tmp_path / "sub/pairs.jsonl")))[0] == f"{tmp_path}/sub/../a.png"

    def test_a_table_of_pictures(self, lines: Lines) -> None:
        content = [{"type": "image", "text": None}, {"type": "text", "text": "q"}]
        rows = [
            {
                "id": None if i else "x",
                "messages": [{"role": "user", "content": content}],
                "responses": ["a", "b"],
                "images": [{"bytes": b"png" if i else None, "path": "a.png"}],
            }
            for i in range(3)
        ]
        path = lines(name="pairs.parquet")
        pq.write_table(pa.Table.from_pylist(rows), path)
        groups = list(read_groups(path))
        assert [group.id for group in groups] == ["x", "2", "3"]
        assert [sources(group) for group in groups] == [["a.png"], [b"png"], [b"png"]]


class TestErrors:
    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (row(images=["1", "2"]), "2 images but 0 image parts without a source; drop images or add image parts"),
            (row(IMAGE, images=["1", "2"]), "2 images but 1 image part without a source; drop images or .*"),
            (
                row(IMAGE, IMAGE, images=["1"]),
                "1 image but 2 image parts without a source; add to 'images' or drop parts",
            ),
            (row(IMAGE), "0 images but 1 image part without a source; add to 'images' or drop parts"),
            (row(responses=[[IMAGE]]), "0 images but 1 image part without a source; .*"),
            (row(VIDEO), "0 videos but 1 video part without a source; add to 'videos' or drop parts"),
            (row(IMAGE, images="1"), "'images' must be a list, got str"),
            (row(IMAGE, images={"path": "1"}), "'images' must be a list, got dict"),
            (row(IMAGE, images=[None]), r"images\[0\]: expected a path, a URI or bytes, got None"),
            (row(IMAGE, images=[{"a": 1}]), r"images\[0\]: a source that is an object needs 'bytes' or 'path', got .*"),
            (row(IMAGE, images=[5]), "expected a path, a URI or bytes as a source, got 5"),
            (row(IMAGE, images=[["a"]]), r"expected a path, a URI or bytes as a source, got \['a'\]"),
            (row(IMAGE, images=[""]), "expected a path, a URI or bytes as a source, got ''"),
            (row({"type": "video", "video": ["a", None]}), "expected a path, a URI or bytes as a source, got None"),
            (row(image=["1"]), "unknown key 'image'; did you mean 'images'\\?"),
            (row(mesages=["1"]), "unknown key 'mesages'; did you mean 'messages'\\?"),
            (row({"type": "image", "imge": "1"}), r"messages\[0\], part 0: image part: unknown key 'imge'; .*"),
            (row(responses=[]), "no responses; a group needs at least one"),
            (row(responses=["a", None]), r"responses\[1\]: expected text, .* got None"),
            (row(responses=[{"role": "user", "content": "a"}]), r"responses\[0\]: a response must end in .*"),
            (row() | {"responses": "a"}, "'responses' must be a list, got str"),
            ({"responses": ["a"]}, "no 'messages'; a group needs 'messages' and 'responses'"),
            ({"messages": "q"}, "no 'responses'; a group needs 'messages' and 'responses'"),
            ({"messages": 5, "responses": ["a"]}, "messages: expected a list of messages, got int"),
            (row(id=2.5), "'id' must be a string or an integer, got 2.5"),
            (row(id=True), "'id' must be a string or an integer, got True"),
            (row(task=5), "'task' must be a string, got 5"),
            (row(answer=5), "'answer' must be a string, the right answer, got 5"),
            (row(unfinished=[2]), r"'unfinished' must be a list of numbers of responses, 0 to 1, got \[2\]"),
            (row(unfinished=0), "'unfinished' must be a list of numbers of responses, 0 to 1, got 0"),
            (row(id="x"), "id 'x' is already that of pairs.jsonl:1; ids must differ"),
            (row(id=1) | {"id": "3"}, None),
        ],
    )
    def test_a_row_that_is_no_group(self, lines: Lines, bad: Any, message: str | None) -> None:
        path = lines(row(id="x"), bad, row())
        if message is None:  # a given id that is the number of a later line
            message = "id '3' is already that of pairs.jsonl:2; ids must differ"
            with pytest.raises(InputError, match=f"^pairs.jsonl:3: {message}$"):
                list(read_groups(path))
            return
        groups = read_groups(path)
        assert next(groups).id == "x"
        with pytest.raises(InputError, match=f"^pairs.jsonl:2: {message}$"):
            next(groups)

    @pytest.mark.parametrize(
        ("first", "message"),
        [
            ({"mesages": "q", "respones": ["a"]}, "unknown key 'mesages'; did you mean 'messages'\\?"),
            ({"messages": "q", "respones": ["a"]}, "unknown key 'respones'; did you mean 'responses'\\?"),
            ({"id": "x"}, "neither a group .* nor a comparison .*; its keys are: id"),
            ({}, "neither a group .* nor a comparison .*; its keys are: none"),
            ({"messages": "q", "responses": ["a"], "chosen": "b"}, "both 'responses' and 'chosen' or 'rejected'; .*"),
        ],
    )
    def test_a_file_of_another_form(self, lines: Lines, first: Any, message: str) -> None:
        with pytest.raises(InputError, match=f"^pairs.jsonl:1: {message}$"):
            list(read_groups(lines(first)))

    def test_missing_files_are_said_at_once(self) -> None:
        with pytest.raises(InputError, match=r"^gone.jsonl: no such file$"):
            read_groups("gone.jsonl")

    def test_going_on_behind_bad_rows(self, lines: Lines) -> None:
        path = lines("nonsense", row(id="x"), row(id="x"), row(responses=[]), row())
        rows = list(scan_groups(path))
        assert [item.where for item in rows] == [f"pairs.jsonl:{i}" for i in range(1, 6)]
        assert [type(item.content) for item in rows] == [InputError, Group, InputError, InputError, Group]
        assert all(str(item.content).startswith(item.where) for item in rows if isinstance(item.content, InputError))
