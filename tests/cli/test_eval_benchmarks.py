"""``vlreward eval`` on published benchmarks: local copies, what is missing from them, and interruptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.evaluate.benchmark_data import vl_rows, write_json, write_pictures, write_vl_json, write_vl_parquet
from tests.fakes import FakeModel
from vlreward.cli import loading, main

from .conftest import rows_of

PROMISED = ["benchmark", "model", "n", "accuracy", "macro", "interval", "groups", "baselines"]
PROMISED += ["counts_expected", "warnings"]
"""The keys of every benchmark; others come with what they say."""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> list[str]:
    monkeypatch.setattr(loading, "load_model", lambda options: FakeModel())
    return ["--model", str(model_folder)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_vl_json(tmp_path / "vl", vl_rows(80))


def figures(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_a_local_copy_in_both_layouts(
    model: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "scores.jsonl"
    found = figures(["eval", "vl-rewardbench", "--data", str(folder), *model, "-o", str(output)], capsys)
    assert found["n"] == 80
    assert list(found) == PROMISED
    assert {key for share in found["groups"].values() for key in share} == {"n", "accuracy", "interval"}
    assert found["counts_expected"] == {"general": 183, "hallucination": 749, "reasoning": 318}
    assert "80 items are no version that is known" in found["warnings"][0]
    assert found["baselines"]["first"] is None
    assert found["baselines"]["blank"] is not None
    assert {name for name in found["groups"] if ":" not in name} == set(found["counts_expected"])
    again = figures(["eval", "vl-rewardbench", "--from-scores", str(output)], capsys)
    assert again == found
    output.with_name(output.name + ".meta.json").unlink()
    alone = figures(["eval", "vl-rewardbench", "--from-scores", str(output)], capsys)
    assert alone["counts_expected"] == found["counts_expected"]
    assert alone["warnings"] == [*found["warnings"], "no record beside the scores says of which model they are"]
    parquet = write_vl_parquet(tmp_path / "parquet", vl_rows(80))
    other = figures(["eval", "vl-rewardbench", str(parquet), *model], capsys)
    assert {name: share["n"] for name, share in other["groups"].items()} == {
        name: share["n"] for name, share in found["groups"].items()
    }


def test_missing_pictures_are_listed_and_left_out_only_when_allowed(
    model: list[str],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = [f"{start}{i}.png" for start, i in (("mathverse_", 3), ("hallucination_pair-", 5), ("mathverse_", 7))]
    for name in gone:
        (folder / "images" / name).unlink()
    output = tmp_path / "scores.jsonl"
    argv = ["eval", "vl-rewardbench", "--data", str(folder), *model, "-o", str(output)]
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "3 of 80 items cannot be used (--allow-missing goes on without them): " in err
    assert all(name in err for name in gone)
    assert not output.exists()
    found = figures([*argv, "--allow-missing"], capsys)
    assert (found["n"], found["unusable"]) == (77, 3)
    assert found["warnings"][0].startswith(f"3 of 80 items cannot be used: {folder}")
    assert found["warnings"][1].startswith("80 items are no version that is known")
    assert figures(["eval", "vl-rewardbench", "--from-scores", str(output)], capsys) == found
    monkeypatch.setattr("vlreward.cli.tables.on_terminal", lambda: True)
    assert main(["eval", "vl-rewardbench", "--from-scores", str(output)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("warning: 3 of 80 items cannot be used: ")
    for name in list(folder.glob("images/*.png")):
        name.unlink()
    assert main([*argv, "--allow-missing", "--overwrite"]) == 2
    assert "80 of 80 items cannot be used (none is left): " in capsys.readouterr().err


class Sees(FakeModel):
    """Cannot open one of the pictures."""

    def score_groups(self, groups: Any) -> list[list[float]]:
        from vlreward.data.images import load_image
        from vlreward.data.marks import media_of

        for group in groups:
            for part in media_of(group.messages):
                load_image(part.source, where=f"group {group.id!r}: image")
        return super().score_groups(groups)


def test_a_picture_that_is_broken_stops_a_run_that_can_go_on_without_it(
    model: list[str],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "load_model", lambda options: Sees())
    # Its header is sound, but not the rest.
    picture = folder / "images" / "mathverse_43.png"
    picture.write_bytes(picture.read_bytes()[:-25])
    output = tmp_path / "scores.jsonl"
    argv = ["eval", "vl-rewardbench", "--data", str(folder), *model, "-o", str(output)]
    assert main(argv) == 2
    assert "vl_rewardbench.json:row 44: " in capsys.readouterr().err
    assert len(rows_of(output)) == 32
    found = figures([*argv, "--allow-missing"], capsys)
    assert (found["n"], found["unusable"]) == (79, 1)
    assert "row 44: " in found["warnings"][0]
    assert len(rows_of(output)) == 80
    assert figures(["eval", "vl-rewardbench", "--from-scores", str(output)], capsys) == found


class IsNoNumber(FakeModel):
    def score_groups(self, groups: Any) -> list[list[float]]:
        return [[float("nan") for _ in rewards] for rewards in super().score_groups(groups)]


def test_a_reward_that_is_no_number_is_not_a_missing_item(
    model: list[str], folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load_model", lambda options: IsNoNumber())
    assert main(["eval", "vl-rewardbench", "--data", str(folder), *model, "--allow-missing"]) == 2
    assert "the reward is nan, not a finite number" in capsys.readouterr().err


def test_the_hubs_copy_is_read_like_any_other(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    snapshot = tmp_path / "snapshots" / ("0" * 40)
    asked: list[dict[str, Any]] = []

    def download(repo: str, **options: Any) -> str:
        asked.append({"repo": repo, **options})
        return str(snapshot)

    write_vl_parquet(snapshot, vl_rows(8))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    output = tmp_path / "scores.jsonl"
    found = figures(["eval", "vl-rewardbench", *model, "--data-revision", "abc", "-o", str(output)], capsys)
    assert found["n"] == 8
    (once,) = asked
    assert once["repo"] == "MMInstruction/VL-RewardBench"
    assert (once["repo_type"], once["revision"], once["local_files_only"]) == ("dataset", "abc", False)
    assert "data/test-*.parquet" in once["allow_patterns"]
    record = json.loads((tmp_path / "scores.jsonl.meta.json").read_text())
    assert record["about"]["input"] == str(snapshot)
    assert (record["about"]["data_commit"], record["about"]["model_commit"]) == ("0" * 40, None)


class Stops(FakeModel):
    def score_groups(self, groups: Any) -> list[list[float]]:
        if len(self.calls) == 1:
            raise KeyboardInterrupt
        return super().score_groups(groups)


def test_an_interrupted_run_is_that_of_one_that_was_not(
    model: list[str],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    argv = ["eval", "vl-rewardbench", "--data", str(folder), *model, "-o"]
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    found = figures([*argv, str(whole)], capsys)
    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_model", lambda options: Stops())
        assert main([*argv, str(output)]) == 130
        assert "32 of 80 groups are in" in capsys.readouterr().err
    assert figures([*argv, str(output)], capsys) == found
    assert output.read_bytes() == whole.read_bytes()


def test_people_get_the_published_figures_too(
    model: list[str], folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlreward.cli.tables.on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "110")
    assert main(["eval", "vl-rewardbench", "--data", str(folder), *model]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["Skywork-VL-Reward-7B", "66.0", "80.0", "61.0", "73.1", "69.0"] in lines
    assert "40 of 749" in out
    assert "equal rewards are wrong" in " ".join(out.split())


def test_acc_plus_is_shown(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"id": f"q{i // 2}", "image": f"mcq/{i // 2}.png", "prompt": "Q", "chosen": f"a{i}", "rejected": f"b{i}"}
        for i in range(12)
    ]
    path = write_json(tmp_path / "mm_reward_bench.json", rows)
    write_pictures(tmp_path / "images", [Path(str(row["image"])).name for row in rows])
    found = figures(["eval", "mm-rlhf-rewardbench", "--data", str(path), *model], capsys)
    assert found["all_right"]["n"] == found["groups"]["mcq"]["all_right"]["n"] == 6
    monkeypatch.setattr("vlreward.cli.tables.on_terminal", lambda: True)
    assert main(["eval", "mm-rlhf-rewardbench", "--data", str(path), *model]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["Acc", "12"] for line in shown)
    assert any(line.split()[:2] == ["Acc+", "6"] for line in shown)
    assert any("6 ids stand for several items" in line for line in shown)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["vl-rewardbench", "-m", "MODEL"], "b33f0adb is not in the local cache, and the hub cannot be reached"),
        (["vl-rewardbench", "-m", "MODEL", "--offline"], "and offline was asked for; name a copy with --data"),
        (["vl-rewardbench", "a", "--data", "b", "-m", "MODEL"], "both a and --data b; give one of them"),
        (["vl-rewardbench", "--data", "nowhere.json", "-m", "MODEL"], "nowhere.json: no such file"),
        (["vl-rewardbench", "--seed", "0", "-m", "MODEL"], "vl-rewardbench takes no seed; it takes: data"),
        (["vl-rewardbench", "--cluster-by", "both", "-m", "MODEL"], "both has no use here: items go by picture"),
        (["multimodal-rewardbench", "-m", "MODEL"], "run scripts/0_download_data.py"),
        (["rewardbench", "--media-dir", "x", "-m", "MODEL"], "rewardbench takes no media dir"),
        (["vl-rewardbench", "--data", ".", "-m", "MODEL"], "nothing of vl-rewardbench in this folder; expected one of"),
    ],
)
def test_mistakes_are_one_line(
    argv: list[str], message: str, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *(model[1] if word == "MODEL" else word for word in argv)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_unless_told_the_pinned_commit_is_taken(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = []

    def download(repo: str, *, revision: str, **_options: Any) -> str:
        asked.append((repo, revision))
        return str(write_vl_parquet(tmp_path / "hub", vl_rows(8)))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    figures(["eval", "vl-rewardbench", *model], capsys)
    assert asked == [("MMInstruction/VL-RewardBench", "cdb956cb97c083fd56f9c33abb4ab3e2b33f0adb")]


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (1247, "1,247 items are another version (the hub's upload of 2025, three items fewer), not the 1,250 of the"),
        (1250, "general: 312 items where 183 are expected"),
    ],
)
def test_a_version_is_known_by_its_size(
    kept: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"id": str(i), "labels": {"group": ("hallucination", "reasoning", "general")[i % 4 % 3]}, "ranks": [0, 1]}
        | {"lengths": [2, 1], "ordered": False, "shared": {"picture": [str(i)]}, "rewards": [1.0, 0.0], "blank": None}
        for i in range(kept)
    ]
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert figures(["eval", "vl-rewardbench", "--from-scores", str(path)], capsys)["warnings"][0].startswith(words)


def test_missing_pictures_of_ones_own_are_listed_before_a_model_is_loaded(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path, ["0.png", "1.png"])
    (tmp_path / "2.png").write_bytes(b"no picture")
    rows = [{"prompt": "Q", "chosen": "yes", "rejected": "no", "images": [f"{i % 4}.png"]} for i in range(8)]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_model", None)
        assert main(["eval", "pairs", str(path), *model]) == 2
    err = capsys.readouterr().err
    assert "4 of 8 items cannot be used (--allow-missing goes on without them): " in err
    assert all(f"{path}:{line}: image 1: " in err for line in (3, 4, 7, 8))
    found = figures(["eval", "pairs", str(path), *model, "--allow-missing"], capsys)
    assert (found["n"], found["unusable"]) == (4, 4)
    assert found["warnings"][0].startswith(f"4 of 8 items cannot be used: {path}:3: image 1: ")


def test_a_bad_row_of_ones_own_is_left_out_when_allowed(
    model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"Q{i}", "chosen": "yes", "rejected": "no"} for i in range(9)]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows[:4], {"prompt": "Q"}, *rows[4:]]))
    assert main(["eval", "pairs", str(path), *model]) == 2
    err = capsys.readouterr().err
    assert f"{path}:5: " in err
    assert "--allow-missing goes on without such items" in err
    found = figures(["eval", "pairs", str(path), *model, "--allow-missing"], capsys)
    assert (found["n"], found["unusable"]) == (9, 1)
    assert found["warnings"][0].startswith(f"1 of 10 items cannot be used: {path}:5: ")
