"""RLAIF-V, LLaVA-Critic's pairs and Skywork's preferences, in the layouts in which they are published."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlreward.data.groups import read_groups, scan_groups
from vlreward.data.llava_critic import better_of, is_tie, take_apart
from vlreward.data.ranking_format import Dropped
from vlreward.data.rankings import read_rankings, scan_rankings, write_rankings
from vlreward.errors import InputError, UnsupportedError
from vlreward.types import Group, Image, Message, Ranking, Text

Lines = Callable[..., Path]

PICTURE = {"bytes": b"\x89PNG", "path": "cat.png"}


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


class TestRlaifV:
    ROW: ClassVar[dict[str, Any]] = {
        "ds_name": "RLAIF-V",
        "image": PICTURE,
        "question": "What is it?",
        "chosen": "A cat.",
        "rejected": "A dog.",
        "origin_dataset": "coco",
        "origin_split": '{"type": "question answering"}',
        "idx": "7",
        "image_path": "cat.png",
    }

    def test_a_row(self, tmp_path: Path) -> None:
        [ranking] = read_rankings(table(tmp_path / "a.parquet", [self.ROW]))
        image, text = ranking.group.messages[0].parts
        assert isinstance(image, Image)
        assert (image.source, text) == (b"\x89PNG", Text(text="What is it?"))
        assert ranking.group.responses == ((Message("assistant", "A cat."),), (Message("assistant", "A dog."),))
        assert (ranking.group.id, ranking.ranks) == ("7", (0, 1))

    def test_groups_for_scoring(self, tmp_path: Path) -> None:
        [group] = read_groups(table(tmp_path / "a.parquet", [self.ROW]))
        assert (group.id, len(group)) == ("7", 2)

    def test_an_index_may_come_twice(self, tmp_path: Path) -> None:
        rankings = read_rankings(table(tmp_path / "a.parquet", [self.ROW, self.ROW]))
        assert [ranking.group.id for ranking in rankings] == ["7", "7#2"]

    def test_a_picture_by_its_path(self, lines: Lines) -> None:
        [ranking] = read_rankings(lines(self.ROW | {"image": {"bytes": None, "path": "cat.png"}}))
        assert ranking.group.messages[0].parts[0].source == "cat.png"  # type: ignore[union-attr]

    def test_written_as_published(self, tmp_path: Path) -> None:
        rankings = list(read_rankings(table(tmp_path / "a.parquet", [self.ROW])))
        write_rankings(tmp_path / "b.parquet", rankings, "rlaif-v")
        [row] = pq.read_table(tmp_path / "b.parquet").to_pylist()
        kept = {key: self.ROW[key] for key in ("question", "chosen", "rejected", "idx")}
        assert row == kept | {"image": {"bytes": b"\x89PNG", "path": None}, "task": None, "margin": None}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"chosen": None}, "'chosen' must be a string, got NoneType"),
            ({"question": 5}, "'question' must be a string, got int"),
            ({"image": {"a": 1}}, r"image\[0\]: a source that is an object needs 'bytes' or 'path', got \['a'\]"),
            ({"quality": 1}, "unknown key 'quality'; .*"),
        ],
    )
    def test_rows_that_are_wrong(self, lines: Lines, change: Any, message: str) -> None:
        row = self.ROW | {"image": "cat.png"}
        with pytest.raises(InputError, match=f"^pairs.jsonl:2: {message}$"):
            list(read_rankings(lines(row, row | change)))

    @pytest.mark.parametrize(
        ("group", "message"),
        [
            (
                Group([Message("system", "s"), Message("user", "q")], ["a", "b"]),
                "rlaif-v holds one question, this prompt has other messages too",
            ),
            (
                Group([Message("user", (Text(text="q"), Image(source="1")))], ["a", "b"]),
                "rlaif-v holds one picture before the question; this prompt is not so",
            ),
            (
                Group([Message("user", (Image(source="1"), Image(source="2")))], ["a", "b"]),
                "rlaif-v holds one picture before the question; this prompt is not so",
            ),
            (
                Group("q", [[Image(source="1")], "b"]),
                "a picture or video in the assistant message, but rlaif-v holds text there",
            ),
            (
                Group("q", [[Message("tool", "t"), Message("assistant", "a")], "b"]),
                "a response of several messages, but rlaif-v holds one answer",
            ),
        ],
    )
    def test_what_has_no_place(self, tmp_path: Path, group: Group, message: str) -> None:
        with pytest.raises(UnsupportedError, match=f"^group None: {message}$"):
            write_rankings(tmp_path / "a.jsonl", [Ranking(group=group, ranks=(0, 1))], "rlaif-v")


def human(
    question: str = "What is it?",
    first: str = "A cat.",
    second: str = "A dog.",
    labels: tuple[str, str] = ("The first response", "The second response"),
    end: str = "ASSISTANT:\n",
) -> str:
    return f"<image>\nJudge these.\nQuestion: [{question}]\n{labels[0]}: [{first}]\n{labels[1]}: [{second}]\n{end}"


def critic(human: str, verdict: str, **rest: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": human}, {"from": "gpt", "value": verdict}]
    return {"id": "vlfeedback_1", "source": "vlfeedback", "conversations": turns, "image": "cat.png"} | rest


class TestLlavaCritic:
    @pytest.mark.parametrize(
        "labels",
        [("The first response", "The second response"), ("Response 1", "Response 2"), ("Response A", "Response B")],
    )
    def test_answers_are_taken_apart(self, lines: Lines, labels: tuple[str, str]) -> None:
        first, second = "A cat.\nIt [really] sleeps]", " [A dog"
        text = human("<image>\nWhat is it?", first, second, labels).removeprefix("<image>\n")
        rows = [critic(text, "The better response: [1]. Because."), critic(text, "The better response: [2].")]
        one, other = read_rankings(lines(*rows))
        image, question = one.group.messages[0].parts
        assert isinstance(image, Image)
        assert (image.source, question) == ("cat.png", Text(text="What is it?"))
        assert [response[0].content for response in one.group.responses] == [first, second]
        assert [response[0].content for response in other.group.responses] == [second, first]
        assert (one.group.id, other.group.id, one.group.task) == ("vlfeedback_1", "vlfeedback_1#2", "vlfeedback")
        assert one.ranks == other.ranks == (0, 1)

    def test_a_table(self, tmp_path: Path) -> None:
        row = critic(human(), "The better response: [1]", image=PICTURE)
        [ranking] = read_rankings(table(tmp_path / "a.parquet", [row]))
        assert ranking.group.messages[0].parts[0].source == b"\x89PNG"  # type: ignore[union-attr]

    @pytest.mark.parametrize(
        ("verdict", "better"),
        [
            ("The better response: [1]. Because the second …", 0),
            ("The better response: [2]\nThis is the better response because it is long.", 1),
            ("the better response: [First]", 0),
            ("The better response: [the second response].", 1),
            ("The better response: [Response 2]", 1),
            ("The better response: [A].", 0),
            ("The better response is [B].", 1),
            ("The better response is the first one.", 0),
            ("Both are equally good in style, but … The better response: [2].", 1),
            ("The better response: [1]. … So, the better response is 2.", 0),  # the form asked for counts
            ("The better response: [1] … The better response: [2]", None),
            ("The better response is a detailed one.", None),
            ("The better response: [3].", None),
            ("Two responses are equally good.", None),
            ("", None),
        ],
    )
    def test_verdicts(self, verdict: str, better: int | None) -> None:
        assert better_of(verdict) == better

    @pytest.mark.parametrize(
        ("verdict", "tie"),
        [
            ("Two responses are equally good. Because …", True),
            ("They are equally bad.", True),
            ("The better response: [tie]", True),
            ("The better response: [neither].", True),
            ("The better response: [3]. They are equally good.", False),
            ("No idea.", False),
        ],
    )
    def test_ties(self, verdict: str, tie: bool) -> None:
        assert is_tie(verdict) is tie

    @pytest.mark.parametrize(
        "text",
        [
            "Describe the picture.",
            "Question: [q]\nThe first response: [a]",
            "Question: [q]\nResponse 1: [a]\nThe second response: [b]",
            human(first="a]\nThe second response: [b"),
            human(second="b]\nThe second response: [c"),
            human(first="a]\nThe first response: [b"),
            human(labels=("Response 1", "Response 2"), first="x]\nResponse A: [y]\nResponse B: [z"),
            human(end="Say: The better response: [1]\nor: The better response: [2]\n"),
        ],
    )
    def test_answers_that_cannot_be_told_apart(self, text: str) -> None:
        assert take_apart(text) is None

    def test_words_behind_the_answers(self) -> None:
        found = take_apart(human(end="Say [1] or [2], and why.\nASSISTANT:"))
        assert found is not None
        assert found.answers == ("A cat.", "A dog.")

    def test_what_says_no_preference_is_counted_and_dropped(self, lines: Lines) -> None:
        path = lines(
            critic(human(), "Two responses are equally good."),
            critic(human(), "No idea."),
            critic("Describe the picture.", "The better response: [1]"),
            critic(human(), "The better response: [1]"),
            critic(human(), "Two responses are equally good."),
        )
        dropped: Counter[str] = Counter()
        assert len(list(read_rankings(path, dropped=dropped))) == 1
        assert dropped == {"tie": 2, "malformed verdict": 1, "answers not told apart": 1}
        contents = [type(row.content) for row in scan_rankings(path)]
        assert contents == [Dropped, Dropped, Dropped, Ranking, Dropped]

    def test_a_tie_is_still_a_group(self, lines: Lines) -> None:
        path = lines(critic(human(), "Two responses are equally good."), critic("Describe.", "Well."))
        tie, nothing = (row.content for row in scan_groups(path))
        assert isinstance(tie, Group)
        assert len(tie) == 2
        assert str(nothing) == "pairs.jsonl:2: no group can be made of it: answers not told apart"

    def test_none_left(self, lines: Lines) -> None:
        with pytest.raises(InputError, match=r"^pairs.jsonl: no rankings left; dropped: 1 malformed verdict$"):
            list(read_rankings(lines(critic(human(), "Well."))))

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (critic(human(), "x", image=None), "0 in 'image' but 1 <image> in the human turn"),
            (critic(human(), "x", image=["1", "2"]), "2 in 'image' but 1 <image> in the human turn"),
            (critic(human(), "x", source=5), "'source' must be a string, got 5"),
            (critic(human(), "x", conversations=[]), "'conversations' must be a human and a gpt turn"),
            (
                critic(human(), "x", conversations=[{"from": "gpt", "value": "a"}] * 2),
                "expected a turn from 'human' with a text as 'value', got .*",
            ),
            (critic(human(), "x", score=5), "unknown key 'score'; .*"),
        ],
    )
    def test_rows_that_are_wrong(self, lines: Lines, row: Any, message: str) -> None:
        with pytest.raises(InputError, match=f"^pairs.jsonl:2: {message}$"):
            list(read_rankings(lines(critic(human(), "The better response: [1]"), row)))

    def test_a_mark_in_an_answer_is_text(self, lines: Lines) -> None:
        [ranking] = read_rankings(lines(critic(human(first="use <image>"), "The better response: [1]")))
        assert ranking.group.responses[0][0].content == "use <image>"

    def test_the_better_answer_is_on_either_side(self, tmp_path: Path) -> None:
        rankings = [Ranking(group=Group(f"{i}?", ["good", "bad"]), ranks=(0, 1)) for i in range(200)]
        write_rankings(tmp_path / "a.jsonl", rankings, "llava-critic")
        rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
        firsts = sum(row["conversations"][1]["value"] == "The better response: [1]." for row in rows)
        assert 60 < firsts < 140  # 100 ± 5.6 standard deviations
        assert all(
            response[0].content == "good"
            for r in read_rankings(tmp_path / "a.jsonl")
            for response in r.group.responses[:1]
        )

    def test_what_could_not_be_taken_apart_again(self, tmp_path: Path) -> None:
        group = Group("q", ["a]\nThe second response: [", "b"])
        with pytest.raises(
            UnsupportedError, match=r"^group None: its texts hold brackets or marks in which llava-critic "
        ):
            write_rankings(tmp_path / "a.jsonl", [Ranking(group=group, ranks=(0, 1))], "llava-critic")


class TestSkywork:
    ROW: ClassVar[dict[str, Any]] = {
        "chosen": [{"content": "q", "role": "user"}, {"content": "a", "role": "assistant"}],
        "rejected": [{"content": "q", "role": "user"}, {"content": "b", "role": "assistant"}],
        "source": "magpie_ultra",
    }

    def test_a_row(self, tmp_path: Path) -> None:
        path = table(tmp_path / "a.parquet", [self.ROW])
        assert [row.format for row in scan_rankings(path)] == ["skywork-preference"]
        [ranking] = read_rankings(path)
        assert ranking.group == Group("q", ["a", "b"], id="1", task="magpie_ultra")

    def test_written_as_published(self, lines: Lines) -> None:
        write_rankings("b.jsonl", read_rankings(lines(self.ROW)), "skywork-preference")
        assert json.loads(Path("b.jsonl").read_text()) == self.ROW | {"id": "1"}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"chosen": "a"}, "'chosen' must be a list of messages, got str"),
            ({"rejected": None}, "'rejected' must be a list of messages, got NoneType"),
            ({"source": 5}, "'source' must be a string, got 5"),
            ({"prompt": "q"}, "unknown key 'prompt'; .*"),
            ({"chosen": []}, r"responses\[0\]: expected text, a list of parts or a list of messages, got \[\]"),
        ],
    )
    def test_rows_that_are_wrong(self, lines: Lines, change: Any, message: str) -> None:
        with pytest.raises(InputError, match=f"^pairs.jsonl:2: {message}$"):
            list(read_rankings(lines(self.ROW, self.ROW | change)))

    @pytest.mark.parametrize(
        ("group", "message"),
        [
            (Group([], ["a", "b"]), "no prompt, which skywork-preference shows by what both conversations begin with"),
            (
                Group([Message("user", (Image(source="1"),))], ["a", "b"]),
                "a picture or video in the user message, but skywork-preference holds text there",
            ),
        ],
    )
    def test_what_has_no_place(self, tmp_path: Path, group: Group, message: str) -> None:
        with pytest.raises(UnsupportedError, match=f"^group None: {message}$"):
            write_rankings(tmp_path / "a.jsonl", [Ranking(group=group, ranks=(0, 1))], "skywork-preference")
