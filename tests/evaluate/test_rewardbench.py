"""RewardBench and RewardBench 2: sections, weights, and the figure of Ties, against their slow definitions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlreward.evaluate.benchmarks.rewardbench import REWARDBENCH, SECTIONS, WEIGHTS
from vlreward.evaluate.benchmarks.rewardbench_2 import COUNTS, REWARDBENCH_2, ties_parts, ties_score
from vlreward.evaluate.scores import ItemScores
from vlreward.evaluate.summary import Summary, summarise

from .benchmark_data import read_all, verdicts

ALL = REWARDBENCH.counts(REWARDBENCH.select())
SIZES = {subset: count for subsets in SECTIONS.values() for subset, count in subsets.items()}


def pair(subset: str, number: int, right: bool) -> ItemScores:
    section = next(section for section, subsets in SECTIONS.items() if subset in subsets)
    return ItemScores(
        id=f"{subset}/{number}",
        labels={"section": section, "subset": subset, "id": f"{subset}/{number}"},
        ranks=(0, 1),
        lengths=(1, 1),
        ordered=False,
        shared={"prompt": (f"{subset} {number}",)},
        rewards=(1.0, 0.0) if right else (0.0, 1.0),
        blank=None,
    )


def summary_of(right: Mapping[str, int], sizes: Mapping[str, int] = SIZES) -> Summary:
    items = [pair(subset, i, i < right[subset]) for subset, size in sizes.items() for i in range(size)]
    return summarise(REWARDBENCH, items, model=None, counts_expected=ALL)


def spread_over(subsets: Mapping[str, int], right: int) -> dict[str, int]:
    """So many right ones, filled into one subset after the other."""
    found = {}
    for subset, size in subsets.items():
        found[subset] = min(size, right)
        right -= found[subset]
    assert right == 0
    return found


def test_the_counts_are_the_published_ones() -> None:
    assert {section: ALL[section] for section in SECTIONS} == {
        "chat": 358,
        "chat hard": 456,
        "safety": 740,
        "reasoning": 1431,
    }
    assert sum(SIZES.values()) == 2985
    assert (SIZES["math-prm"], WEIGHTS["math-prm"]) == (447, 984)


def test_the_published_system_comes_out_from_its_items() -> None:
    """Its raw section scores are whole numbers of items, math weighed up, and give 90.1."""
    math_right, code_right = next(
        (k, round(0.91756 * 1968 - k * 984 / 447))
        for k in range(447, 0, -1)
        if abs((k * 984 / 447 + round(0.91756 * 1968 - k * 984 / 447)) / 1968 - 0.91756) < 5e-6
        and 0 <= 0.91756 * 1968 - k * 984 / 447 <= 984
    )
    right = spread_over(SECTIONS["chat"], 322) | spread_over(SECTIONS["chat hard"], 399)
    right |= spread_over(SECTIONS["safety"], 674) | {"math-prm": math_right}
    right |= spread_over({name: 164 for name in SECTIONS["reasoning"] if name != "math-prm"}, code_right)
    found = summary_of(right)
    shares = [round(found.groups[section].accuracy, 5) for section in SECTIONS]
    assert shares == [0.89944, 0.875, 0.91081, 0.91756]
    assert found.macro is not None
    assert round(100 * found.macro, 1) == 90.1
    assert found.warnings == []


def test_published_scores_are_the_mean_of_their_sections() -> None:
    for entry in REWARDBENCH.published:
        mean = sum(entry.figures[section] for section in SECTIONS) / 4
        assert mean == pytest.approx(entry.figures["macro"], abs=0.0006), entry.system


@pytest.mark.slow
@settings(max_examples=10)
@given(st.fixed_dictionaries({subset: st.integers(0, size) for subset, size in SIZES.items()}))
def test_a_section_is_its_subsets_by_their_counts(right: dict[str, int]) -> None:
    found = summary_of(right)
    for section, subsets in SECTIONS.items():
        share = sum(WEIGHTS[subset] * right[subset] / size for subset, size in subsets.items())
        assert found.groups[section].accuracy == pytest.approx(share / sum(WEIGHTS[subset] for subset in subsets))
    assert found.macro == pytest.approx(np.mean([found.groups[section].accuracy for section in SECTIONS]))
    assert found.accuracy == pytest.approx(sum(right.values()) / 2985)


def test_one_section_by_its_subsets() -> None:
    right = {subset: (7 * i) % (size + 1) for i, (subset, size) in enumerate(SIZES.items())}
    found = summary_of(right)
    reasoning = SECTIONS["reasoning"]
    share = sum(WEIGHTS[subset] * right[subset] / size for subset, size in reasoning.items()) / 1968
    assert found.groups["reasoning"].accuracy == pytest.approx(share)
    assert found.groups["subset: math-prm"].accuracy == pytest.approx(right["math-prm"] / 447)
    assert found.groups["subset: math-prm"].n == 447
    interval = found.groups["reasoning"].interval
    assert interval is not None
    assert interval[0] < share < interval[1]


def test_a_missing_subset_is_named_and_leaves_no_score() -> None:
    sizes = {subset: size for subset, size in SIZES.items() if subset != "hep-go"}
    found = summary_of(sizes, sizes)
    assert found.macro is None
    assert {found.groups[section].accuracy for section in SECTIONS} == {1.0}
    assert found.warnings == [
        "reasoning: 1,267 items where 1,431 are expected",
        "subset: hep-go: 0 items where 164 are expected",
    ]


@pytest.mark.shared
def test_llmbar_and_humanevalpack_are_subsets_of_it(shared: Path) -> None:
    items, unusable, left_out = read_all(REWARDBENCH, data=shared / "data" / "benchmarks")
    assert (len(items), unusable, left_out) == (419 + 6 * 164, [], {})
    found = summarise(REWARDBENCH, verdicts(items, REWARDBENCH, by_length=False), model=None, counts_expected=ALL)
    assert {name: share.accuracy for name, share in found.groups.items()} == dict.fromkeys(found.groups, 1.0)
    for subset, size in SIZES.items():
        if subset.startswith(("llmbar", "hep")):
            assert found.groups[f"subset: {subset}"].n == size
    assert found.macro is None
    assert "chat: 0 items where 358 are expected" in found.warnings
    assert "chat hard: 419 items where 456 are expected" in found.warnings
    assert "subset: math-prm: 0 items where 447 are expected" in found.warnings
    code = next(item for item in items if item.labels["subset"] == "hep-python")
    (right,), (wrong,) = code.ranking.group.responses
    assert code.ranking.ranks == (0, 1)
    assert str(right.content).startswith("from typing import List")
    assert str(right.content).split("\n")[0] == str(wrong.content).split("\n")[0]
    assert str(code.ranking.group.messages[0].content).startswith("Write a Python function")


def hub_rows() -> list[dict[str, object]]:
    return [
        {"prompt": f"Q{i}", "chosen": "yes", "rejected": "no", "subset": subset, "id": i}
        for i, subset in enumerate(SIZES)
    ]


def test_the_hubs_form(tmp_path: Path) -> None:
    rows = [*hub_rows(), {"prompt": "Q", "chosen": "a", "rejected": "b", "subset": "hep-cp", "id": 99}]
    (tmp_path / "filtered.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items, (bad,), _ = read_all(REWARDBENCH, data=tmp_path)
    assert [item.labels["subset"] for item in items] == list(SIZES)
    assert "subset: unknown key 'hep-cp'; did you mean 'hep-cpp'?" in str(bad.error)


# RewardBench 2


def slow_ties(items: list[ItemScores]) -> float:
    """The definition, question by question."""
    ref: dict[str, tuple[bool, float, float]] = {}
    tied: dict[str, tuple[bool, float, float]] = {}
    for item in items:
        kind, name = item.id.split(":")
        right = [r for r, rank in zip(item.rewards, item.ranks, strict=True) if rank == 0]
        wrong = [r for r, rank in zip(item.rewards, item.ranks, strict=True) if rank == 1]
        spread = max(right) - min(right) if len(right) > 1 else math.nan
        (ref if kind == "ref" else tied)[name] = (min(right) > max(wrong), spread, min(right) - max(wrong))
    both = [name for name in ref if name in tied]
    preferred, hard, margins = [], [], []
    for name in both:
        spread, smaller = tied[name][1], min(ref[name][2], tied[name][2])
        preferred.append(tied[name][2] > spread)
        hard.append(smaller > spread)
        if spread == 0:
            margins.append(0.0 if smaller == 0 else math.copysign(1.0, smaller))
        else:
            margin = math.tanh(smaller / spread - 1)
            margins.append(0.0 if math.isnan(margin) else margin)
    return (
        0.30 * float(np.mean([stats[0] for stats in tied.values()]))
        + 0.30 * float(np.mean([stats[0] for stats in ref.values()]))
        + 0.20 * float(np.mean(preferred))
        + 0.20 * float(np.mean(hard))
        + 0.01 * float(np.mean(margins))
    )


def ties_item(id: str, right: list[float], wrong: list[float]) -> ItemScores:
    count = len(right) + len(wrong)
    return ItemScores(
        id=id,
        labels={"subset": "Ties", "id": id},
        ranks=(0,) * len(right) + (1,) * len(wrong),
        lengths=(1,) * count,
        ordered=False,
        shared={},
        rewards=(*right, *wrong),
        blank=None,
    )


REWARDS = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0])


def rewards(least: int, most: int) -> st.SearchStrategy[list[float]]:
    return st.lists(REWARDS, min_size=least, max_size=most)


@given(
    st.lists(st.tuples(rewards(1, 1), rewards(1, 3), rewards(1, 4), rewards(1, 3)), min_size=1, max_size=6), st.data()
)
def test_ties_are_what_their_definition_says(
    questions: list[tuple[list[float], list[float], list[float], list[float]]], data: st.DataObject
) -> None:
    items = []
    for i, (one, wrong, several, wrong_too) in enumerate(questions):
        items += [ties_item(f"ref:{i}", one, wrong), ties_item(f"tied:{i}", several, wrong_too)]
    # Some questions are there in one form only; the first in both.
    kept = items[:2] + [item for item in items[2:] if data.draw(st.booleans())]
    kept = data.draw(st.permutations(kept))
    assert ties_score(ties_parts(kept)) == pytest.approx(slow_ties(kept), abs=1e-12)


def test_ties_of_one_form_alone_have_no_figure() -> None:
    assert math.isnan(ties_score(ties_parts([ties_item("ref:1", [1.0], [0.0])])))


def test_ties_that_not_every_draw_has_in_both_forms_have_no_interval() -> None:
    items = [ties_item(f"{kind}:{i}", [1.0, 0.75], [0.0]) for kind, i in (("ref", 1), ("tied", 1), ("ref", 2))]
    ties = summarise(REWARDBENCH_2, items, model=None).groups["Ties"]
    assert ties.accuracy > 0.9
    assert ties.interval is None


def best_of_four(subset: str, number: int, rewards: tuple[float, ...]) -> ItemScores:
    item = ties_item(f"{subset}/{number}", [rewards[0]], [*rewards[1:]])
    return ItemScores(**{**vars(item), "labels": {"subset": subset}})


def test_the_score_is_the_mean_of_the_six() -> None:
    items: list[ItemScores] = []
    tied: Callable[[int], tuple[float, ...]] = lambda i: (1.0, 1.0, 0.0, 0.0) if i % 2 else (1.0, 0.0, 0.0, 0.0)  # noqa: E731
    for subset, count in COUNTS.items():
        if subset != "Ties":
            items += [best_of_four(subset, i, tied(i)) for i in range(count)]
    ties = [ties_item(f"{kind}:{i}", [2.0, 1.5], [i % 3]) for kind in ("ref", "tied") for i in range(51)]
    found = summarise(REWARDBENCH_2, [*items, *ties], model=None, counts_expected=COUNTS)
    assert found.groups["Safety"].accuracy == 0.75
    assert found.groups["Ties"].accuracy == pytest.approx(slow_ties(ties))
    interval = found.groups["Ties"].interval
    assert interval is not None
    assert interval[0] < found.groups["Ties"].accuracy < interval[1]
    assert found.macro == pytest.approx(np.mean([found.groups[subset].accuracy for subset in COUNTS]))
    assert found.warnings == []
    one_form = summarise(REWARDBENCH_2, [*items, *ties[:51]], model=None, counts_expected=COUNTS)
    assert one_form.macro is None
    assert "Ties: 0 items where 102 are expected" in one_form.warnings


def test_rewardbench_2_is_read(tmp_path: Path) -> None:
    row = {"prompt": "Q", "chosen": ["a"], "rejected": ["b", "c", "d"], "subset": "Math", "id": "7", "num_correct": 1}
    ties = {**row, "subset": "Ties", "id": "tied:3", "chosen": ["a", "b"], "rejected": ["c"]}
    bad = [{**row, "subset": "Tie"}, {**ties, "id": "3"}, {**row, "chosen": []}]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [row, ties, *bad]))
    (one, two), unusable, _ = read_all(REWARDBENCH_2, data=tmp_path)
    assert (one.ranking.group.id, one.ranking.ranks) == ("Math/7", (0, 1, 1, 1))
    assert (two.ranking.group.id, two.ranking.ranks) == ("tied:3", (0, 0, 1))
    said = [str(item.error) for item in unusable]
    assert "did you mean 'Ties'" in said[0]
    assert "must be ref:ID or tied:ID, got '3'" in said[1]
    assert "'chosen' must be a list of texts" in said[2]
