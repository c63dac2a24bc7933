"""The bundled model's own report: its held-out world, every audit, one page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlreward.cli import main
from vlreward.errors import CheckpointError
from vlreward.evaluate.audits import AUDITS
from vlreward.tiny.bundled import bundled_model

PAIRS = 33


@pytest.fixture
def bundled() -> str:
    try:
        return str(bundled_model("reward"))
    except CheckpointError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_the_bundled_model_is_reported_with_every_audit(
    bundled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, audited, output = tmp_path / "scores.jsonl", tmp_path / "audited.jsonl", tmp_path / "report.html"
    how = ["--pairs", str(PAIRS), "--model", bundled, "--quiet", "--json"]
    assert main(["eval", "tiny-world", "-o", str(scores), *how]) == 0
    assert main(["audit", "--data", "tiny-world", "-o", str(audited), *how]) == 0
    assert main(["report", str(scores), str(audited), "-o", str(output)]) == 0
    capsys.readouterr()
    values = json.loads(output.with_suffix(".json").read_text("utf-8"))
    (evaluation,), (audits,) = values["evaluations"], values["audits"]
    summary = evaluation["summary"]
    assert summary["n"] == audits["n"] == PAIRS
    assert summary["accuracy"] > 0.5
    assert summary["accuracy"] > summary["baselines"]["blank"]
    assert [audit["name"] for audit in audits["audits"]] == [audit.name for audit in AUDITS]
    variants = {
        (audit["name"], variant["name"]): variant for audit in audits["audits"] for variant in audit["variants"]
    }
    assert len(variants) == sum(len(audit.variants) for audit in AUDITS)
    # The world's questions name their options within a sentence.
    unasked = {("order", "relettered"), ("order", "relabelled")}
    assert {name for name, variant in variants.items() if variant["verdict"] == "does not apply"} == unasked
    text = output.read_text("utf-8")
    assert all(f">{audit.name} " in text for audit in AUDITS)
