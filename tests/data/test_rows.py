"""Reading rows: every kind of file, the place of each row, and memory that does not grow with the file."""

from __future__ import annotations

import gzip
import itertools
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlreward.data.groups import read_groups
from vlreward.data.rows import BadRow, Row, read_rows, scan_rows
from vlreward.errors import InputError

Lines = Callable[..., Path]


class TestKinds:
    @pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.ndjson", "pairs.json", "PAIRS.JSONL"])
    def test_json_lines(self, lines: Lines, name: str) -> None:
        rows = list(read_rows(lines({"a": 1}, "", {"a": "ü\u2028\x85"}, name=name)))
        assert rows == [
            Row(where=f"{name}:1", number=1, data={"a": 1}),
            Row(where=f"{name}:3", number=3, data={"a": "ü\u2028\x85"}),
        ]

    def test_a_byte_order_mark_and_windows_line_ends(self, lines: Lines) -> None:
        path = lines()
        path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}')
        assert [row.data for row in read_rows(path)] == [{"a": 1}, {"a": 2}]

    def test_line_breaks_inside_unicode_text(self, lines: Lines) -> None:
        path = lines()
        path.write_text('{"a": "one\u2028two\x85three"}\n{"a": 2}\n', encoding="utf-8")
        assert [row.number for row in read_rows(path)] == [1, 2]

    def test_compressed(self, lines: Lines) -> None:
        path = lines(name="pairs.jsonl.gz")
        path.write_bytes(gzip.compress(b'{"a": 1}\n{"a": 2}\n'))
        assert [row.where for row in read_rows(path)] == ["pairs.jsonl.gz:1", "pairs.jsonl.gz:2"]
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(InputError, match=r"^pairs.jsonl.gz: cannot be read \("):
            list(read_rows(path))

    def test_a_list(self, lines: Lines) -> None:
        rows = list(read_rows(lines(json.dumps([{"a": 1}, {"a": 2}], indent=1), name="pairs.json")))
        assert rows[1] == Row(where="pairs.json:row 2", number=2, data={"a": 2})

    def test_parquet(self, lines: Lines) -> None:
        path = lines(name="pairs.parquet")
        pq.write_table(pa.Table.from_pylist([{"a": i, "b": [{"c": None, "d": b"x"}]} for i in range(100)]), path)
        rows = list(read_rows(path))
        assert len(rows) == 100
        assert rows[40] == Row(where="pairs.parquet:row 41", number=41, data={"a": 40, "b": [{"c": None, "d": b"x"}]})


