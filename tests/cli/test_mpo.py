"""The loop on random models in a small world: every stage, going on after a stop, and the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vlreward.cli import main, mpo_stages
from vlreward.cli.mpo import STAGES
from vlreward.cli.mpo_page import page
from vlreward.cli.mpo_report import Measured, _gain, _warnings
from vlreward.policy.gold import KeyGold

Loop = Callable[..., tuple[int, str, str]]
FAMILIES = ["counting", "relations"]


@pytest.fixture
def loop(checkpoint: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Loop:
    """Runs a loop over six questions; the exit code, standard output and stderr."""
    content: dict[str, Any] = {
        "policy": str(checkpoint(form="none")),
        "reward": str(checkpoint("qwen3_vl")),  # of another family: only texts and pictures go from one to the other
        "prompts": {"world": {"items": 6, "families": FAMILIES, "size": 56}},
        "held_out": {"world": {"items": 3, "split": "heldout", "families": FAMILIES, "size": 56}},
        "sampling": {"answers": 3, "max_tokens": 4},
        "evaluation": {"answers": 1, "temperature": 0.0, "max_tokens": 4},
        "train": {
            "batch": 2,
            "pack_tokens": 400,
            "max_steps": 2,
            "max_length": 400,
            "optimizer": {"learning_rate": 1e-3, "warmup": 0.0},
        },
        "watch": {"every": 1, "prompts": 2},
        "trainer": {"use_cpu": True, "logging_steps": 1, "save_steps": 1, "disable_tqdm": True},
    }

    def run(*options: str, output: str = "out", **changes: Any) -> tuple[int, str, str]:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content | {"output": str(tmp_path / output)} | changes))
        code = main(["mpo", str(path), "-q", *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.mark.slow
def test_the_whole_loop_and_going_on(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Stopped before training, as by a person.
    real = mpo_stages.train

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    # Answers cut off at the limit are never chosen, and random models rarely end: here they may be.
    monkeypatch.setattr("vlreward.policy.prompts.unfinished_responses", lambda row: frozenset())
    monkeypatch.setattr(mpo_stages, "train", stop)
    assert loop()[0] == 130
    monkeypatch.setattr(mpo_stages, "train", real)
    assert json.loads(loop("--dry-run")[1]) == {"done": list(STAGES[:3]), "to_do": list(STAGES[3:])}
    before = (tmp_path / "out/1-sample/sampled.jsonl").read_bytes()
    code, out, error = loop()
    assert code == 0, error
    assert (tmp_path / "out/1-sample/sampled.jsonl").read_bytes() == before
    report = json.loads(out)
    assert report == json.loads((tmp_path / "out/report.json").read_text())
    assert [figures["step"] for figures in report["over_training"]] == [0, 1, 2]
    assert report["pairs"]["groups"] == 6
    assert report["pairs"]["by_key"] == 0
    assert report["training"]["steps"] == 2
    assert report["before"]["with_key"] == 3
    assert report["gain"]["reward"] == pytest.approx(report["after"]["reward"] - report["before"]["reward"])
    html = (tmp_path / "out/report.html").read_text()
    assert html.count('<div class="case">') == 3
    assert html.count("data:image/png;base64,") == 3
    assert html.count('class="point"') == 2 * 3  # while training, and the checkpoints
    watched = report["watched"]
    assert [point["step"] for point in watched] == [0, 1, 2]
    assert [point["prompts"] for point in watched] == [2, 2, 2]
    # The finished policy, asked while it was trained and from the disk: the first two of its three prompts.
    sampled = [json.loads(line) for line in (tmp_path / "out/5-evaluate/step-2/sampled.jsonl").read_text().splitlines()]
    assert watched[-1]["length"] == sum(len(row["responses"][0]) for row in sampled[:2]) / 2
    assert json.loads(loop()[1]) == report
    code, _, error = loop("--set", "seed=1")
    assert code == 2
    assert "begun with seed 0, now 1; name another output, or remove it" in error


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["random", "oracle"])
def test_controls_need_no_reward_model(loop: Loop, tmp_path: Path, reward: str) -> None:
    for stage in ("sample", "score"):
        assert loop("--stage", stage, reward=reward)[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "out/2-score/rewards.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    values = {value for row in rows for value in row["rewards"]}
    assert values <= {0.0, 1.0} if reward == "oracle" else len(values) > 6


@pytest.mark.slow
def test_pairs_of_answers_that_end_without_the_picture(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlreward.policy.prompts.unfinished_responses", lambda row: frozenset())
    changes = {"reward": "random", "pairs": {"blind": {"keep": 0.5}}}
    for stage in ("sample", "score", "pairs"):
        code, _, error = loop("--stage", stage, **changes)
        assert code == 0, error
    said = json.loads((tmp_path / "out/3-pairs/pairs.json").read_text())
    assert said["blind"]["cut"] == 6
    ids = [json.loads(line)["id"] for line in (tmp_path / "out/3-pairs/pairs.jsonl").read_text().splitlines()]
    assert sum(id.endswith("-blind") for id in ids) == said["blind"]["made"] > 0


def test_stages_come_one_after_the_other(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, error = loop("--stage", "train")
    assert code == 2
    assert "--stage train: sample, score, pairs not done yet; run without --stage" in error
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "several processes are for --stage train alone" in loop()[2]


def test_a_recipe_that_does_not_fit_leaves_nothing(loop: Loop, tmp_path: Path) -> None:
    code, _, error = loop("--set", "sampling.answers=1")
    assert code == 2
    assert "pairs are made of different answers" in error
    assert loop("--dry-run")[0] == 0
    assert not (tmp_path / "out").exists()


def measured(step: int, reward: float, right: list[float]) -> Measured:
    return Measured(
        step=step,
        policy="p",
        rewards=[reward] * len(right),
        lengths=[10.0 + step] * len(right),
        unfinished=0.0,
        right=dict(enumerate(right)),
    )


def test_a_reward_that_parts_from_the_truth_is_said() -> None:
    course = [measured(0, 0.0, [0, 1, 0, 0]), measured(5, 1.0, [1, 1, 1, 1]), measured(9, 2.0, [1, 0, 0, 0])]
    curve = [item.figures() for item in course]
    (warning,) = _warnings(curve)
    assert warning.startswith("over all held-out prompts, step 9: the reward is above that of step 5")
    assert "fewer answers are right (25.0%, then 100.0%)" in warning
    assert _warnings(curve[:2]) == []
    assert len(_warnings(curve, curve)) == 1  # while training, one evaluation alone may be chance
    (_, warning) = sorted(_warnings(curve, [*curve, curve[-1] | {"step": 14}]))
    assert warning.startswith("while training, step 14")
    gain = _gain(course[0], course[1])
    assert gain["accuracy"] == 0.75
    assert gain["accuracy_interval"][0] <= 0.75 <= gain["accuracy_interval"][1]
    assert gain["length"] == 5
    assert curve[0]["accuracy_interval"][0] < 0.25 < curve[0]["accuracy_interval"][1]


def test_the_page_says_what_was_found_and_escapes_what_was_said(tmp_path: Path) -> None:
    curve = [measured(0, 0.0, [0, 1]).figures(), measured(5, 1.0, [1, 1]).figures()]
    pairs = {"groups": 9, "pairs": 4, "by_key": 0, "dropped": {"all answers the same": 5}, "left_out": {}}
    for name, answer in (("before", "<b>5</b>"), ("after", "4")):
        (tmp_path / name).mkdir()
        row = {"id": "q", "messages": "What is 2 + 2 & why?", "responses": [answer]}
        (tmp_path / name / "sampled.jsonl").write_text(json.dumps(row) + "\n")
        (tmp_path / name / "rewards.jsonl").write_text('{"id": "q", "rewards": [0.5]}\n')
    report = {
        "recipe": {"policy": "<p>", "reward": "r"},
        "warnings": ["they part"],
        "before": curve[0],
        "after": curve[1],
        "over_training": curve,
        "watched": [],
        "pairs": pairs,
    }
    html = page(report, tmp_path / "before", tmp_path / "after", KeyGold({"q": "4"}))
    assert html.count("<figure>") == 1
    assert "Checkpoints, all 2 held-out prompts" in html
    watched = page(report | {"watched": curve}, tmp_path / "before", tmp_path / "after", None)
    assert watched.count("<figure>") == 2
    assert "While training, 2 held-out prompts" in watched
    assert "&lt;b&gt;5&lt;/b&gt;" in html
    assert "<b>" not in html
    assert "before: reward +0.500, ✕ wrong" in html
    assert "after: reward +0.500, ✓ right" in html
    assert "prompts without a pair: all answers the same" in html
    assert '<p class="missing">they part</p>' in html
    unknown = [point | {"accuracy": None, "accuracy_interval": None} for point in curve]
    changed = report | {"over_training": unknown, "before": unknown[0], "after": unknown[1]}
    assert "wrong" not in page(changed, tmp_path / "before", tmp_path / "after", None).split("</style>")[1]
