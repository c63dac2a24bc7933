"""A file in, a file out: what is written, kept, refused and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeModel, FakeSettings, fake_reward, group_row
from vlreward.cli import loading, main
from vlreward.data.groups import read_groups
from vlreward.data.rewards import read_rewards
from vlreward.types import Group

from .conftest import rows_of

Write = Callable[..., Path]


@pytest.fixture
def score(
    model_folder: Path, fake_model: FakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Scores a file; the exit code and what stderr says."""

    def run(source: Path, output: Path | None = None, *options: str, verb: str = "score") -> tuple[int, str]:
        output = output or tmp_path / "out.jsonl"
        code = main([verb, "--model", str(model_folder), str(source), "-o", str(output), *options])
        return code, capsys.readouterr().err

    return run


Score = Callable[..., tuple[int, str]]


def test_one_row_per_group_in_order(score: Score, write_rows: Write, tmp_path: Path, fake_model: FakeModel) -> None:
    source = write_rows(70)
    assert score(source) == (0, "")
    groups = list(read_groups(source))
    rewards = list(read_rewards(tmp_path / "out.jsonl"))
    assert [reward.id for reward in rewards] == [group.id for group in groups]
    for group, reward in zip(groups, rewards, strict=True):
        assert reward.rewards == pytest.approx([fake_reward(group, i) for i in range(3)])
    assert fake_model.calls == [32, 32, 6]


def test_record_says_how_the_rows_were_made(score: Score, write_rows: Write, tmp_path: Path) -> None:
    score(write_rows(5), None, "--max-pixels", "50_000", "--dtype", "float32")
    record = json.loads((tmp_path / "out.jsonl.meta.json").read_text())
    assert record["complete"] is True
    assert record["groups"] == 5
    assert record["responses"] == 15
    assert record["config"]["max_pixels"] == 50_000
    assert set(record["config"]["versions"]) == {"vlreward", "torch", "transformers"}
    assert record["resolved"]["dtype"] == "float32"
    assert record["about"]["model"].endswith("model")


def test_a_finished_run_is_not_run_again(score: Score, write_rows: Write, fake_model: FakeModel) -> None:
    source = write_rows(40)
    score(source)
    fake_model.calls.clear()
    assert score(source) == (0, "")
    assert fake_model.calls == []


class Stop(BaseException):
    """An end without goodbye, as of a killed process."""


@pytest.mark.parametrize("interrupt", [Stop, KeyboardInterrupt])
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    score: Score,
    write_rows: Write,
    tmp_path: Path,
    fake_model: FakeModel,
    monkeypatch: pytest.MonkeyPatch,
    interrupt: type[BaseException],
    after: int,
) -> None:
    source, whole = write_rows(100), tmp_path / "whole.jsonl"
    score(source, whole)
    original, calls = FakeModel.score_groups, []

    def stop_later(self: FakeModel, groups: Any) -> list[list[float]]:
        calls.append(len(groups))
        if len(calls) > after:
            raise interrupt
        return original(self, groups)

    monkeypatch.setattr(FakeModel, "score_groups", stop_later)
    if interrupt is Stop:
        with pytest.raises(Stop):
            score(source)
    else:
        code, error = score(source)
        assert code == 130
        assert f"interrupted: {after * 32} of 100 groups are in " in error
        assert "the same command goes on with the rest" in error
        assert error.count("\n") == 1
    monkeypatch.setattr(FakeModel, "score_groups", original)
    fake_model.calls.clear()
    assert score(source)[0] == 0
    assert sum(fake_model.calls) == 100 - 32 * after
    assert (tmp_path / "out.jsonl").read_bytes() == whole.read_bytes()
    assert record_of(tmp_path / "out.jsonl") == record_of(whole)


