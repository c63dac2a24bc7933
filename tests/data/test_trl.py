"""Comparisons in TRL's form: the prompt, whether said or implied, the pictures, and the margin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlreward.data.groups import read_groups
from vlreward.data.parts import iter_parts
from vlreward.data.rankings import read_rankings
from vlreward.errors import InputError
from vlreward.types import Group, Image, Message, Ranking, Text

Lines = Callable[..., Path]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def says(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


Q, A, B = user("q"), says("a"), says("b")
SAME = [
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"prompt": [Q], "chosen": [A], "rejected": [B]},
    {"prompt": [Q], "chosen": "a", "rejected": [B]},
    {"prompt": "q", "chosen": [A], "rejected": [B]},
    {"chosen": [Q, A], "rejected": [Q, B]},
    # The question once more as text, beside whole conversations.
    {"prompt": "what was asked", "chosen": [Q, A], "rejected": [Q, B]},
]


class TestPrompts:
    @pytest.mark.parametrize("row", SAME)
    def test_forms_of_one_comparison(self, lines: Lines, row: dict[str, Any]) -> None:
        group = Group("q", ["a", "b"], id="1")
        assert list(read_rankings(lines(row))) == [Ranking(group=group, ranks=(0, 1))]
        assert list(read_groups(lines(row))) == [group]

    def test_what_else_a_row_says(self, lines: Lines) -> None:
        [ranking] = read_rankings(lines(SAME[0] | {"id": 5, "margin": 2, "task": "chat", "images": []}))
        assert (ranking.group.id, ranking.margin, ranking.group.task) == ("5", 2.0, "chat")

    @pytest.mark.parametrize(
        ("chosen", "rejected", "prompt_length"),
        [
            ([Q, A, user("r"), A], [Q, A, user("r"), B], 3),
            ([Q, A], [Q, A], 1),
            ([Q, A], [Q, A, user("r"), B], 1),
            ([Q, A, user("r"), A], [Q, B, user("r"), B], 1),
            ([Q, A], [user("other"), B], 0),
            ([A], [B], 0),
        ],
    )
    def test_the_prompt_is_what_both_begin_with(
        self, lines: Lines, chosen: Any, rejected: Any, prompt_length: int
    ) -> None:
        [ranking] = read_rankings(lines({"chosen": chosen, "rejected": rejected}))
        messages = [(message.role, message.content) for message in ranking.group.messages]
        assert messages == [(item["role"], item["content"]) for item in chosen[:prompt_length]]
        conversations = [list(one) for one in ranking.group.conversations()]
        assert [len(one) for one in conversations] == [len(chosen), len(rejected)]

    def test_tables_leave_nulls_in_messages(self, lines: Lines) -> None:
        path = lines(name="pairs.parquet")
        question = [{"type": "image", "image": "a.png"}, {"type": "text", "text": "q"}]
        rows = [{"prompt": None, "chosen": [user(question), says([])], "rejected": [user(question), says([])]}] * 2
        rows[0]["chosen"][1]["content"] = [{"type": "text", "text": "a"}]
        pq.write_table(pa.Table.from_pylist(rows), path)
        for ranking in read_rankings(path):
            assert [type(part) for part in ranking.group.messages[0].parts] == [Image, Text]


class TestImages:
    def test_they_go_before_the_first_question(self, lines: Lines) -> None:
        system = {"role": "system", "content": "s"}
        row = {"prompt": [system, Q, A, user("r")], "chosen": "a", "rejected": "b", "images": ["1.png", "2.png"]}
        [ranking] = read_rankings(lines(row))
        assert [len(message.parts) for message in ranking.group.messages] == [1, 3, 1, 1]
        first, second, text = ranking.group.messages[1].parts
        assert (first.source, second.source, text) == ("1.png", "2.png", Text(text="q"))  # type: ignore[union-attr]
        assert ranking.group.messages[3] == Message("user", "r")

    @pytest.mark.parametrize("form", SAME)
    def test_one_image_and_every_form(self, lines: Lines, form: dict[str, Any]) -> None:
        for images in ({"image": "1.png"}, {"images": ["1.png"]}):
            [ranking] = read_rankings(lines(form | images))
            part, text = ranking.group.messages[0].parts
            assert isinstance(part, Image)
            assert (part.source, text) == ("1.png", Text(text="q"))

    def test_parts_that_wait_for_them(self, lines: Lines) -> None:
        question = user([{"type": "text", "text": "q"}, {"type": "image"}])
        row = {"chosen": [question, says([{"type": "image"}])], "rejected": [question, B], "images": ["1", "2"]}
        [ranking] = read_rankings(lines(row))
        assert [part.source for part in iter_parts(ranking.group) if isinstance(part, Image)] == ["1", "2"]

    def test_a_question_of_parts_without_images(self, lines: Lines) -> None:
        row = {"prompt": [user([{"type": "text", "text": "q"}])], "chosen": "a", "rejected": "b", "image": "1"}
        [ranking] = read_rankings(lines(row))
        assert [type(part) for part in ranking.group.messages[0].parts] == [Image, Text]

    def test_paths_start_from_the_file(self, lines: Lines, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        [group] = read_groups(lines(SAME[0] | {"image": "1.png"}, name="sub/pairs.jsonl"))
        assert next(iter_parts(group)).source == "sub/1.png"  # type: ignore[union-attr]


class TestErrors:
    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"prompt": "q", "chosen": "a"}, "no 'rejected'; a comparison needs 'chosen' and 'rejected'"),
            ({"prompt": "q", "rejected": "a"}, "no 'chosen'; a comparison needs 'chosen' and 'rejected'"),
            ({"chosen": "a", "rejected": "b"}, "no 'prompt'; only lists of messages show where the prompt ends, .*"),
            ({"prompt": [Q], "chosen": [Q, A], "rejected": [Q, B]}, "'chosen' begins with the whole prompt; drop .*"),
            (SAME[0] | {"margin": "2"}, "'margin' must be a number, got '2'"),
            (SAME[0] | {"margin": True}, "'margin' must be a number, got True"),
            (SAME[0] | {"margins": 2}, r"unknown key 'margins'; did you mean 'margin'\?"),
            (SAME[0] | {"image": "1", "images": ["1"]}, "both 'image' and 'images'; give one of them"),
            (SAME[0] | {"images": "1"}, "'images' must be a list, got str"),
            (SAME[0] | {"images": True}, "'images' must be a list, got bool"),
            (
                {"chosen": [A], "rejected": [B], "image": "1"},
                "1 images, but the prompt has no user message to hold them",
            ),
            (
                {"prompt": [user([{"type": "image"}])], "chosen": "a", "rejected": "b", "images": ["1", "2"]},
                "2 images but 1 image part without a source; drop images or add image parts",
            ),
            (
                {"prompt": [user([{"type": "image", "image": "0"}])], "chosen": "a", "rejected": "b", "image": "1"},
                "1 image but 0 image parts without a source; drop images or add image parts",
            ),
            ({"chosen": [], "rejected": []}, r"responses\[0\]: expected text, a list of parts or a list .* got \[\]"),
            ({"chosen": [Q], "rejected": [Q]}, r"responses\[0\]: a response must end in an assistant message, .*"),
            ({"messages": "q", "responses": ["a"]}, "a group says no ranking; a comparison needs 'chosen' and .*"),
        ],
    )
    def test_a_row_that_is_no_comparison(self, lines: Lines, row: Any, message: str) -> None:
        rankings = read_rankings(lines(SAME[0], row))
        next(rankings)
        with pytest.raises(InputError, match=f"^pairs.jsonl:2: {message}$"):
            next(rankings)

    def test_other_columns_only_when_told(self, lines: Lines) -> None:
        path = lines(SAME[0] | {"score_chosen": 5})
        with pytest.raises(InputError, match=r"^pairs.jsonl:1: unknown key 'score_chosen'; did you mean 'chosen'"):
            list(read_rankings(path))
        assert len(list(read_rankings(path, ignore=["score_chosen"]))) == 1
        assert len(list(read_groups(path, ignore=["score_chosen"]))) == 1


def test_rows_are_not_changed(lines: Lines) -> None:
    row = SAME[4] | {"image": "1.png"}
    before = json.dumps(row)
    list(read_rankings(lines(row)))
    assert json.dumps(row) == before
