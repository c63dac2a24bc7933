"""ms-swift's layouts: whose pictures each side sees, and where pictures without a mark go."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlreward.data.rankings import read_rankings, write_rankings
from vlreward.errors import InputError, UnsupportedError
from vlreward.types import Group, Image, Message, Ranking, Text, Video

Lines = Callable[..., Path]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def says(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


Q, A, B = user("q"), says("a"), says("b")
SEE = user("<image>q")


def shown(ranking: Ranking) -> list[list[Any]]:
    """Texts and sources of each side's whole conversation."""
    return [
        [part.text if isinstance(part, Text) else part.source for message in side for part in message.parts]
        for side in ranking.group.conversations()
    ]


class TestSides:
    def test_a_rejected_response(self, lines: Lines) -> None:
        row = {"messages": [Q, A, Q, A], "rejected_response": "b", "margin": 1, "id": "x", "task": "t", "channel": "c"}
        [ranking] = read_rankings(lines(row))
        assert ranking.group == Group(
            [Message("user", "q"), Message("assistant", "a"), Message("user", "q")], ["a", "b"], id="x", task="t"
        )
        assert (ranking.ranks, ranking.margin) == ((0, 1), 1.0)

    def test_it_takes_the_place_of_everything_behind_the_last_question(self, lines: Lines) -> None:
        tool = {"role": "tool_response", "content": "42"}
        [ranking] = read_rankings(lines({"messages": [Q, says("call"), tool, A], "rejected_response": [B]}))
        assert ranking.group.messages == (Message("user", "q"),)
        assert [[message.role for message in response] for response in ranking.group.responses] == [
            ["assistant", "tool", "assistant"],
            ["assistant"],
        ]

    def test_both_sides_see_the_pictures(self, lines: Lines) -> None:
        [ranking] = read_rankings(lines({"messages": [SEE, A], "rejected_response": "b", "images": ["1.png"]}))
        assert shown(ranking) == [["1.png", "q", "a"], ["1.png", "q", "b"]]
        assert len(ranking.group.messages) == 1

    def test_another_picture_on_each_side(self, lines: Lines) -> None:
        row = {"messages": [SEE, A], "rejected_response": "b", "images": ["1.png"], "rejected_images": ["2.png"]}
        [ranking] = read_rankings(lines(row))
        assert shown(ranking) == [["1.png", "q", "a"], ["2.png", "q", "b"]]
        assert ranking.group.messages == ()

    def test_a_picture_as_the_answer(self, lines: Lines) -> None:
        row = {
            "messages": [SEE, says("<image>")],
            "rejected_messages": [SEE, says("<image>")],
            "images": ["q.png", "good.png"],
            "rejected_images": ["q.png", "bad.png"],
        }
        [ranking] = read_rankings(lines(row))
        assert shown(ranking) == [["q.png", "q", "good.png"], ["q.png", "q", "bad.png"]]
        assert len(ranking.group.messages) == 1

    def test_rejected_messages_of_their_own(self, lines: Lines) -> None:
        row = {"messages": [Q, A], "rejected_messages": [user("r"), B, Q, B]}
        [ranking] = read_rankings(lines(row))
        assert ranking.group.messages == ()
        assert shown(ranking) == [["q", "a"], ["r", "b", "q", "b"]]

    def test_pictures_without_a_mark_go_first(self, lines: Lines) -> None:
        row = {"messages": [says("hm"), Q, A], "rejected_response": "b", "system": "s", "images": ["1", "2"]}
        row |= {"videos": ["v"]}
        [ranking] = read_rankings(lines(row))
        assert shown(ranking)[0] == ["s", "v", "1", "2", "hm", "q", "a"]
        assert ranking.group.messages[1].role == "assistant"
        [ranking] = read_rankings(lines(row | {"messages": [SEE, A]}))
        assert shown(ranking)[0] == ["s", "v", "1", "2", "q", "a"]

    @pytest.mark.parametrize("images", ["1.png", ["1.png"], {"bytes": None, "path": "1.png"}, [{"path": "1.png"}]])
    @pytest.mark.parametrize("key", ["image", "images"])
    def test_forms_of_pictures(self, lines: Lines, images: Any, key: str) -> None:
        if key == "image" and isinstance(images, list):
            return
        [ranking] = read_rankings(lines({"messages": [SEE, A], "rejected_response": "b", key: images}))
        assert shown(ranking)[1] == ["1.png", "q", "b"]

    def test_content_in_parts(self, lines: Lines) -> None:
        parts = [{"type": "text", "text": "<image>p"}, {"type": "image"}]
        row = {"messages": [user(parts), A | {"loss": None}], "rejected_response": "b", "images": ["1", "2"]}
        [ranking] = read_rankings(lines(row))
        assert shown(ranking)[0] == ["1", "p", "2", "a"]
        own = [{"type": "image", "image": "own.png"}]
        [ranking] = read_rankings(lines({"messages": [user(own), A], "rejected_response": "b"}))
        assert shown(ranking)[0] == ["own.png", "a"]