def record_of(output: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(output.with_name(output.name + ".meta.json").read_text())
    return record


@pytest.mark.parametrize("tail", [b'{"id": "g64", "rew', b'{"id": "g64", "rewards": [1.0]}\n' * 5, b"\0" * 4096])
def test_what_the_record_does_not_vouch_for_is_cut_off(
    score: Score, write_rows: Write, tmp_path: Path, tail: bytes
) -> None:
    source, output = write_rows(100), tmp_path / "out.jsonl"
    score(source)
    whole, record = output.read_bytes(), tmp_path / "out.jsonl.meta.json"
    lines = whole.splitlines(keepends=True)
    output.write_bytes(b"".join(lines[:64]) + tail)
    digest = earlier_digest(source, 64)
    values = json.loads(record.read_text())
    values |= {"groups": 64, "size": sum(map(len, lines[:64])), "input_digest": digest, "complete": False}
    record.write_text(json.dumps(values))
    assert score(source)[0] == 0
    assert output.read_bytes() == whole


def earlier_digest(source: Path, count: int) -> str:
    from vlreward.cli.fingerprint import chain
    from vlreward.cli.run_record import START

    digest = START
    for _, group in zip(range(count), read_groups(source), strict=False):
        digest = chain(digest, group)
    return digest


def test_rows_that_were_added_are_computed_in_the_chunks_of_a_whole_run(
    score: Score, write_rows: Write, tmp_path: Path, fake_model: FakeModel
) -> None:
    source, whole = write_rows(50), tmp_path / "whole.jsonl"
    score(source)
    write_rows(90)
    fake_model.calls.clear()
    assert score(source)[0] == 0
    assert fake_model.calls == [32, 26]
    score(source, whole)
    assert (tmp_path / "out.jsonl").read_bytes() == whole.read_bytes()
    assert record_of(tmp_path / "out.jsonl") == record_of(whole)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dtype", "bfloat16"], "begun with dtype 'auto', now 'bfloat16'"),
        (["--max-pixels", "9999"], "begun with max_pixels None, now 9999"),
        (["--chunk", "16"], "begun with chunk 32, now 16"),
        (["--question", "Good?"], "begun with question None, now 'Good?'"),
    ],
)
def test_another_configuration_is_refused(
    score: Score, write_rows: Write, tmp_path: Path, options: list[str], said: str
) -> None:
    source = write_rows(5)
    score(source)
    before = (tmp_path / "out.jsonl").read_bytes()
    code, error = score(source, None, *options)
    assert code == 2
    assert said in error
    assert "--overwrite" in error
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert score(source, None, *options, "--overwrite") == (0, "")


def test_another_verb_checkpoint_or_resolved_setting_is_refused(
    score: Score, write_rows: Write, tmp_path: Path, model_folder: Path, fake_model: FakeModel
) -> None:
    source = write_rows(40)
    score(source)
    assert "begun with verb 'score', now 'rank'" in score(source, verb="rank")[1]
    write_rows(50)
    fake_model.settings = FakeSettings(dtype="bfloat16")
    assert "begun with dtype 'float32', now 'bfloat16'" in score(source)[1]
    (model_folder / "value_head.safetensors").write_bytes(b"retrained")
    assert "begun with checkpoint " in score(source)[1]


def test_another_input_is_refused(score: Score, write_rows: Write, tmp_path: Path) -> None:
    source = write_rows(40)
    score(source)
    write_rows([group_row(0), {**group_row(1), "responses": ["Other."]}, *(group_row(i) for i in range(2, 40))])
    code, error = score(source)
    assert code == 2
    assert "its first 40 groups are not those that" in error
    write_rows(30)
    assert "its first 40 groups are not those that" in score(source)[1]


