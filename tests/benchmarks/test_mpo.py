"""The benchmark of preference training: both are told the same, and the reference counts on both sides."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import mpo
from harness import flops, preference_table
from harness.flops import GroupShape, Work
from harness.pairs import made_up_pairs, write_sharegpt, write_trl
from harness.preference import write_policy_recipe, write_trl_job
from harness.race import Lap, LossesDiffer, Race
from harness.sizes import BENCH_POLICY, QUICK, QUICK_POLICY, RELEASED_7B, SPECIAL_TOKENS, ModelSize
from harness.tokenizer import words, write_tokenizer
from harness.training import Task
from tests.conftest import ROOT
from vlreward.data.rankings import read_rankings
from vlreward.policy.losses import VARIANTS
from vlreward.policy.recipe import read_policy_recipe

PAIR = GroupShape(grids=((64, 64),), prefix=1118, answers=(180, 170))


def test_the_reference_is_a_forward_pass_more() -> None:
    forward = flops.padded_work(QUICK, PAIR, lm_head=False)
    step = flops.trained_work(QUICK, PAIR, forward)
    work = flops.preference_work(QUICK, PAIR, forward, head_tokens=350, passes=4, sights=2)
    assert work.vision == pytest.approx(step.vision + forward.vision)
    assert work.text == pytest.approx(step.text + forward.text)
    assert work.lm_head == pytest.approx(4 * flops.lm_head_flops(QUICK, 350))


def test_a_picture_that_was_kept_takes_only_its_projector() -> None:
    forward = flops.packed_work(QUICK, PAIR)
    work = flops.preference_work(QUICK, PAIR, forward, head_tokens=0, passes=3, sights=0)
    cached = flops.trained_work(QUICK, PAIR, forward, cached=True)
    assert work == Work(vision=pytest.approx(cached.vision), text=pytest.approx(cached.text))


@pytest.mark.parametrize("size", [BENCH_POLICY, RELEASED_7B])
def test_the_ideal_is_above_what_the_issue_asks_for(size: ModelSize) -> None:
    first, later = (mpo.ideal(size, [PAIR], later=later) for later in (False, True))
    assert 1.7 < first < later
    assert later < 3.0  # eight passes of a whole conversation against three of a pack


def _race() -> Race:
    race = Race(names=["ours", "trl"])
    answers = {"ours": {"losses": [9.0], "peak_bytes": 7, "reference_seconds": 12.0, "reference_cpu_seconds": 20.0}}
    race.note_first(answers | {"trl": {"losses": [9.0005], "peak_bytes": 5}}, tolerance=1e-4)
    return race


def test_every_step_is_charged_its_part_of_the_reference() -> None:
    lap = Lap(seconds={"ours": [5.0, 6.0], "trl": [14.0, 15.0]}, cpu_seconds={"ours": [9.0], "trl": [27.0]})
    lap.peak_bytes = {"ours": 6, "trl": 8}
    counted = _race().with_reference(lap, 1 / 6)
    assert counted.seconds == {"ours": [7.0, 8.0], "trl": [14.0, 15.0]}
    assert counted.cpu_seconds["ours"] == [pytest.approx(9.0 + 20.0 / 6)]
    assert counted.peak_bytes == {"ours": 7, "trl": 8}
    assert lap.seconds["ours"] == [5.0, 6.0]


def test_losses_have_to_be_the_same_relatively() -> None:
    assert _race().difference == pytest.approx(5e-4)
    with pytest.raises(LossesDiffer):
        _race().note_losses({"ours": [9.0], "trl": [9.001]}, tolerance=1e-4)


def test_both_are_told_the_same(tmp_path: Path) -> None:
    pairs = made_up_pairs(4, tmp_path, side=56)
    task = Task(
        model=tmp_path,
        batch=2,
        micro_batch=2,
        pack_tokens=4096,
        steps=2,
        epochs=1,
        learning_rate=1e-5,
        schedule="constant",
        warmup_steps=0,
        min_pixels=3136,
        max_pixels=12845056,
    )
    recipe = read_policy_recipe(write_policy_recipe(task, pairs, tmp_path / "ours"))
    job = json.loads(write_trl_job(task, pairs, tmp_path / "trl").read_text())
    (stage,), settings = recipe.stages, job["settings"]
    mix = stage.objective.mix
    assert mix == VARIANTS["trl"]
    weights = dict(zip(settings["loss_type"], settings["loss_weights"], strict=True))
    assert weights == {"sigmoid": mix.preference, "bco_pair": mix.quality, "sft": mix.generation}
    assert settings["beta"] == mix.beta
    assert settings["per_device_train_batch_size"] == stage.batch
    for name in ("learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm"):
        assert settings[name] == getattr(stage.optimizer, name)
    assert (stage.parts.vision, stage.parts.projector, stage.parts.language) == ("frozen", "train", "train")
    assert Path(job["pairs"]).read_text() == Path(stage.data[0].path).read_text()


def test_pairs_in_trls_form_are_those_of_the_others(tmp_path: Path) -> None:
    pairs = made_up_pairs(2, tmp_path, side=56)
    files = write_trl(pairs, tmp_path / "a"), write_sharegpt(pairs, tmp_path / "b")
    # Compared by what they print: two images are equal only if they are one object.
    ours, others = ([replace(ranking.group, id=None) for ranking in read_rankings(file)] for file in files)
    assert str(ours) == str(others)


def test_every_token_of_the_small_vocabulary_has_a_row(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    size = QUICK_POLICY
    write_tokenizer(tmp_path, size.first_special_id)
    (tmp_path / "config.json").write_text(json.dumps(size.config()))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert size.config()["image_token_id"] == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert size.first_special_id + len(SPECIAL_TOKENS) == size.vocabulary == size.lm_head_rows
    ids = tokenizer(f"<|im_start|>user\n{words(64, 1)}<|im_end|>\n")["input_ids"]
    assert len(ids) == 64 + 4 + len(tokenizer("user")["input_ids"])
    assert max(ids) < size.vocabulary


def test_the_table_says_what_was_measured() -> None:
    def row(name: str, ours: float) -> dict[str, object]:
        ratio = {"trl": ours / 0.05}
        speed = {"ours": ours, "trl": 0.05}
        return {"pass": name, "pairs_per_second": speed, "ratio": ratio, "ideal_ratio": {"trl": 1.9}} | {
            "peak_bytes": {"ours": 8e9, "trl": 12.5e9}
        }

    pair = {"prefix": 1139, "answers": [186, 188]}
    result = {
        "rounds": 5,
        "machine": {"processor": "P", "cores": 2, "date": "2026-01-01"},
        "versions": {"trl": {"trl": "1.16.0"}},
        "settings": {"pairs_of_a_step": 2, "dtype": "float32", "threads": 2, "first_pair": pair},
        "largest_loss_difference": 2e-5,
        "passes": [row("first", 0.1), row("later", 0.125)],
    }
    lines = preference_table.markdown(result)
    assert lines[2] == "| first, with the reference | 10.0 s | 2.00× | 1.90× | 8.0 GB | 12.5 GB |"
    assert lines[3].startswith("| each later one | 8.0 s | 2.50× |")
    assert "TRL 1.16.0 holds a second model" in lines[-1]
    assert len({line.count("|") for line in lines[:4]}) == 1


@pytest.mark.slow
def test_mpo_quick(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    options = ["--quick", "--only", "ours", "--threads", "1", "--env-dir", str(tmp_path), "--out", str(out)]
    command = [sys.executable, str(ROOT / "benchmarks" / "mpo.py"), *options]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    result = json.loads(out.read_text())
    first, later = result["passes"]
    assert len(result["losses"]["ours"]) == 2 + 2
    assert result["reference_seconds"]["ours"] > 0
    assert later["pairs_per_second"]["ours"] > first["pairs_per_second"]["ours"]
    assert later["gflops_first_pair"]["ours"] < first["gflops_first_pair"]["ours"]
    assert str(Path.home()) not in out.read_text()
