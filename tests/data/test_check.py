"""What is counted in preference data, and how pictures and questions are recognised again."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from vlreward.data.check import DataCheck, Spread, check_rankings
from vlreward.data.content import (
    Looker,
    conversation_digest,
    conversation_digests,
    has_equal_answers,
    question_digests,
)
from vlreward.data.limits import MediaLimits
from vlreward.data.overlap import Benchmark, Overlap
from vlreward.data.rankings import scan_rankings
from vlreward.errors import InputError
from vlreward.types import Group, Image, Message, Text, Video

Lines = Callable[..., Path]


def check(
    *paths: Path, against: tuple[Path | str, ...] = (), looker: Looker | None = None, most: int = 10
) -> DataCheck:
    looker = looker or Looker()
    return check_rankings(
        ((str(path), scan_rankings(path)) for path in paths),
        looker=looker,
        against=[Benchmark(path, looker) for path in against],
        most_problems=most,
    )


def pair(question: str = "q", chosen: str = "a", rejected: str = "b", **rest: Any) -> dict[str, Any]:
    return {"prompt": question, "chosen": chosen, "rejected": rejected} | rest


@pytest.fixture
def pictures(lines: Lines, photo: PILImage.Image) -> None:
    """One picture in two file formats, a second one, and one that is broken."""
    lines(name="unused")
    photo.save("a.png")
    photo.save("same.bmp")
    photo.rotate(180).save("b.png")
    Path("broken.png").write_bytes(b"no picture")


class TestCounts:
    def test_rows(self, lines: Lines) -> None:
        ranked = lines({"messages": "q", "responses": ["a", "b", "c"], "ranks": [0, 0, 0]}, name="ranked.jsonl")
        found = check(lines(pair(), "nonsense", pair("r"), {"prompt": "q"}), ranked)
        assert (found.rows, found.rankings, found.errors, found.tied) == (5, 3, 2, 1)
        assert found.files == ["pairs.jsonl", "ranked.jsonl"]
        assert found.formats == ["trl", "rankings"]
        assert found.responses == {2: 2, 3: 1}
        assert [problem.partition(": ")[0] for problem in found.problems] == ["pairs.jsonl:2", "pairs.jsonl:4"]
        assert check(Path("pairs.jsonl"), most=1).problems == found.problems[:1]

    def test_what_says_no_preference(self, lines: Lines) -> None:
        turn = {"from": "human", "value": "Question: [q]\nResponse 1: [a]\nResponse 2: [b]"}
        verdicts = ("The better response: [2]", "Two responses are equally good.", "Well.")
        rows = [{"conversations": [turn, {"from": "gpt", "value": verdict}]} for verdict in verdicts]
        found = check(lines(*rows))
        assert (found.rows, found.rankings, found.errors) == (3, 1, 0)
        assert found.dropped == {"tie": 1, "malformed verdict": 1}

    def test_prompts(self, lines: Lines) -> None:
        turns = [{"role": role, "content": "x"} for role in ("system", "user", "assistant", "user")]
        found = check(lines(pair(task="chat"), pair("r", margin=1, task="chat"), pair() | {"prompt": turns}))
        assert (found.several_turns, found.with_system, found.with_margin, found.tasks) == (1, 1, 1, {"chat": 2})

    def test_tasks_without_end(self, lines: Lines) -> None:
        found = check(lines(*(pair(str(i), task=str(i)) for i in range(200)), pair(task="5")))
        assert len(found.tasks) == 100
        assert found.tasks["5"] == 2

    def test_lengths(self, lines: Lines) -> None:
        found = check(lines(*(pair("q" * i, "a" * i, "b" * 2) for i in range(1, 101))))
        assert found.prompt_length == Spread(median=50.5, p95=95, most=100, mean=50.5)
        assert found.better_length == found.prompt_length
        assert found.worse_length == Spread(median=2, p95=2, most=2, mean=2)
        bias = found.length_bias
        assert bias is not None
        assert (bias.comparisons, bias.equal_length, bias.longer_better) == (99, 1, pytest.approx(98 / 99))

    def test_nothing(self, lines: Lines) -> None:
        found = check(lines("nonsense"))
        assert (found.rankings, found.prompt_length, found.picture_pixels) == (0, None, None)
        with pytest.raises(InputError, match=r"^no files to check$"):
            check()
        with pytest.raises(InputError, match=r"^gone.jsonl: no such file$"):
            check(Path("gone.jsonl"))

    def test_plain_values(self, lines: Lines) -> None:
        lines(pair(), name="bench.jsonl")
        values = check(lines(pair()), against=("bench.jsonl",)).to_dict()
        assert json.loads(json.dumps(values)) == values | {"responses": {"2": 1}}


class TestRepetitions:
    def test_exact_duplicates(self, lines: Lines) -> None:
        turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
        other = [turns[0], {"role": "assistant", "content": "b"}]
        ranked = {"messages": "q", "responses": ["b", "a"], "ranks": [1, 0]}
        lines(ranked, name="ranked.jsonl")
        found = check(
            lines(pair(), pair("Q"), pair(chosen="a "), {"chosen": turns, "rejected": other}), Path("ranked.jsonl")
        )
        assert (found.duplicates, found.contradictions) == (2, 0)
        assert found.repeated == [
            "pairs.jsonl:4: says what pairs.jsonl:1 says",
            "ranked.jsonl:1: says what pairs.jsonl:1 says",
        ]

    def test_contradictions(self, lines: Lines) -> None:
        found = check(lines(pair(), pair(chosen="b", rejected="a"), pair()))
        assert (found.duplicates, found.contradictions) == (1, 1)
        assert found.repeated[0] == "pairs.jsonl:2: ranks otherwise what pairs.jsonl:1 ranks"

    def test_chosen_equal_to_rejected_in_text_and_pictures(self, lines: Lines, pictures: None) -> None:
        def edit(good: str, bad: str) -> dict[str, Any]:
            sides = ([{"type": "image", "image": name}] for name in (good, bad))
            chosen, rejected = ([{"role": "assistant", "content": side}] for side in sides)
            return {"prompt": [{"role": "user", "content": "Edit."}], "chosen": chosen, "rejected": rejected}

        found = check(lines(pair(chosen="b"), edit("a.png", "same.bmp"), edit("a.png", "b.png"), pair()))
        assert found.equal_answers == 2
        assert found.repeated == [f"pairs.jsonl:{i}: a better and a worse response are the same" for i in (1, 2)]

    def test_ties_may_be_equal(self, lines: Lines) -> None:
        assert check(lines({"messages": "q", "responses": ["a", "a"], "ranks": [0, 0]})).equal_answers == 0


class TestPictures:
    def test_counts(self, lines: Lines, pictures: None) -> None:
        ask = {"type": "text", "text": "q"}
        swift = {"messages": [{"role": "user", "content": "<image>"}, {"role": "assistant", "content": "a"}]}
        swift |= {"rejected_response": "b", "images": ["a.png"], "rejected_images": ["b.png"]}
        frames = {"role": "user", "content": [{"type": "video", "video": ["a.png", "b.png"]}, ask]}
        lines(swift, name="swift.jsonl")
        found = check(
            lines(pair(image="a.png"), pair(image="same.bmp"), pair() | {"prompt": [frames]}),
            Path("swift.jsonl"),
        )
        assert (found.with_pictures, found.with_videos, found.errors) == (3, 1, 0)
        assert (found.with_pictures_in_answers, found.different_pictures) == (1, 1)
        assert (found.pictures, found.distinct_pictures) == (5, 3)
        assert found.picture_pixels == Spread(median=24, p95=24, most=24, mean=24)
        assert found.duplicates == 1  # the same picture in another file

    def test_pictures_that_cannot_be_used_are_errors_of_their_rows(self, lines: Lines, pictures: None) -> None:
        found = check(lines(pair(image="gone.png"), pair("r", image="broken.png"), pair("s", image="gone.png")))
        assert (found.rankings, found.errors) == (3, 3)
        assert found.problems[0] == "pairs.jsonl:1: image: gone.png: no such file"
        assert found.problems[1].startswith("pairs.jsonl:2: image: broken.png: not a picture; ")
        assert found.problems[2] == "pairs.jsonl:3: image: gone.png: no such file"

    def test_pictures_are_not_opened_unless_wanted(self, lines: Lines, pictures: None) -> None:
        path = lines(pair(image="gone.png"), pair(image="a.png"), pair(image="./a.png"), pair(image="same.bmp"))
        found = check(path, looker=Looker(decode=False))
        assert (found.errors, found.distinct_pictures, found.duplicates, found.picture_pixels) == (0, 3, 1, None)

    def test_addresses_are_not_fetched_unless_allowed(self, lines: Lines) -> None:
        path = lines(pair(image="http://127.0.0.1:9/a.png"))
        assert "URLs are not fetched unless allowed" in check(path).problems[0]
        allowed = check(path, looker=Looker(limits=MediaLimits(allow_urls=True)))
        assert "cannot be fetched" in allowed.problems[0]


class TestContent:
    def test_a_picture_is_what_it_shows(self, pictures: None, photo: PILImage.Image) -> None:
        looker = Looker()
        buffer = io.BytesIO()
        photo.save(buffer, "WEBP", lossless=True)
        same = [Image(source=source) for source in ("a.png", "same.bmp", buffer.getvalue(), photo)]
        assert len({looker.look(part).digest for part in same}) == 1
        assert looker.look(Image(source="b.png")).digest != looker.look(same[0]).digest
        assert looker.look(Image(source=photo.resize((4, 6)))).digest != looker.look(same[0]).digest

    def test_videos(self, pictures: None) -> None:
        looker = Looker()
        Path("v.mp4").write_bytes(b"film")
        Path("w.mp4").write_bytes(b"film")
        digests = [looker.look(Video(source=source)).digest for source in ("v.mp4", "w.mp4", b"film")]
        assert digests[0] == digests[1]
        assert (
            looker.look(Video(source=("a.png", "b.png"))).digest
            == looker.look(Video(source=("same.bmp", "b.png"))).digest
        )
        assert looker.look(Video(source=())).problem == "video: no frames"
        assert looker.look(Video(source="gone.mp4")).problem == "video: gone.mp4: no such file"
        assert looker.look(Video(source=("a.png", "gone.png"))).problem == "image: gone.png: no such file"

    def test_it_forgets(self, pictures: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vlreward.data.content._REMEMBERED", 3)
        looker = Looker(decode=False)
        for i in range(10):
            looker.look(Image(source=f"{i}.png"))
        assert len(looker._remembered) == 3

    def test_conversations_are_told_apart(self) -> None:
        def digest(*messages: tuple[str, str]) -> int:
            return conversation_digest([Message(role, text) for role, text in messages], [])

        different = [
            digest(("user", "a"), ("assistant", "b")),
            digest(("user", "ab"), ("assistant", "")),
            digest(("user", "a"), ("user", "b")),
            digest(("user", "a")),
            digest(("user", "a"), ("assistant", "b"), ("assistant", "")),
        ]
        assert len(set(different)) == len(different)
        pieces = [Message("user", (Text(text="a"), Text(text="b")))]
        assert conversation_digest(pieces, []) == digest(("user", "ab"))

    def test_equal_answers(self, pictures: None) -> None:
        question = [Message("user", (Image(source="a.png"), Text(text="q")))]
        group = Group(question, ["a", "b", "a", [Text(text="a")], [Image(source="a.png")], [Image(source="same.bmp")]])
        digests = conversation_digests(group, Looker())
        assert digests[0] == digests[2] == digests[3]
        assert digests[4] == digests[5]
        assert len(set(digests)) == 3
        assert has_equal_answers([0, 1, 1, 0, 2, 2], digests)
        assert not has_equal_answers([0, 1, 0, 0, 2, 2], digests)

    def test_questions(self) -> None:
        def asked(*texts: str) -> tuple[int, ...]:
            return question_digests([Message("user", text) for text in texts])

        assert asked("<image>\nWhat  is ﬁne?") == asked(" what IS fine? ")
        assert asked("What is it?") != asked("What is that?")
        assert asked("", "<image>") == ()
        assert asked("x", "What is it?")[1:] == asked("What is it?")
        assert len(asked("x", "y")) == 2


class TestOverlap:
    def overlap(self, path: Path, bench: Path) -> Overlap:
        [found] = check(path, against=(bench,)).overlaps
        return found

    def test_by_question_and_by_picture(self, lines: Lines, pictures: None) -> None:
        bench = lines(
            {"id": "1", "query": "What is it?", "image": "a.png", "response": ["x", "y"], "human_ranking": [0, 1]},
            {"id": "1", "query": "How many?", "image": "b.png", "response": ["x", "y"], "human_ranking": [1, 0]},
            {"id": "3", "query": "Who?", "image": "gone.png", "response": ["x", "y"], "human_ranking": [1, 0]},
            name="bench.json",
        )
        path = lines(
            pair("what is  it?", image="same.bmp"),
            pair("How many?", image="a.png"),
            pair("How many?"),
            pair("Else?", image="b.png"),
            pair("Else?"),
        )
        found = self.overlap(path, bench)
        assert (found.items, found.pictures_not_there) == (3, 1)
        assert (found.questions, found.pictures, found.both, found.items_hit) == (3, 3, 1, 2)
        assert found.first == [
            "pairs.jsonl:1: the question and picture of bench.json:1",
            "pairs.jsonl:2: the question of bench.json:2",
            "pairs.jsonl:3: the question of bench.json:2",
            "pairs.jsonl:4: the picture of bench.json:2",
        ]

    @pytest.mark.parametrize(
        "row",
        [
            {"messages": "What is it?", "responses": ["a", "b"]},
            {"question": "What is it?", "chosen": "a", "rejected": "b"},
            {"messages": [{"role": "user", "content": "What is it?"}], "responses": ["a"], "ranks": [0]},
            {"prompt": "What is it?", "chosen": "a", "rejected": "b", "chosen_reason": "c"},
            {"Text": "What is it?", "Output1": "a", "Output2": "b", "Better": "Output1"},
            {"input": "What is it?", "output_1": "a", "output_2": "b", "label": 1},
        ],
    )
    def test_forms_of_benchmarks(self, lines: Lines, row: Any) -> None:
        lines(row, row, name="bench.jsonl")
        found = self.overlap(lines(pair("what is it?"), pair("r")), Path("bench.jsonl"))
        assert (found.items, found.questions, found.items_hit) == (2, 1, 2)

    def test_no_question(self, lines: Lines) -> None:
        bench = lines({"a": 1}, name="bench.jsonl")
        with pytest.raises(InputError, match=r"^bench.jsonl:1: "):
            self.overlap(lines(pair()), bench)

    @pytest.mark.shared
    def test_real_benchmarks(self, lines: Lines, shared: Path) -> None:
        folder = shared / "data" / "benchmarks"
        names = ["vl_rewardbench_without_images.json", "mm_rlhf_rewardbench_without_media.jsonl", "llmbar-natural.json"]
        first = [json.loads((folder / names[0]).read_text())[0]["query"], "Never asked?"]
        looker = Looker(decode=False)
        found = check(lines(*(pair(query) for query in first)), against=tuple(folder / n for n in names), looker=looker)
        assert [overlap.items for overlap in found.overlaps] == [1250, 170, 100]
        assert [overlap.questions for overlap in found.overlaps] == [1, 0, 0]


def test_memory_holds_a_few_hundred_bytes_for_each_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlreward.data.content._REMEMBERED", 10)
    path, counts, peaks = tmp_path / "a.jsonl", (500, 2_500), []  # tracing is slow
    with path.open("w") as file:
        for i in range(counts[1]):
            # Absolute, as pathlib keeps a table of the parts of all paths that it joins.
            row = pair(f"question {i}" + "q" * 1000, "a" * 500, "b" * 500, image=f"/{i}.png", id=f"row {i}")
            file.write(json.dumps(row) + "\n")
    assert path.stat().st_size > 5_000_000
    for count in counts:
        tracemalloc.start()
        found = check_rankings([("a.jsonl", islice(scan_rankings(path), count))], looker=Looker(decode=False))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.rankings == count
    assert peaks[1] - peaks[0] < 600 * (counts[1] - counts[0])
