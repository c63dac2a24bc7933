"""LLaMA-Factory's layouts, with and without a description, and what it would pass over or refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlreward.data.rankings import read_rankings, scan_rankings, write_rankings
from vlreward.errors import InputError, UnsupportedError
from vlreward.types import Group, Image, Message, Ranking, Text, Video

Lines = Callable[..., Path]

ROW: dict[str, Any] = {
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is this?"},
        {"from": "gpt", "value": "A cat."},
        {"from": "human", "value": "And<image>this<video>?"},
    ],
    "chosen": {"from": "gpt", "value": "A dog."},
    "rejected": {"from": "gpt", "value": "A cow."},
    "images": ["1.png", "sub/2.png"],
    "videos": ["v.mp4"],
}
OPENAI = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
COLUMNS = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}


def text_pair(question: Any, chosen: str, rejected: str, **rest: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": question}]
    return {
        "conversations": turns,
        "chosen": {"from": "gpt", "value": chosen},
        "rejected": {"from": "gpt", "value": rejected},
    } | rest


def describe(folder: Path, **entries: Any) -> None:
    (folder / "dataset_info.json").write_text(json.dumps(entries))


def sources(ranking: Ranking) -> list[Any]:
    parts = (part for message in ranking.group.messages for part in message.parts)
    return [part.source for part in parts if not isinstance(part, Text)]


class TestSharegpt:
    def test_a_row(self, lines: Lines) -> None:
        [ranking] = read_rankings(lines(ROW))
        messages = ranking.group.messages
        assert [message.role for message in messages] == ["user", "assistant", "user"]
        assert messages[0].parts[1] == Text(text="\nWhat is this?")
        assert [type(part) for part in messages[2].parts] == [Text, Image, Text, Video, Text]
        assert sources(ranking) == ["1.png", "sub/2.png", "v.mp4"]
        assert ranking.group.responses == ((Message("assistant", "A dog."),), (Message("assistant", "A cow."),))
        assert (ranking.ranks, ranking.margin, ranking.group.id) == ((0, 1), None, "1")

    def test_what_else_a_row_says(self, lines: Lines) -> None:
        row = text_pair("q", "a", "b", id="x", task="chat", margin=2, system="Be kind.", images=None)
        [first, again] = read_rankings(lines(row, row))
        assert first.group == Group(
            [Message("system", "Be kind."), Message("user", "q")], ["a", "b"], id="x", task="chat"
        )
        assert first.margin == 2.0
        assert again.group.id == "x#2"  # ids are nobody's business there

    def test_a_system_message_overrides_the_column(self, lines: Lines) -> None:
        row = text_pair("q", "a", "b", system="column")
        row["conversations"].insert(0, {"from": "system", "value": "message"})
        [ranking] = read_rankings(lines(row))
        assert ranking.group.messages[0] == Message("system", "message")

    def test_tools_answer_as_tools(self, lines: Lines) -> None:
        row = text_pair("q", "a", "b")
        row["conversations"] += [{"from": "gpt", "value": "call"}, {"from": "observation", "value": "42"}]
        [ranking] = read_rankings(lines(row))
        assert [message.role for message in ranking.group.messages] == ["user", "assistant", "tool"]

    def test_both_sides_see_the_same_pictures(self, lines: Lines) -> None:
        row = text_pair("<image>q", "<image>", "no: <image>", images=["q.png", "a.png"])
        [ranking] = read_rankings(lines(row))
        last = [message.parts[-1] for (message,) in ranking.group.responses]
        assert [part.source for part in last if isinstance(part, Image)] == ["a.png", "a.png"]

    def test_a_table(self, tmp_path: Path) -> None:
        image = {"bytes": b"png", "path": None}
        rows = [text_pair("<image>q", "a", "b", images=[image]), text_pair("q", "a", "b", images=[])]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
        assert [sources(ranking) for ranking in read_rankings(tmp_path / "a.parquet")] == [[b"png"], []]

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (ROW | {"images": ["1"]}, "chosen side: 1 in 'images' but 2 <image> in the conversation; add one or .*"),
            (ROW | {"videos": None}, "chosen side: 0 in 'videos' but 1 <video> in the conversation; add one or .*"),
            (text_pair("q", "a", "b", images=["1"]), "chosen side: 1 in 'images' but 0 <image> .*; add a mark or .*"),
            (
                text_pair("<image>", "<image>", "b", images=["1", "2"]),
                "rejected side: 2 in 'images' but 1 <image> in the conversation; add a mark or drop one",
            ),
            (text_pair("<audio>q", "a", "b"), r"conversations\[0\]: an <audio> mark; sound is not read"),
            (text_pair("q", "a", "b", tools="[]"), "'tools' holds something; tools and sound are not read"),
            (text_pair("q", "a", "b", score=1), "unknown key 'score'; known: .*"),
            (text_pair("q", "a", "b", imagse=["1"]), r"unknown key 'imagse'; did you mean 'images'\?"),
            (text_pair("q", "a", "b", margin="2"), "'margin' must be a number, got '2'"),
            (text_pair("q", "a", "b", margin=10**400), "'margin' must be a number, got 1000.*"),
            (text_pair("q", "a", "b", task=2), "'task' must be a string, got 2"),
            (text_pair("<image>", "a", "b", images=[5]), "expected a path, a URI or bytes as a source, got 5"),
            (text_pair("q", "a", "b") | {"chosen": None}, "no 'chosen'; a comparison needs chosen and rejected"),
            (text_pair("q", "a", "b") | {"chosen": "a"}, "chosen: expected an object with 'from' and 'value', got 'a'"),
            (text_pair("q", "a", "b") | {"chosen": ROW["conversations"][0]}, "'chosen' must be a message of 'gpt'"),
            (text_pair("q", "a", "b") | {"conversations": "q"}, "'conversations' must be a list of messages, got str"),
            (text_pair(5, "a", "b"), r"conversations\[0\]: 'value' must be a string, got int"),
            (
                text_pair("q", "a", "b") | {"conversations": [{"from": "bot", "value": "q"}]},
                r"conversations\[0\]: unknown role 'bot'; known: gpt, human, observation, system",
            ),
            (
                text_pair("q", "a", "b") | {"conversations": [{"from": "function_call", "value": "{}"}]},
                r"conversations\[0\]: a 'function_call' message; calls of tools are not read",
            ),
        ],
    )
    def test_rows_that_are_wrong(self, lines: Lines, bad: Any, message: str) -> None:
        rows = list(scan_rankings(lines(ROW, bad, ROW)))
        assert [type(row.content) for row in rows] == [Ranking, InputError, Ranking]
        with pytest.raises(InputError, match=f"^pairs.jsonl:2: .*{message}$"):
            list(read_rankings(lines(ROW, bad)))

    def test_other_columns_only_when_told(self, lines: Lines) -> None:
        assert len(list(read_rankings(lines(text_pair("q", "a", "b", score=1)), ignore=["score"]))) == 1


class TestDatasetInfo:
    def test_columns_and_tags(self, lines: Lines, tmp_path: Path) -> None:
        columns = {"messages": "talk", "chosen": "good", "rejected": "bad", "images": "pics", "system": "sys"}
        describe(
            tmp_path,
            other={"file_name": "other.json"},
            mine={
                "file_name": "pairs.json",
                "formatting": "sharegpt",
                "ranking": True,
                "columns": columns,
                "tags": OPENAI,
            },
        )
        row = {
            "talk": [{"role": "user", "content": "<image>q"}],
            "good": {"role": "assistant", "content": "a"},
            "bad": {"role": "assistant", "content": "b"},
            "pics": "1.png",
            "sys": "Be kind.",
            "not named": 5,
        }
        rows = list(scan_rankings(lines(json.dumps([row]), name="pairs.json")))
        assert rows[0].format == "llamafactory"
        [ranking] = read_rankings("pairs.json")
        assert [message.role for message in ranking.group.messages] == ["system", "user"]
        assert sources(ranking) == ["1.png"]

    def test_pictures_start_where_the_description_is(self, lines: Lines, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        entry = {"file_name": "sub/a.jsonl", "formatting": "sharegpt", "ranking": True}
        describe(tmp_path, mine=entry | {"columns": COLUMNS | {"images": "images"}})
        path = lines(text_pair("<image>", "a", "b", images=["1.png"]), name="sub/a.jsonl")
        assert sources(next(read_rankings(path))) == ["sub/../1.png"]
        assert sources(next(read_rankings(path, media_dir="pics"))) == ["pics/1.png"]

    def test_a_folder_of_files(self, lines: Lines, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        describe(tmp_path, mine={"file_name": "sub", "formatting": "sharegpt", "ranking": True, "columns": COLUMNS})
        path = lines(text_pair("q", "a", "b", score=5), name="sub/a.jsonl")
        assert len(list(read_rankings(path))) == 1  # the score is not named, so it is passed over

    def test_columns_that_are_not_named_are_not_there(self, lines: Lines, tmp_path: Path) -> None:
        describe(tmp_path, mine={"file_name": "a.jsonl", "formatting": "sharegpt", "ranking": True, "columns": COLUMNS})
        path = lines(text_pair("<image>q", "a", "b", images=["1.png"]), name="a.jsonl")
        with pytest.raises(InputError, match=r"^a.jsonl:1: chosen side: 0 in 'images' but 1 <image>"):
            list(read_rankings(path))

    def test_alpaca(self, lines: Lines, tmp_path: Path) -> None:
        columns = {"prompt": "question", "chosen": "chosen", "rejected": "rejected", "history": "before"}
        describe(tmp_path, mine={"file_name": "a.jsonl", "ranking": True, "columns": columns})
        row = {"question": "q", "chosen": "a", "rejected": "b", "before": [["x", "y"]]}
        [ranking] = read_rankings(lines(row, name="a.jsonl"))
        assert [(message.role, message.content) for message in ranking.group.messages] == [
            ("user", "x"),
            ("assistant", "y"),
            ("user", "q"),
        ]

    def test_alpaca_without_a_description(self, lines: Lines) -> None:
        row = {"instruction": "Add.", "input": "1 + 1<image>", "chosen": "2", "rejected": "3", "images": ["1.png"]}
        [ranking] = read_rankings(lines(row))
        assert ranking.group.messages[0].parts[0] == Text(text="Add.\n1 + 1")
        assert sources(ranking) == ["1.png"]

    def test_others_are_left_alone(self, lines: Lines, tmp_path: Path) -> None:
        describe(tmp_path, mine={"file_name": "a.jsonl"}, other=5)  # not of rankings
        assert len(list(read_rankings(lines(ROW, name="a.jsonl")))) == 1
        (tmp_path / "dataset_info.json").write_text('[{"dataset_path": "a.jsonl"}]')  # as ms-swift has it
        assert len(list(read_rankings(lines(ROW, name="a.jsonl")))) == 1

    @pytest.mark.parametrize(
        ("entries", "message"),
        [
            ({"x": {"formatting": "openai"}}, r"dataset_info.json: 'x': formatting 'openai' is not read; known: .*"),
            ({"x": {"columns": {"mesages": "a"}}}, r".*columns: unknown key 'mesages'; did you mean 'messages'\?"),
            ({"x": {"columns": {"messages": 5}}}, r".*'columns' must be an object of names"),
            ({"x": {"columns": {"chosen": "a"}, "formatting": "sharegpt"}}, r".*do not name 'messages'; .*"),
            ({"x": {}, "y": {}}, r"dataset_info.json: several entries for a.jsonl: 'x', 'y'; leave one of them"),
        ],
    )
    def test_descriptions_that_are_wrong(self, lines: Lines, tmp_path: Path, entries: Any, message: str) -> None:
        describe(
            tmp_path, **{name: {"file_name": "a.jsonl", "ranking": True} | entry for name, entry in entries.items()}
        )
        with pytest.raises(InputError, match=f"^{message}$"):
            read_rankings(lines(ROW, name="a.jsonl"))

    def test_a_broken_description(self, lines: Lines, tmp_path: Path) -> None:
        (tmp_path / "dataset_info.json").write_text("{")
        with pytest.raises(InputError, match=r"^dataset_info.json: cannot be read \("):
            read_rankings(lines(ROW))


class TestWriting:
    def test_a_row(self, lines: Lines) -> None:
        [ranking] = read_rankings(lines(ROW))
        write_rankings("out.jsonl", [ranking], "llamafactory")
        assert json.loads(Path("out.jsonl").read_text()) == ROW | {"id": "1"}

    @pytest.mark.parametrize(
        ("group", "message"),
        [
            (Group("q", ["a", "b", "c"]), "3 responses, but llamafactory holds pairs; write it as rankings"),
            (Group([], ["a", "b"]), "the turns are none, but llamafactory wants them to alternate"),
            (
                Group([Message("user", "q"), Message("assistant", "a")], ["a", "b"]),
                "the turns are user, assistant, but llamafactory wants them to alternate",
            ),
            (
                Group("q", [[Message("assistant", "a"), Message("assistant", "a")], "b"]),
                "a response of several messages, but llamafactory holds one answer",
            ),
            (
                Group("q", [[Image(source="1.png")], [Image(source="2.png")]]),
                "each side shows other pictures, but llamafactory has one list for both; use ms-swift",
            ),
            (Group("<image>", ["a", "b"]), "the text holds <image>, which llamafactory reads as image; reword it"),
            (
                Group([Message("user", (Text(text="<ima"), Text(text="ge>")))], ["a", "b"]),
                "pieces of text meet in a mark, which llamafactory would read as media; reword it",
            ),
            (
                Group([Message("user", (Image(source="1", max_pixels=9),))], ["a", "b"]),
                "a picture says max_pixels, which llamafactory has no place for",
            ),
            (
                Group([Message("user", (Image(source=b"x"),))], ["a", "b"]),
                "a picture in memory, which llamafactory reads from files or tables; extract it, or write .parquet",
            ),
            (
                Group([Message("user", (Video(source=b"x"),))], ["a", "b"]),
                "a video in memory, which llamafactory reads from a file; extract it",
            ),
        ],
    )
    def test_what_has_no_place(self, tmp_path: Path, group: Group, message: str) -> None:
        ranks = tuple(range(len(group)))
        with pytest.raises(UnsupportedError, match=f"^group None: {message}$"):
            write_rankings(tmp_path / "a.jsonl", [Ranking(group=group, ranks=ranks)], "llamafactory")
