"""Preferences through every format: nothing is lost, or it is said what has no place."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data import preferences
from tests.data.preferences import canonical
from vlreward.data.rankings import FORMATS, read_rankings, scan_rankings, write_rankings
from vlreward.errors import ConfigError, InputError, UnsupportedError
from vlreward.types import Group, Image, Message, Ranking

Lines = Callable[..., Path]

NAMES = [format.name for format in FORMATS]
SUFFIXES = [".jsonl", ".parquet"]


def through(rankings: list[Ranking], path: Path, name: str) -> list[Ranking]:
    assert write_rankings(path, rankings, name) == len(rankings)
    return list(read_rankings(path, format=name))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(ranking=preferences.rankings)
def test_what_a_format_holds_comes_back(name: str, suffix: str, ranking: Ranking) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        try:
            [again] = through([ranking], path, name)
        except UnsupportedError as error:
            refusal = str(error)
        else:
            assert canonical(again) == canonical(ranking)
            return
        assert refusal.startswith("group None: ")
        assert "\n" not in refusal
        assert not path.exists()


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=8)
@given(data=st.data())
def test_any_format_into_any_other_and_back(first: str, suffix: str, data: st.DataObject) -> None:
    # LLaMA-Factory reads pictures in JSON lines from files only.
    stored = preferences.images if suffix == ".parquet" else preferences.path.map(lambda path: Image(source=path))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        for second in NAMES:
            picture = st.none() if "skywork-preference" in (first, second) else st.none() | stored
            batch = data.draw(st.lists(preferences.pairs(picture), min_size=1, max_size=3))
            there = through(through(batch, path, first), path, second)
            assert [canonical(ranking) for ranking in there] == [canonical(ranking) for ranking in batch]
            back = through(there, path, first)
            assert [canonical(ranking) for ranking in back] == [canonical(ranking) for ranking in batch]
            assert [ranking.group.id for ranking in back] == [str(i + 1) for i in range(len(batch))]


USER, GOOD, BAD = (
    {"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"), ("assistant", "b"))
)
ROWS: dict[str, dict[str, Any]] = {
    "trl": {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    "llamafactory": {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": {"from": "gpt", "value": "b"},
    },
    "ms-swift": {"messages": [USER, GOOD], "rejected_response": "b"},
    "rlaif-v": {"question": "q", "chosen": "a", "rejected": "b"},
    "llava-critic": {
        "conversations": [
            {"from": "human", "value": "Question: [q]\nResponse 1: [a]\nResponse 2: [b]"},
            {"from": "gpt", "value": "The better response: [1]"},
        ]
    },
    "skywork-preference": {"chosen": [USER, GOOD], "rejected": [USER, BAD], "source": None},
    "rankings": {"messages": [USER], "responses": ["a", "b"], "ranks": [0, 1]},
}


class TestRecognition:
    @pytest.mark.parametrize("name", NAMES)
    def test_the_first_row_says_the_format(self, lines: Lines, name: str) -> None:
        row = ROWS[name] | ({"source": "x"} if name == "skywork-preference" else {})
        [found] = scan_rankings(lines(row))
        assert found.format == name
        assert isinstance(found.content, Ranking)
        assert canonical(found.content)[1:] == canonical(Ranking(group=Group("q", ["a", "b"]), ranks=(0, 1)))[1:]

    @pytest.mark.parametrize("name", NAMES)
    def test_each_row_is_of_one_format(self, name: str) -> None:
        keys = {key for key, value in ROWS[name].items() if value is not None} | (
            {"source"} if name == "skywork-preference" else set()
        )
        assert [format.name for format in FORMATS if format.matches(keys)] == [name]

    def test_of_none(self, lines: Lines) -> None:
        with pytest.raises(InputError, match=r"^pairs.jsonl:1: no preference data that is known; its keys are: a, b; "):
            list(read_rankings(lines({"a": 1, "b": 2, "c": None})))

    def test_of_several(self, lines: Lines) -> None:
        row = ROWS["ms-swift"] | ROWS["rlaif-v"]
        with pytest.raises(InputError, match=r"^pairs.jsonl:1: may be any of ms-swift, rlaif-v; say which\. "):
            list(read_rankings(lines(row)))

    def test_a_format_that_is_said(self, lines: Lines) -> None:
        [ranking] = read_rankings(lines(ROWS["skywork-preference"] | {"images": []}), format="trl", ignore=["source"])
        assert ranking.group == Group("q", ["a", "b"], id="1")
        with pytest.raises(ConfigError, match=r"^format: unknown key 'tlr'; did you mean 'trl'\?$"):
            read_rankings("none.jsonl", format="tlr")

    def test_going_on_behind_bad_rows(self, lines: Lines) -> None:
        rows = list(scan_rankings(lines("nonsense", ROWS["trl"], ROWS["rlaif-v"], ROWS["trl"])))
        assert [(row.format, row.number) for row in rows] == [(None, 1), ("trl", 2), ("trl", 3), ("trl", 4)]
        assert [type(row.content) for row in rows] == [InputError, Ranking, InputError, Ranking]

    def test_missing_files_are_said_at_once(self) -> None:
        with pytest.raises(InputError, match=r"^gone.jsonl: no such file$"):
            read_rankings("gone.jsonl")

    def test_where_paths_start(self, lines: Lines, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        path = lines(ROWS["rlaif-v"] | {"image": "1.png"}, name="sub/a.jsonl")
        for media_dir, expected in ((None, "sub/1.png"), ("pics", "pics/1.png")):
            [ranking] = read_rankings(path, media_dir=media_dir)
            assert ranking.group.messages[0].parts[0].source == expected  # type: ignore[union-attr]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just("<image>"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "type", "text", "image", "path"]), inner)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(data=st.data())
def test_a_row_is_a_ranking_or_says_what_is_wrong(name: str, data: st.DataObject) -> None:
    row = dict(ROWS[name])
    known = [
        *row,
        "images",
        "image",
        "videos",
        "margin",
        "task",
        "id",
        "system",
        "scores",
        "rejected_images",
        "history",
    ]
    for key in data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3)):
        row[key] = data.draw(values)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_text(json.dumps(row))
        [found] = scan_rankings(path, format=name)
        if isinstance(found.content, InputError):
            assert str(found.content).startswith(f"{path}:1: ")
            assert "\n" not in str(found.content)


class TestRanked:
    def row(self, **rest: Any) -> dict[str, Any]:
        return {"messages": "q", "responses": ["a", "b", "c"]} | rest

    @pytest.mark.parametrize(
        ("rest", "ranks"),
        [
            ({"ranks": [2, 0, 1]}, (2, 0, 1)),
            ({"ranks": [3, 1, 3]}, (2, 0, 2)),
            ({"ranks": [1.0, 2.0, 2.0]}, (0, 1, 1)),
            ({"scores": [0.5, -1, 7]}, (1, 2, 0)),
            ({"scores": [2, 2, 1]}, (0, 0, 1)),
        ],
    )
    def test_ranks_and_scores(self, lines: Lines, rest: Any, ranks: tuple[int, ...]) -> None:
        [ranking] = read_rankings(lines(self.row(**rest)))
        assert ranking.ranks == ranks

    def test_what_else_a_row_says(self, lines: Lines) -> None:
        row = {"id": "x", "messages": "q", "responses": ["a", "b"], "ranks": [1, 0], "margin": -2, "task": "chat"}
        [ranking] = read_rankings(lines(row))
        assert ranking == Ranking(group=Group("q", ["a", "b"], id="x", task="chat"), ranks=(1, 0), margin=-2.0)

    @pytest.mark.parametrize(
        ("rest", "message"),
        [
            ({"ranks": [0, 1]}, "'ranks' must be a list of 3 numbers, one per response, got 2 of them"),
            ({"ranks": "012"}, "'ranks' must be a list of 3 numbers, one per response, got str"),
            ({"ranks": [0, 1, 1.5]}, r"ranks\[2\] must be an integer, got 1.5"),
            ({"ranks": [0, 1, True]}, r"ranks\[2\] must be an integer, got True"),
            ({"scores": [0, 1, "2"]}, r"scores\[2\] must be a finite number, got '2'"),
            ({"scores": [0, 1, 10**400]}, r"scores\[2\] must be a finite number, got 1000.*"),
            ({"ranks": [0, 1, 2], "scores": [2, 1, 0]}, "both of 'ranks' and 'scores'; give one of them"),
            ({}, "neither of 'ranks' and 'scores'; give one of them"),
            ({"ranks": [0, 1, 2], "margin": "2"}, "'margin' must be a number, got '2'"),
            ({"ranks": [0, 1, 2], "id": "x"}, "id 'x' is already that of pairs.jsonl:1; ids must differ"),
        ],
    )
    def test_rows_that_are_wrong(self, lines: Lines, rest: Any, message: str) -> None:
        with pytest.raises(InputError, match=f"^pairs.jsonl:2: {message}$"):
            list(read_rankings(lines(self.row(ranks=[0, 1, 2], id="x"), self.row(**rest))))

    def test_margins_speak_of_the_first(self, tmp_path: Path) -> None:
        ranking = Ranking(group=Group("q", ["a", "b"]), ranks=(1, 0), margin=-2.0)
        write_rankings(tmp_path / "a.jsonl", [ranking], "trl")
        [again] = read_rankings(tmp_path / "a.jsonl")
        assert [response[0].content for response in again.group.responses] == ["b", "a"]
        assert again.margin == 2.0


class TestTables:
    """What a table of TRL's form cannot say, as its parts have two keys."""

    @pytest.mark.parametrize(
        ("group", "message"),
        [
            (Group([Message("user", (Image(source="1", min_pixels=4),))], ["a", "b"]), "a picture says min_pixels, .*"),
            (Group("q", [[Image(source="1")], "b"]), "a picture in an answer, which a table of trl .*; write .jsonl"),
        ],
    )
    def test_what_has_no_place(self, tmp_path: Path, group: Group, message: str) -> None:
        ranking = Ranking(group=group, ranks=(0, 1))
        with pytest.raises(UnsupportedError, match=f"^group None: {message}$"):
            write_rankings(tmp_path / "a.parquet", [ranking], "trl")
        assert canonical(through([ranking], tmp_path / "a.jsonl", "trl")[0]) == canonical(ranking)

    def test_a_value_that_no_column_holds(self, tmp_path: Path) -> None:
        group = Group([Message("user", (Image(source="1", min_pixels=2**70),))], ["a", "b"], id="x")
        with pytest.raises(InputError, match=r"^group 'x': cannot be written \("):
            write_rankings(tmp_path / "a.parquet", [Ranking(group=group, ranks=(0, 1))], "rankings")


@pytest.mark.parametrize("name", NAMES)
def test_memory_does_not_grow_with_the_file_but_for_ids(tmp_path: Path, name: str) -> None:
    count = 1_500  # tracing is slow
    row = {key: value for key, value in ROWS[name].items() if value is not None}
    text = json.dumps(row).replace('"a"', '"' + "a" * 2_000 + '"').replace("[a]", "[" + "a" * 2_000 + "]")
    (tmp_path / "a.jsonl").write_text(f"{text}\n" * count)
    assert (tmp_path / "a.jsonl").stat().st_size > 3_000_000
    for _ in read_rankings(tmp_path / "a.jsonl", format=name):
        break  # what is imported and compiled at the first row is not counted
    tracemalloc.start()
    assert sum(1 for _ in read_rankings(tmp_path / "a.jsonl", format=name)) == count
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300_000 + 200 * count