def test_a_file_of_somebody_else_is_not_touched(score: Score, write_rows: Write, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("precious\n")
    code, error = score(write_rows(3))
    assert code == 2
    assert "exists, and there is no out.jsonl.meta.json that says what it is" in error
    assert output.read_text() == "precious\n"


@pytest.mark.parametrize("record", ["{", "[]", '{"groups": 3}'])
def test_a_broken_record_is_an_error(score: Score, write_rows: Write, tmp_path: Path, record: str) -> None:
    source = write_rows(3)
    score(source)
    (tmp_path / "out.jsonl.meta.json").write_text(record)
    code, error = score(source)
    assert code == 2
    assert "not a run record" in error


def test_the_input_is_never_the_output(score: Score, write_rows: Write) -> None:
    source = write_rows(3)
    before = source.read_bytes()
    code, error = score(source, source, "--overwrite")
    assert code == 2
    assert "is the input" in error
    assert source.read_bytes() == before


def test_a_removed_output_is_computed_again(score: Score, write_rows: Write, tmp_path: Path) -> None:
    source, output = write_rows(40), tmp_path / "out.jsonl"
    score(source)
    whole = output.read_bytes()
    output.unlink()
    assert score(source)[0] == 0
    assert output.read_bytes() == whole


def test_a_shortened_output_is_refused(score: Score, write_rows: Write, tmp_path: Path) -> None:
    source, output = write_rows(40), tmp_path / "out.jsonl"
    score(source)
    output.write_bytes(output.read_bytes()[:100])
    assert "shorter than the" in score(source)[1]


def test_two_runs_do_not_write_one_file(
    score: Score, write_rows: Write, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, said = write_rows(3), []

    def meet(options: object) -> FakeModel:
        said.append(score(source))
        return FakeModel()

    monkeypatch.setattr(loading, "load_model", meet)
    assert score(source)[0] == 0
    assert said[0][0] == 2
    assert "another run is writing it" in said[0][1]


BAD_ROWS: list[tuple[Any, str]] = [
    (b"{not json", "invalid JSON"),
    (b'{"id": "\xff"}', "not UTF-8"),
    (b"[1]", "expected an object"),
    ({"id": "x", "messages": "Q"}, "no 'responses'"),
    ({"id": "x", "messages": "Q", "responses": []}, "no responses"),
    ({"id": "x", "mesages": "Q", "responses": ["A"]}, "did you mean 'messages'?"),
    ({"id": "g1", "messages": "Q", "responses": ["A"]}, "id 'g1' is already that of"),
]


@pytest.mark.parametrize("bad", [bad for bad, _ in BAD_ROWS])
def test_a_broken_row_is_said_before_anything_is_computed(
    score: Score, write_rows: Write, tmp_path: Path, fake_model: FakeModel, bad: Any
) -> None:
    source = write_rows([*(group_row(i) for i in range(40)), bad, group_row(41)])
    code, error = score(source)
    assert code == 2
    assert error.startswith(f"error: {source}:41: ")
    assert error.count("\n") == 1
    assert fake_model.calls == []
    assert [path.name for path in tmp_path.glob("out*")] == []


def test_overwriting_with_a_broken_input_loses_nothing(score: Score, write_rows: Write, tmp_path: Path) -> None:
    source = write_rows(40)
    score(source)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("out*")}
    write_rows([group_row(0), b"{broken"])
    assert score(source, None, "--overwrite")[0] == 2
    assert {path.name: path.read_bytes() for path in tmp_path.glob("out*")} == before


def test_what_was_computed_before_an_unreadable_picture_is_kept(
    score: Score, write_rows: Write, tmp_path: Path, fake_model: FakeModel
) -> None:
    rows = [group_row(i) for i in range(100)]
    whole = tmp_path / "whole.jsonl"
    score(write_rows(rows), whole)
    rows[70] = {**rows[70], "messages": "unreadable"}
    source = write_rows(rows)
    code, error = score(source)
    assert code == 2
    assert error == f"error: {source}:71: group 'g70': responses[0]: no such picture\n"
    assert [row["id"] for row in rows_of(tmp_path / "out.jsonl")] == [f"g{i}" for i in range(64)]
    write_rows([group_row(i) for i in range(100)])
    fake_model.calls.clear()
    assert score(source)[0] == 0
    assert sum(fake_model.calls) == 36
    assert (tmp_path / "out.jsonl").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(("bad", "said"), BAD_ROWS)
def test_errors_can_be_skipped(
    score: Score, write_rows: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: Any, said: str
) -> None:
    rows: list[Any] = [group_row(i) for i in range(80)]
    rows[3] = {**rows[3], "messages": "unreadable"}
    rows[50] = bad
    source = write_rows(rows)
    assert score(source, None, "--on-error", "skip") == (0, "")
    written = rows_of(tmp_path / "out.jsonl")
    assert len(written) == 80
    failed = {i: row for i, row in enumerate(written) if "error" in row}
    assert set(failed) == {3, 50}
    assert failed[3] == {"id": "g3", "error": f"{source}:4: group 'g3': responses[0]: no such picture"}
    assert failed[50]["error"].startswith(f"{source}:51: ")
    assert said in failed[50]["error"]
    record = json.loads((tmp_path / "out.jsonl.meta.json").read_text())
    assert record["errors"] == 2
    assert record["responses"] == 78 * 3


def test_parquet_holds_the_same_rows_and_is_gone_on_with(
    score: Score, write_rows: Write, tmp_path: Path, fake_model: FakeModel
) -> None:
    import pyarrow.parquet as pq

    source, table = write_rows(50), tmp_path / "out.parquet"
    score(source, tmp_path / "out.jsonl")
    assert score(source, table)[0] == 0
    assert pq.read_table(table).to_pylist() == rows_of(tmp_path / "out.jsonl")
    assert [reward.id for reward in read_rewards(table)] == [f"g{i}" for i in range(50)]
    left = {path.name for path in tmp_path.glob("*out.parquet*")}
    assert left == {"out.parquet", "out.parquet.meta.json"}
    write_rows(90)
    fake_model.calls.clear()
    assert score(source, table)[0] == 0
    assert sum(fake_model.calls) == 90 - 32
    score(source, tmp_path / "out.jsonl")
    assert pq.read_table(table).to_pylist() == rows_of(tmp_path / "out.jsonl")


def test_parquet_of_skipped_errors(score: Score, write_rows: Write, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    source = write_rows([group_row(0), {**group_row(1), "messages": "unreadable"}])
    assert score(source, tmp_path / "out.parquet", "--on-error", "skip")[0] == 0
    first, second = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert first["error"] is None
    assert second["rewards"] is None
    assert "no such picture" in second["error"]


def test_parquet_in(score: Score, write_rows: Write, tmp_path: Path) -> None:
    from vlreward.data.writing import write_groups

    source = write_rows(40)
    write_groups(tmp_path / "groups.parquet", read_groups(source))
    score(source, tmp_path / "a.jsonl")
    score(tmp_path / "groups.parquet", tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_preference_rows_are_pairs(score: Score, write_rows: Write, tmp_path: Path) -> None:
    source = write_rows([{"prompt": "Q", "chosen": "Good.", "rejected": "Bad."}] * 2)
    assert score(source, verb="compare")[0] == 0
    (first, second) = rows_of(tmp_path / "out.jsonl")
    assert first["id"] == "1"
    group = Group("Q", ["Good.", "Bad."])
    assert first["rewards"] == pytest.approx([fake_reward(group, 0), fake_reward(group, 1)])
    assert 0 < first["probability"] < 1
    assert second["id"] == "2"


@pytest.mark.parametrize(
    ("verb", "keys"),
    [
        ("score", ["id", "rewards"]),
        ("rank", ["id", "order", "rewards"]),
        ("compare", ["id", "probability", "rewards", "calibrated"]),
        ("trace", ["id", "traces"]),
    ],
)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_rows_of_each_verb(
    score: Score, write_rows: Write, tmp_path: Path, verb: str, keys: list[str], suffix: str
) -> None:
    source, output = write_rows([group_row(i, 2) for i in range(3)]), tmp_path / f"out.{suffix}"
    assert score(source, output, verb=verb)[0] == 0
    if suffix == "jsonl":
        rows = rows_of(output)
    else:
        import pyarrow.parquet as pq

        rows = pq.read_table(output).to_pylist()
    assert [list(row) for row in rows] == [keys] * 3
    if verb == "rank":
        assert all(row["rewards"][row["order"][0]] == max(row["rewards"]) for row in rows)


def test_compare_of_three_names_the_row(score: Score, write_rows: Write) -> None:
    source = write_rows([group_row(0, 2), group_row(1, 3)])
    code, error = score(source, verb="compare")
    assert code == 2
    assert error == f"error: {source}:2: group 'g1': compare needs two responses, got 3\n"


def test_summary_as_json(
    score: Score, write_rows: Write, tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["score", "-m", str(model_folder), str(write_rows(40)), "-o", str(tmp_path / "out.jsonl")]
    assert main(argv) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["groups"] == summary["computed"] == 40
    assert summary["errors"] == 0
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)["computed"] == 0


def test_without_output_rows_go_to_stdout(
    write_rows: Write, model_folder: Path, fake_model: FakeModel, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["score", "-m", str(model_folder), str(write_rows(40)), "--chunk", "7"]) == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"g{i}" for i in range(40)]
    assert fake_model.calls == [7, 7, 7, 7, 7, 5]