class TestErrors:
    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ('{"a": 1', "pairs.jsonl:2: invalid JSON at column 8: Expecting ',' delimiter"),
            ("{'a': 1}", "pairs.jsonl:2: invalid JSON at column 2: Expecting property name .*"),
            ('{"a": 1} {"a": 2}', "pairs.jsonl:2: invalid JSON at column 10: Extra data"),
            ("[1, 2]", "pairs.jsonl:2: expected an object with keys, got list"),
            ("5", "pairs.jsonl:2: expected an object with keys, got int"),
            ('{"a": NaN}', "pairs.jsonl:2: invalid JSON: NaN is not a JSON number"),
            ('{"a": -Infinity}', "pairs.jsonl:2: invalid JSON: -Infinity is not a JSON number"),
            ('{"a": "\\ud83d"}', r"pairs.jsonl:2: half of a \\ud… pair in a string; such text has no UTF-8 form"),
            ('{"a": ' + "9" * 5000 + "}", "pairs.jsonl:2: invalid JSON: Exceeds the limit .*"),
            ("[" * 200_000, "pairs.jsonl:2: invalid JSON: maximum recursion depth exceeded.*"),
        ],
    )
    def test_a_line_that_is_no_row(self, lines: Lines, line: str, message: str) -> None:
        path = lines({"a": 1}, line, {"a": 3})
        with pytest.raises(InputError, match=f"^{message}$"):
            list(read_rows(path))
        rows = list(scan_rows(path))
        assert [type(row) for row in rows] == [Row, BadRow, Row]
        assert rows[1].where == "pairs.jsonl:2"

    def test_a_whole_pair_of_escapes(self, lines: Lines) -> None:
        assert [row.data for row in read_rows(lines('{"a": "\\ud83d\\ude00"}'))] == [{"a": "😀"}]

    def test_not_utf_8(self, lines: Lines) -> None:
        path = lines()
        path.write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xbc"}\n{"a": "\xfc"}\n{"a": 3}\n')
        with pytest.raises(InputError, match=r"^pairs.jsonl:2: not UTF-8 at byte 8 \(0xfc\); save the file as UTF-8$"):
            list(read_rows(path))
        assert [row.where for row in scan_rows(path)] == ["pairs.jsonl:1", "pairs.jsonl:2", "pairs.jsonl:3"]

    def test_a_list_names_its_lines(self, lines: Lines) -> None:
        path = lines('[{"a": 1},\n {"a": }]', name="pairs.json")
        with pytest.raises(InputError, match=r"^pairs.json:2: invalid JSON at column 8: Expecting value$"):
            list(read_rows(path))
        path.write_bytes(b'[{"a": 1},\n {"a": "\xfc"}]')
        with pytest.raises(InputError, match=r"^pairs.json:2: not UTF-8 at byte 9 \(0xfc\); save the file as UTF-8$"):
            list(read_rows(path))
        path.write_text('[{"a": 1}, 5]')
        with pytest.raises(InputError, match=r"^pairs.json:row 2: expected an object with keys, got int$"):
            list(read_rows(path))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('[{"a": 1}\n {"a": 2}]', "a.json:2: invalid JSON at column 2: Expecting ',' delimiter"),
            ('[{"a": 1},]', "a.json:1: invalid JSON at column 11: Expecting value"),
            ('[{"a": 1}', "a.json:1: invalid JSON at column 10: Expecting ',' delimiter"),
            ('[{"a": 1}] 5', "a.json:1: invalid JSON at column 12: Extra data"),
            ("[", "a.json:1: invalid JSON at column 2: Expecting value"),
            ('[\n{"a": "x}]', "a.json:2: invalid JSON at column 7: Unterminated string starting at"),
            ('[1,\n\n{"a": NaN}]', "a.json:3: invalid JSON: NaN is not a JSON number"),
            ('[\n{"a": "\\ud83d"}]', r"a.json:2: half of a \\ud… pair in a string; such text has no UTF-8 form"),
            ("[\n" + "[" * 200_000, "a.json:2: invalid JSON: maximum recursion depth exceeded.*"),
        ],
    )
    def test_a_broken_list(self, lines: Lines, text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
        path = lines(name="a.json")
        path.write_text(text)
        for chunk in (1 << 18, 3):
            monkeypatch.setattr("vlreward.data.json_list._CHUNK", chunk)
            with pytest.raises(InputError, match=f"^{message}$"):
                list(scan_rows(path))

    @pytest.mark.parametrize(
        ("name", "text"), [("a.jsonl", ""), ("a.jsonl", "\n \n"), ("a.json", "[]"), ("a.json", "")]
    )
    def test_empty(self, lines: Lines, name: str, text: str) -> None:
        path = lines(name=name)
        path.write_text(text)
        with pytest.raises(InputError, match=f"^{name}: no rows; the file is empty$"):
            list(read_rows(path))

    def test_an_empty_table(self, lines: Lines) -> None:
        path = lines(name="a.parquet")
        pq.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
        with pytest.raises(InputError, match=r"^a.parquet: no rows; the file is empty$"):
            list(read_rows(path))

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"no table at all", b"PAR1" + bytes(50) + b"PAR1"])
    def test_no_table(self, lines: Lines, content: bytes) -> None:
        path = lines(name="a.parquet")
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"^a.parquet: (not a Parquet file|cannot be read)") as caught:
            list(read_rows(path))
        assert "\n" not in str(caught.value)

    def test_a_damaged_table(self, lines: Lines) -> None:
        path = lines(name="a.parquet")
        pq.write_table(pa.table({"a": ["x" * i for i in range(500)]}), path, compression="zstd")
        data = bytearray(path.read_bytes())
        data[20:600] = bytes(580)
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"^a.parquet: "):
            list(read_rows(path))

    def test_what_is_said_before_reading(self, lines: Lines, tmp_path: Path) -> None:
        lines({"a": 1})
        with pytest.raises(InputError, match=r"^gone.jsonl: no such file$"):
            read_rows("gone.jsonl")
        with pytest.raises(InputError, match=r"^pairs.csv: unknown kind of file; known: .jsonl, .ndjson, "):
            read_rows("pairs.csv")
        (tmp_path / "folder.jsonl").mkdir()
        with pytest.raises(InputError, match=r"^folder.jsonl: a folder; give a file$"):
            read_rows("folder.jsonl")


