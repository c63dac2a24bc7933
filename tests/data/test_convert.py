"""A file of preferences as another: what is written, counted, refused, and left as it was."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as PILImage

from vlreward.data.convert import Conversion, convert_rankings
from vlreward.data.images import load_image
from vlreward.data.marks import media_of
from vlreward.data.rankings import read_rankings, scan_rankings
from vlreward.errors import ConfigError, InputError, UnsupportedError
from vlreward.types import Image, Ranking

Lines = Callable[..., Path]

PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
SEEN = {"question": "q", "chosen": "a", "rejected": "b"}
RANKED = {"messages": "q", "responses": ["a", "b", "c"], "ranks": [0, 1, 2]}


def convert(source: Path, output: str, to: str, **rest: Any) -> Conversion:
    return convert_rankings(scan_rankings(source), output, to, **rest)


def rows_of(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.fixture
def seen(lines: Lines, photo: PILImage.Image) -> Path:
    """A table as RLAIF-V is published, with pictures inside."""
    lines(name="unused")
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG")
    image = {"bytes": buffer.getvalue(), "path": "photo.jpg"}
    pq.write_table(pa.Table.from_pylist([SEEN | {"image": image}] * 3), "seen.parquet")
    return Path("seen.parquet")


class TestWriting:
    def test_a_file(self, lines: Lines) -> None:
        done = convert(lines(PAIR, PAIR | {"id": "x", "margin": 2}), "out.jsonl", "ms-swift")
        assert rows_of("out.jsonl")[1] == {
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "rejected_response": "b",
            "id": "x",
            "margin": 2.0,
        }
        assert done.to_dict() == {
            "output": "out.jsonl",
            "format": "ms-swift",
            "format_before": "trl",
            "written": 2,
            "dropped": {},
            "skipped": 0,
            "problems": [],
            "dataset_info": None,
        }

    def test_paths_lead_to_the_same_files(self, lines: Lines, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        convert(lines(SEEN | {"image": "sub/1.png"}, SEEN | {"image": "2.png"}), "sub/out.jsonl", "trl")
        assert [row["images"] for row in rows_of("sub/out.jsonl")] == [["1.png"], [str(tmp_path / "2.png")]]

    def test_llamafactory_is_told_of_the_file(self, lines: Lines, tmp_path: Path) -> None:
        (tmp_path / "dataset_info.json").write_text('{"other": {"file_name": "other.json"}}')
        done = convert(lines(PAIR, name="in.jsonl"), "out.jsonl", "llamafactory")
        assert done.dataset_info == "dataset_info.json"
        told = json.loads(Path("dataset_info.json").read_text())
        columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
        entry = {"file_name": "out.jsonl", "formatting": "sharegpt", "ranking": True, "columns": columns}
        assert told == {"other": {"file_name": "other.json"}, "out": entry}
        convert(lines(SEEN | {"image": "1.png"}, name="in.jsonl"), "out.jsonl", "llamafactory", overwrite=True)
        told = json.loads(Path("dataset_info.json").read_text())
        assert told["out"]["columns"] == columns | {"images": "images"}
        [ranking] = read_rankings("out.jsonl")
        assert [part.source for part in media_of(ranking.group.messages)] == ["1.png"]

    def test_a_description_of_another_file_stays(self, lines: Lines, tmp_path: Path) -> None:
        (tmp_path / "dataset_info.json").write_text('{"out": {"file_name": "other.json"}}')
        with pytest.raises(InputError, match=r"^dataset_info.json: already has an entry 'out' of another file; "):
            convert(lines(PAIR, name="in.jsonl"), "out.jsonl", "llamafactory")
        assert not Path("out.jsonl").exists()

    @pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
    def test_pictures_are_extracted(self, seen: Path, name: str, photo: PILImage.Image) -> None:
        convert(seen, name, "llamafactory", extract_to="pics")
        [file] = Path("pics").iterdir()  # the same picture three times
        assert file.suffix == ".jpg"
        for ranking in read_rankings(name):
            [part] = media_of(ranking.group.messages)
            assert part.source == f"pics/{file.name}"
            assert load_image(part.source).size == photo.size

    def test_tables_keep_pictures_inside(self, seen: Path) -> None:
        convert(seen, "out.parquet", "llamafactory")
        assert [type(part.source) for r in read_rankings("out.parquet") for part in media_of(r.group.messages)] == (
            [bytes] * 3
        )
        [first, *_] = pq.read_table("out.parquet").to_pylist()
        assert first["conversations"] == [{"from": "human", "value": "<image>q"}]
        assert first["images"][0]["bytes"] == pq.read_table(seen).to_pylist()[0]["image"]["bytes"]

    def test_uris_are_bytes_in_a_table(self, seen: Path) -> None:
        convert(seen, "out.jsonl", "trl")
        assert rows_of("out.jsonl")[0]["images"][0].startswith("data:image/jpeg;base64,")
        convert(Path("out.jsonl"), "again.parquet", "rlaif-v")
        assert pq.read_table("again.parquet").to_pylist()[0]["image"] == {
            "bytes": pq.read_table(seen).to_pylist()[0]["image"]["bytes"],
            "path": None,
        }

    def test_a_different_picture_on_each_side(self, lines: Lines) -> None:
        def turns(picture: str) -> list[dict[str, Any]]:
            content = [{"type": "image", "image": picture}, {"type": "text", "text": "q"}]
            return [{"role": "user", "content": content}, {"role": "assistant", "content": "a"}]

        source = lines({"chosen": turns("good.png"), "rejected": turns("bad.png")})
        for to in ("ms-swift", "rankings", "trl"):
            convert(source, f"{to}.jsonl", to)
            source = Path(f"{to}.jsonl")
            [ranking] = read_rankings(source)
            found = [[Path(part.source).name for part in media_of(side)] for side in ranking.group.conversations()]
            assert found == [["good.png"], ["bad.png"]]
        with pytest.raises(UnsupportedError, match=r"^trl.jsonl:1: each side shows other pictures, but llamafactory "):
            convert(source, "out.jsonl", "llamafactory")


class TestRefusals:
    def test_a_row_that_has_no_place_is_named(self, lines: Lines) -> None:
        path = lines(RANKED | {"responses": ["a", "b"], "ranks": [1, 0]}, RANKED)
        with pytest.raises(UnsupportedError, match=r"^pairs.jsonl:2: 3 responses, but trl holds pairs; .*"):
            convert(path, "out.jsonl", "trl")
        assert not Path("out.jsonl").exists()

    def test_errors_of_pictures_have_the_line_too(self, lines: Lines) -> None:
        path = lines(SEEN | {"image": "1.png"}, SEEN | {"image": "data:image/png;base64,!"})
        with pytest.raises(InputError, match=r"^pairs.jsonl:2: a data URI of 23 characters: not valid base64 \(.*\)$"):
            convert(path, "out.jsonl", "llamafactory", extract_to="pics")

    def test_skipping(self, lines: Lines) -> None:
        path = lines("nonsense", RANKED, RANKED | {"responses": ["a", "b"], "ranks": [1, 0]}, RANKED | {"ranks": [0]})
        done = convert(path, "out.jsonl", "trl", skip_errors=True)
        assert (done.written, done.skipped) == (1, 3)
        assert [problem.partition(": ")[0] for problem in done.problems] == [f"pairs.jsonl:{i}" for i in (1, 2, 4)]
        assert done.format_before == "rankings"

    def test_what_says_no_preference_is_counted(self, lines: Lines) -> None:
        turn = {"from": "human", "value": "Question: [q]\nResponse 1: [a]\nResponse 2: [b]"}
        rows = [
            {"conversations": [turn, {"from": "gpt", "value": verdict}]}
            for verdict in ("The better response: [2]", "Two responses are equally good.", "Well.")
        ]
        done = convert(lines(*rows), "out.jsonl", "trl")
        assert (done.written, dict(done.dropped)) == (1, {"tie": 1, "malformed verdict": 1})
        assert rows_of("out.jsonl")[0]["chosen"] == [{"role": "assistant", "content": "b"}]
        with pytest.raises(InputError, match=r"^no.jsonl: no rankings left to write: 1 tie$"):
            convert(lines(rows[1]), "no.jsonl", "trl")
        with pytest.raises(InputError, match=r"^no.jsonl: no rankings left to write: 1 with errors, the first: pairs"):
            convert(lines(RANKED), "no.jsonl", "trl", skip_errors=True)
        assert not Path("no.jsonl").exists()

    def test_outputs_that_cannot_be(self, lines: Lines) -> None:
        path = lines(PAIR)
        with pytest.raises(ConfigError, match=r"^pairs.jsonl: is there already; name another file, or say "):
            convert(path, "pairs.jsonl", "trl")
        with pytest.raises(ConfigError, match=r"^format: unknown key 'llama-factory'; did you mean 'llamafactory'\?$"):
            convert(path, "out.jsonl", "llama-factory")
        with pytest.raises(InputError, match=r"^out.csv: unknown kind of file to write"):
            convert(path, "out.csv", "trl")

    def test_a_file_may_be_rewritten_from_itself(self, lines: Lines) -> None:
        path = lines(PAIR, PAIR)
        assert convert(path, "pairs.jsonl", "rlaif-v", overwrite=True).written == 2
        assert [type(row.content) for row in scan_rankings(path)] == [Ranking, Ranking]

    def test_what_was_there_stays_when_a_row_is_wrong(self, lines: Lines) -> None:
        Path(lines(PAIR, name="out.jsonl"))
        before = Path("out.jsonl").read_bytes()
        with pytest.raises(InputError):
            convert(lines(PAIR, "nonsense"), "out.jsonl", "trl", overwrite=True)
        assert Path("out.jsonl").read_bytes() == before


def test_images_are_images(seen: Path) -> None:
    convert(seen, "out.jsonl", "rankings")
    [part] = media_of(next(read_rankings("out.jsonl")).group.messages)
    assert isinstance(part, Image)
    assert load_image(part.source).size == (6, 4)
