"""VL-RewardBench: the real records come out as published, and what is wrong with a copy is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeEngine
from vlreward import RewardModel
from vlreward.data.marks import media_of
from vlreward.engines.local import LocalEngine
from vlreward.errors import InputError
from vlreward.evaluate.benchmarks.vl_rewardbench import COUNTS, VL_REWARDBENCH, group_of
from vlreward.evaluate.scores import facts_of, read_scores, score_blank_too
from vlreward.evaluate.summary import summarise

from .benchmark_data import read_all, verdicts, vl_rows, write_json, write_pictures, write_vl_json, write_vl_parquet


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real records, with small pictures that are not the benchmark's."""
    rows = json.loads((shared / "data" / "benchmarks" / "vl_rewardbench_without_images.json").read_text())
    return write_vl_json(tmp_path_factory.mktemp("vl"), rows)


@pytest.mark.shared
def test_the_real_records_are_grouped_as_published(real: Path) -> None:
    items, unusable, left_out = read_all(VL_REWARDBENCH, data=real)
    assert (len(items), unusable, left_out) == (1250, [], {})
    found = summarise(VL_REWARDBENCH, verdicts(items, VL_REWARDBENCH), model=None, counts_expected=COUNTS)
    assert {name: found.groups[name].n for name in COUNTS} == {"general": 183, "hallucination": 749, "reasoning": 318}
    assert found.warnings == []
    assert found.repeated_ids == 25
    assert found.groups["task: reasoning"].n == 318
    assert found.groups["task: captioning"].n == 424
    interval = found.groups["task: captioning"].interval
    assert interval is not None
    assert 0.08 < interval[1] - interval[0] < 0.11
    assert {found.groups[f"source: {name}"].n for name in ("hallucination", "rlaif", "rlhf")} == {448, 233, 68}


@pytest.mark.shared
def test_the_longer_answer_wins_as_often_as_published(real: Path, tmp_path: Path) -> None:
    items, _, _ = read_all(VL_REWARDBENCH, data=real)
    rows = [facts_of(item, VL_REWARDBENCH.shared) for item in items]
    path = tmp_path / "verdicts.jsonl"
    path.write_text("".join(json.dumps(row | {"rewards": row["lengths"], "blank": None}) + "\n" for row in rows))
    found = summarise(VL_REWARDBENCH, read_scores(path), model=None, counts_expected=COUNTS)
    assert found.accuracy == found.baselines.longer == 533 / 1250
    shares = {name: found.groups[name].accuracy for name in COUNTS}
    assert shares == {"general": 68 / 183, "hallucination": 302 / 749, "reasoning": 163 / 318}
    assert [round(100 * share, 1) for share in (found.accuracy, *shares.values())] == [42.6, 37.2, 40.3, 51.3]
    assert found.macro == pytest.approx(sum(shares.values()) / 3, abs=1e-15)


def test_published_figures_are_their_own_groups_together() -> None:
    for entry in VL_REWARDBENCH.published:
        pooled = sum(COUNTS[name] * entry.figures[name] for name in COUNTS) / sum(COUNTS.values())
        # Judges that answer in words leave some items undecided; of reward models every item counts.
        off = 0.0006 if "Reward" in entry.system else 0.005
        fits = pooled == pytest.approx(entry.figures["overall"], abs=off)
        assert fits == (entry.system != "InternVL3-78B"), entry.system
        mean = sum(entry.figures[name] for name in COUNTS) / 3
        # One of them is printed cut off (68.67 as 68.6), not rounded.
        assert mean == pytest.approx(entry.figures["macro"], abs=0.001), entry.system


@pytest.mark.shared
def test_the_place_of_an_answer_never_reaches_a_model(real: Path, tmp_path: Path) -> None:
    """All pairs swapped: the same scores, to the last bit, also of an engine that goes by the place."""
    rows = json.loads((real / "vl_rewardbench.json").read_text())
    for row in rows:
        row["response"], row["human_ranking"] = row["response"][::-1], row["human_ranking"][::-1]
    write_json(tmp_path / "vl_rewardbench.json", rows)
    there, _, _ = read_all(VL_REWARDBENCH, data=real)
    back, _, _ = read_all(VL_REWARDBENCH, data=tmp_path, media_dir=real)

    class ByPlace(FakeEngine):
        def score(self, groups: Any) -> Any:
            return [
                type(reward)(id=reward.id, rewards=tuple(r + 100 * i for i, r in enumerate(reward.rewards)))
                for reward in super().score(groups)
            ]

    for engine in (FakeEngine(), ByPlace()):
        one = score_blank_too(engine, [item.ranking.group for item in there])
        other = score_blank_too(engine, [item.ranking.group for item in back])
        for a, b in zip(one, other, strict=True):
            assert (a["rewards"], a["blank"]) == (b["rewards"][::-1], b["blank"][::-1])