class TestErrors:
    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"messages": [Q, A]}, "neither of 'rejected_response' and 'rejected_messages'; give one of them"),
            (
                {"messages": [Q, A], "rejected_response": "b", "rejected_messages": [Q, B]},
                "'rejected_response' and 'rejected_messages' of 'rejected_response' and .*",
            ),
            (
                {"messages": [SEE, A], "rejected_messages": [SEE, B], "images": ["1"]},
                "'rejected_messages' with 'images' but no 'rejected_images': ms-swift shows that side none; .*",
            ),
            (
                {"messages": [SEE, A], "rejected_response": "b", "images": ["1"], "rejected_images": []},
                "rejected side: 0 in 'rejected_images' but 1 <image> in the conversation; add one or drop a mark",
            ),
            ({"messages": [SEE, A], "rejected_response": "b"}, "chosen side: 0 in 'images' but 1 <image> .*"),
            ({"messages": [Q], "rejected_response": "b"}, "messages: must end in an assistant message"),
            ({"messages": [A], "rejected_response": "b"}, "no user message, so nothing shows where the response .*"),
            ({"messages": [Q, A], "rejected_response": [Q, B]}, "rejected_response: holds a user message; use .*"),
            ({"messages": [Q, A], "rejected_response": 5}, "rejected_response: expected a list of messages, got int"),
            ({"messages": [Q, A], "rejected_messages": []}, "rejected_messages: must end in an assistant message"),
            (
                {"messages": [Q, A], "rejected_messages": [Q, B], "system": "s"},
                "'system' is of 'messages' only; say it as the first message of both sides",
            ),
            ({"messages": [Q, A], "rejected_response": "b", "system": 5}, "'system' must be a string, got 5"),
            (
                {"messages": [Q, A], "rejected_response": "b", "tools": [{"a": 1}]},
                "'tools' holds something; tools, boxes and sound are not read",
            ),
            (
                {"messages": [{"role": "tool_call", "content": "x"}, A], "rejected_response": "b"},
                r"messages\[0\]: unknown role 'tool_call'; .* \(calls of tools are not read\)",
            ),
            ({"messages": [user(5), A], "rejected_response": "b"}, r"messages\[0\]: 'content' must be a string or .*"),
            (
                {"messages": ["q", A], "rejected_response": "b"},
                r"messages\[0\]: a message must be an object .* got str",
            ),
            (
                {"messages": [user([{"type": "image", "image": "own"}]), A], "rejected_response": "b", "images": ["1"]},
                "chosen side: 1 in 'images' but 0 <image> in the conversation; add a mark or drop one",
            ),
            (
                {"messages": [Q, A], "rejected_response": "b", "image": "1", "images": ["1"]},
                "both 'image' and 'images'; give one of them",
            ),
            (
                {"messages": [Q, A], "rejected_response": "b", "rejected_image": "1"},
                r"unknown key 'rejected_image'; did you mean 'rejected_images'\?",
            ),
        ],
    )
    def test_rows_that_are_wrong(self, lines: Lines, row: Any, message: str) -> None:
        with pytest.raises(InputError, match=f"^pairs.jsonl:1: .*{message}$"):
            list(read_rankings(lines(row), format="ms-swift"))


class TestWriting:
    @pytest.mark.parametrize(
        "row",
        [
            {"messages": [Q, A], "rejected_response": "b", "margin": 2.0},
            {"messages": [SEE, A], "images": ["/1.png"], "rejected_response": "b"},
            {"messages": [Q, says("<image>")], "images": ["/1"], "rejected_response": "b", "rejected_images": []},
            # The same answer twice would be refused as a response.
            {"messages": [Q, A], "rejected_messages": [Q, A]},
            {
                "messages": [SEE, A],
                "images": ["/1"],
                "rejected_messages": [SEE, A],
                "rejected_images": ["/2"],
            },
            {"messages": [Q, A, A], "rejected_messages": [Q, A, B]},
            {"messages": [user("<video>q"), A], "videos": [["/1.png", "/2.png"]], "rejected_response": "b"},
        ],
    )
    def test_rows_come_back_as_they_were(self, lines: Lines, row: Any) -> None:
        write_rankings("out.jsonl", read_rankings(lines(row)), "ms-swift")
        assert json.loads(Path("out.jsonl").read_text()) == row | {"id": "1"}

    def test_paths_are_absolute(self, lines: Lines, tmp_path: Path) -> None:
        # ms-swift looks for files where it is started.
        write_rankings(
            "out.jsonl",
            read_rankings(lines({"messages": [SEE, A], "images": ["1.png"], "rejected_response": "b"})),
            "ms-swift",
        )
        assert json.loads(Path("out.jsonl").read_text())["images"] == [str(tmp_path / "1.png")]

    @pytest.mark.parametrize(
        ("group", "message"),
        [
            (
                Group([Message("user", "q"), Message("system", "s")], ["a", "b"]),
                "a system message behind the first, which ms-swift has no place for",
            ),
            (Group("<video>", ["a", "b"]), "the text holds <video>, which ms-swift reads as video; reword it"),
            (
                Group([Message("user", (Video(source="v", fps=1.0, max_frames=2),))], ["a", "b"]),
                "a video says fps and max_frames, which ms-swift has no place for",
            ),
        ],
    )
    def test_what_has_no_place(self, tmp_path: Path, group: Group, message: str) -> None:
        with pytest.raises(UnsupportedError, match=f"^group None: {message}$"):
            write_rankings(tmp_path / "a.jsonl", [Ranking(group=group, ranks=(0, 1))], "ms-swift")

    def test_frames_in_a_table(self, tmp_path: Path) -> None:
        group = Group([Message("user", (Video(source=("1", "2")), Image(source="3")))], ["a", "b"])
        with pytest.raises(UnsupportedError, match=r"a video of frames has no place in such a table; write .jsonl$"):
            write_rankings(tmp_path / "a.parquet", [Ranking(group=group, ranks=(0, 1))], "ms-swift")
