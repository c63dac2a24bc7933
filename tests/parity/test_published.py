"""Our scores against those of the published procedure, on the fixture that ``make parity`` writes.

The fixture was made in an environment of its own (transformers 4.51.3, trl 0.16.1) by code that knows nothing of
vlreward: ``benchmarks/published/make_fixture.py``.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from harness.golden import Case, read_cases
from tests.conftest import ROOT
from tests.parity import ways
from vlreward import RewardModel

FIXTURE = ROOT / "tests" / "fixtures" / "published"
# Measured 1.6e-5, where the published procedure itself differs by 1.1e-5 between a conversation alone and in a batch;
# the scores spread over 23.
ATOL = 2e-4
# transformers 5 starts the text behind a video that reaches farther in time than in space at an earlier position than
# 4.51.3 did (get_rope_index goes on behind the larger side of a frame rather than behind the last position used).
TIME_BEYOND_SPACE = ("long_video", "slow_video")


def _reaches_beyond(case: Case) -> bool:
    return case.name.startswith(TIME_BEYOND_SPACE)


CASES = read_cases(FIXTURE)
USUAL = [case for case in CASES if not _reaches_beyond(case)]


@pytest.fixture(scope="module")
def model() -> RewardModel:
    return RewardModel.from_pretrained(FIXTURE / "checkpoint", dtype="float32", device="cpu")


@pytest.mark.parametrize("case", USUAL, ids=lambda case: case.name)
def test_alone(model: RewardModel, case: Case) -> None:
    assert model.score(case.messages) == pytest.approx(case.score, abs=ATOL)


@pytest.mark.xfail(reason="the position behind such a video is transformers 5's, not the published one", strict=True)
@pytest.mark.parametrize("case", [case for case in CASES if _reaches_beyond(case)], ids=lambda case: case.name)
def test_text_behind_a_video_that_reaches_farther_in_time_than_in_space(model: RewardModel, case: Case) -> None:
    assert model.score(case.messages) == pytest.approx(case.score, abs=ATOL)


def test_together(model: RewardModel) -> None:
    assert ways.furthest(ways.together(model, USUAL), USUAL) < (ATOL, "")


def test_shuffled(model: RewardModel) -> None:
    assert ways.furthest(ways.shuffled(model, USUAL), USUAL) < (ATOL, "")


def test_in_the_other_form_and_back(tmp_path: Path) -> None:
    for folder in ways.there_and_back(FIXTURE / "checkpoint", "value-head", tmp_path):
        converted = RewardModel.from_pretrained(folder, dtype="float32", device="cpu")
        assert ways.furthest(ways.together(converted, USUAL), USUAL) < (ATOL, "")


def test_cases_differ_enough_to_tell_right_from_wrong() -> None:
    scores = sorted(case.score for case in CASES)
    assert scores[-1] - scores[0] > 1000 * ATOL
    assert min(high - low for low, high in itertools.pairwise(scores)) > ATOL