def test_the_place_never_reaches_a_real_model(tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    rows = vl_rows(6)
    swapped = [row | {"response": row["response"][::-1], "human_ranking": row["human_ranking"][::-1]} for row in rows]
    folder = write_vl_json(tmp_path / "there", rows)
    there, _, _ = read_all(VL_REWARDBENCH, data=folder)
    back, _, _ = read_all(VL_REWARDBENCH, data=write_json(tmp_path / "back.json", swapped), media_dir=folder)
    engine = LocalEngine(RewardModel.from_pretrained(checkpoint()))
    one, other = (score_blank_too(engine, [item.ranking.group for item in items]) for items in (there, back))
    for a, b in zip(one, other, strict=True):
        assert (a["rewards"], a["blank"]) == (b["rewards"][::-1], b["blank"][::-1])
        assert a["rewards"][0] != a["rewards"][1]


def test_both_layouts_are_the_same_items(tmp_path: Path) -> None:
    rows = vl_rows()
    from_json, _, _ = read_all(VL_REWARDBENCH, data=write_vl_json(tmp_path / "json", rows))
    from_parquet, _, _ = read_all(VL_REWARDBENCH, data=write_vl_parquet(tmp_path / "parquet", rows))
    for a, b in zip(from_json, from_parquet, strict=True):
        one, other = a.ranking.group, b.ranking.group
        assert (one.id, one.task, one.responses, a.ranking.ranks, a.labels) == (
            *(other.id, other.task, other.responses),
            *(b.ranking.ranks, b.labels),
        )
        (there,), (inside,) = media_of(one.messages), media_of(other.messages)
        assert Path(there.source).read_bytes() == inside.source
        assert not a.is_ordered
    facts = [facts_of(item, VL_REWARDBENCH.shared) for item in from_json]
    assert set(facts[0]["shared"]) == {"picture"}
    assert len({tuple(row["shared"]["picture"]) for row in facts}) == len(rows)


def test_ids_are_grouped_in_any_letter_case() -> None:
    ids = {"RLAIF-V-3": "hallucination", "rlhf_2": "hallucination", "POVID-1": "hallucination"}
    ids |= {"mmmu_pro_test_Biology_3": "reasoning", "wildvision-battle-2": "general", "politics-Gov-1": "general"}
    assert {id: group_of(id) for id in ids} == ids


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    folder = write_vl_json(tmp_path, vl_rows())
    (folder / "images" / "mathverse_3.png").unlink()
    items, (bad,), _ = read_all(VL_REWARDBENCH, data=folder)
    assert len(items) == 11
    assert str(bad.error) == f"{folder}/vl_rewardbench.json:row 4: {folder}/images/mathverse_3.png: no such file"


def test_repeated_items_are_told_apart_or_left_out(tmp_path: Path) -> None:
    rows = vl_rows(8)
    rows += [rows[0] | {"response": ["another", "pair"]}, rows[1]]
    items, _, left_out = read_all(VL_REWARDBENCH, data=write_vl_json(tmp_path, rows))
    assert [item.ranking.group.id for item in items][-1] == "wildvision-battle-0#2"
    assert left_out == {"that repeat another item exactly": 1}
    scores = verdicts(items, VL_REWARDBENCH)
    found = summarise(VL_REWARDBENCH, scores, model=None, counts_expected=COUNTS, left_out=left_out)
    assert found.repeated_ids == 1
    assert "1 ids stand for several items, where 25 do in the published data" in found.warnings
    assert "left out: 1 that repeat another item exactly" in found.warnings


@pytest.mark.shared
@pytest.mark.parametrize(
    ("kept", "words"),
    [(1247, "1,247 items are another version"), (1249, "1,249 items are no version that is known (1,247, 1,250)")],
)
def test_another_version_is_named(real: Path, tmp_path: Path, kept: int, words: str) -> None:
    rows = json.loads((real / "vl_rewardbench.json").read_text())
    write_json(tmp_path / "vl_rewardbench.json", rows[:kept])
    items, _, _ = read_all(VL_REWARDBENCH, data=tmp_path, media_dir=real)
    found = summarise(VL_REWARDBENCH, verdicts(items, VL_REWARDBENCH), model=None, counts_expected=COUNTS)
    assert found.warnings[0].startswith(words)
    assert any("are expected" in line for line in found.warnings)


def test_a_missing_group_leaves_no_mean(tmp_path: Path) -> None:
    rows = [row for row in vl_rows() if not row["id"].startswith("mathverse")]
    items, _, _ = read_all(VL_REWARDBENCH, data=write_vl_json(tmp_path, rows))
    found = summarise(VL_REWARDBENCH, verdicts(items, VL_REWARDBENCH), model=None, counts_expected=COUNTS)
    assert found.macro is None
    assert "reasoning: 0 items where 318 are expected" in found.warnings


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"human_ranking": [0, 0]}, "'human_ranking' must be [0, 1] or [1, 0], got [0, 0]"),
        ({"human_ranking": ["0", None]}, "'human_ranking' must be [0, 1] or [1, 0], got ['0', None]"),
        ({"human_ranking": None}, "'human_ranking' must be [0, 1] or [1, 0], got None"),
        ({"response": ["one"]}, "'response' must have 2 texts, got 1"),
        ({"query": None}, "'query' must be text, got nothing; is this the right file?"),
        ({"image": None}, "no picture in the row"),
    ],
)
def test_a_row_of_another_form_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    rows = vl_rows(4)
    write_pictures(tmp_path, [row["image"] for row in rows])
    rows[2] |= change
    path = write_json(tmp_path / "vl_rewardbench.json", rows)
    _, (bad,), _ = read_all(VL_REWARDBENCH, data=path)
    assert str(bad.error).startswith(f"{path}:row 3: ")
    assert words in str(bad.error)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing of vl-rewardbench in this folder; expected one of data/test-\*"):
        read_all(VL_REWARDBENCH, data=tmp_path)
    with pytest.raises(InputError, match=r"at revision cdb956c\w+ is not in the local cache, and .* --data"):
        read_all(VL_REWARDBENCH)
    with pytest.raises(InputError, match="offline was asked for"):
        read_all(VL_REWARDBENCH, offline=True, data_revision="abc")