ROWS = 50_000


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "a.jsonl"
    with path.open("w") as file:
        for i in range(ROWS):
            file.write(json.dumps({"id": f"group-{i}", "messages": "q" * 300, "responses": ["a" * 50, "b" * 50]}))
            file.write("\n")
    return path


class TestLists:
    """A list is read a piece at a time, which must not show."""

    @pytest.mark.parametrize("chunk", [3, 4, 7, 64])
    @pytest.mark.parametrize("indent", [None, 1])
    def test_pieces(self, lines: Lines, monkeypatch: pytest.MonkeyPatch, chunk: int, indent: int | None) -> None:
        monkeypatch.setattr("vlreward.data.json_list._CHUNK", chunk)
        rows = [{"a": i, "text": 'ü😀\n"]}' * i, "deep": [[{}], [1.5e3, True, None]]} for i in range(20)]
        path = lines(name="a.json")
        path.write_bytes(b"\xef\xbb\xbf \n" + json.dumps(rows, indent=indent, ensure_ascii=False).encode() + b"\n ")
        assert [row.data for row in read_rows(path)] == rows

    @pytest.mark.parametrize("chunk", [3, 1 << 18])
    def test_where_it_is_not_utf_8(self, lines: Lines, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
        monkeypatch.setattr("vlreward.data.json_list._CHUNK", chunk)
        path = lines(name="a.json")
        for start in (b"", b"\xef\xbb\xbf"):
            path.write_bytes(start + '[{"a": "ü"},\n {"a": "ü'.encode() + b'\xfc"}]')
            with pytest.raises(InputError, match=r"^a.json:2: not UTF-8 at byte 11 \(0xfc\); save the file as UTF-8$"):
                list(read_rows(path))
            path.write_bytes(start + b'[{"a": "\xfc"}]')
            with pytest.raises(InputError, match=r"^a.json:1: not UTF-8 at byte 9 \(0xfc\); save the file as UTF-8$"):
                list(read_rows(path))
        path.write_bytes(b'[{"a": "\xc3')
        with pytest.raises(InputError, match=r"^a.json:1: not UTF-8 at byte 9 \(0xc3\); save the file as UTF-8$"):
            list(read_rows(path))

    def test_a_mistake_does_not_read_the_rest(self, lines: Lines) -> None:
        path = lines(name="a.json")
        path.write_text('[{"a": 1}, {"a": oops}, ' + json.dumps({"a": "x" * 10_000_000}) + "]")
        tracemalloc.start()
        with pytest.raises(InputError, match=r"^a.json:1: invalid JSON at column 18: Expecting value$"):
            list(read_rows(path))
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
        tracemalloc.stop()


class TestMemory:
    def test_lists_stream(self, tmp_path: Path) -> None:
        row, count = {"messages": "q" * 3000, "responses": ["a" * 500, "b" * 500]}, 5_000
        (tmp_path / "a.json").write_text("[" + ", ".join([json.dumps(row)] * count) + "]")
        assert (tmp_path / "a.json").stat().st_size > 20_000_000
        tracemalloc.start()
        assert sum(1 for _ in read_rows(tmp_path / "a.json")) == count
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3_000_000

    def test_lines_stream(self, large_file: Path) -> None:
        assert large_file.stat().st_size > 20_000_000
        tracemalloc.start()
        assert sum(1 for _ in read_rows(large_file)) == ROWS
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1_000_000

    def test_groups_stream_but_for_their_ids(self, large_file: Path) -> None:
        tracemalloc.start()
        rows = 15_000  # tracing is slow
        assert sum(1 for _ in itertools.islice(read_groups(large_file), rows)) == rows
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1_000_000 + 200 * rows

    def test_tables_stream(self, tmp_path: Path) -> None:
        # One row group of 64 MB that no compression makes smaller, in pages of a few rows.
        dice = np.random.default_rng(0)
        pictures = [{"id": str(i), "image": dice.bytes(64_000)} for i in range(1000)]
        pq.write_table(pa.Table.from_pylist(pictures), tmp_path / "a.parquet", use_dictionary=False, write_batch_size=8)
        before, most = pa.total_allocated_bytes(), 0
        for _ in read_rows(tmp_path / "a.parquet"):
            most = max(most, pa.total_allocated_bytes() - before)
        assert most < 16_000_000


def test_a_file_is_closed_when_reading_stops(lines: Lines) -> None:
    for path in (lines({"a": 1}, {"a": 2}), lines({"a": 1}, {"a": 2}, name="b.json")):
        rows: Any = read_rows(path)
        next(rows)
        rows.close()
