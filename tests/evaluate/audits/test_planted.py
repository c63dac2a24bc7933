"""Every audit can fail: a model with the fault fails it, and an oracle passes all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from vlreward.engines.base import Engine
from vlreward.evaluate.audits import AUDITS, Audit, AuditReport, DataSet, audits_of, pair_of, run_audits
from vlreward.evaluate.audits.scoring import score_pairs
from vlreward.tiny.world.oracle.reading import COLOUR, SHAPE

from . import oracle
from .oracle import Careless, Oracle, Planted

PAIRS = 132


def audited(engine: Engine, audits: Sequence[Audit] = AUDITS, count: int = PAIRS) -> AuditReport:
    return run_audits(engine, oracle.world_data(count), audits, model="a model", source="tiny-world")


def test_the_oracle_passes_all() -> None:
    report = audited(Oracle())
    assert report.accuracy == 1
    assert {audit.name: audit.verdict for audit in report.audits} == {audit.name: "pass" for audit in AUDITS}
    variants = [variant for audit in report.audits for variant in audit.variants]
    assert {variant.verdict for variant in variants} == {"pass"}
    assert all(variant.n + sum(variant.left_out.values()) == PAIRS for variant in variants)
    assert report.warnings == []
    assert not any(variant.examples for audit in report.audits[1:] for variant in audit.variants)


NUMBERS = r"\d+|two|three|four|five|six|seven|eight|nine"
PLACES = "left|right|above|below|top|bottom"
OBJECTS = rf"{SHAPE}s?|block|ball|cup|house|tent|flower|tree|balloon|kite|car"
FAULTS: list[tuple[Engine, str, set[str]]] = [
    (Oracle(looks=False), "blind", {"blank", "swapped"}),
    (Planted(fault=oracle.likes_length), "length", {"appended", "repeated"}),
    (Planted(fault=oracle.likes_markdown), "style", {"markdown"}),
    (Planted(fault=oracle.likes_confidence), "style", {"confident"}),
    (Planted(fault=oracle.dislikes_hedging), "style", {"hedged"}),
    (Planted(fault=oracle.agrees), "sycophancy", {"believed", "insisted"}),
    (Planted(fault=oracle.likes_first_option), "order", {"reordered", "relettered"}),
    (Planted(fault=oracle.likes_first_letter), "order", {"relettered"}),
    (Planted(fault=oracle.minds_brackets), "order", {"relabelled"}),
    (Planted(fault=oracle.minds_headings), "order", {"headed"}),
    (Planted(fault=oracle.obeys_words), "injection", {"note", "system"}),
    (Planted(fault=oracle.obeys_pictures), "injection", {"picture"}),
    (Careless(words=COLOUR), "hallucination", {"colour"}),
    (Careless(words=NUMBERS), "hallucination", {"number"}),
    (Careless(words=PLACES), "hallucination", {"place"}),
    (Careless(words=OBJECTS), "hallucination", {"object"}),
    (Planted(fault=oracle.minds_format), "robustness", {"jpeg"}),
    (Planted(fault=oracle.minds_size), "robustness", {"resized"}),
    (Planted(fault=oracle.ignores_exif), "robustness", {"exif"}),
    (Planted(fault=oracle.minds_every_pixel), "robustness", {"jpeg", "resized", "pixel"}),
]


def name_of(value: object) -> str | None:
    if isinstance(value, Planted):
        return getattr(value.fault, "__name__", None)
    return type(value).__name__ if isinstance(value, Oracle) else None


@pytest.mark.parametrize(("engine", "name", "faulty"), FAULTS, ids=name_of)
def test_a_planted_fault_fails_its_audit(engine: Engine, name: str, faulty: set[str]) -> None:
    (audit,) = audited(engine, audits_of([name])).audits
    assert audit.verdict == "fail"
    assert {variant.name for variant in audit.variants if variant.verdict == "fail"} == faulty
    assert all(variant.verdict == "pass" for variant in audit.variants if variant.name not in faulty)
    for variant in audit.variants:
        assert variant.examples or variant.verdict != "fail"


def test_every_variant_has_a_planted_fault() -> None:
    planted = {(name, variant) for _, name, variants in FAULTS for variant in variants}
    assert planted == {(audit.name, variant.name) for audit in AUDITS for variant in audit.variants}


def test_who_likes_length_is_not_taken_for_one_who_obeys() -> None:
    """Beside a control, an injection that only makes a response longer has nothing to show."""
    (audit,) = audited(Planted(fault=oracle.likes_length), audits_of(["injection"])).audits
    assert audit.verdict == "pass"


def test_what_was_lost_before_is_not_lost_to_an_injection() -> None:
    """A control that makes wrong responses lose must not make what they are without it look like an effect."""
    report = audited(Planted(fault=oracle.minds_controls), audits_of(["injection"]))
    (audit,) = report.audits
    assert report.accuracy < 0.75
    assert {variant.effect for variant in audit.variants} == {0.0}
    assert audit.verdict == "pass"
    assert audit.variants[0].left_out["not right before the change"] > 30


def test_a_fault_stays_where_it_is() -> None:
    """What fails one audit need not fail the others."""
    for fault, name in ((oracle.likes_markdown, "style"), (oracle.agrees, "sycophancy")):
        report = audited(Planted(fault=fault), count=66)
        assert [audit.name for audit in report.audits if audit.verdict == "fail"] == [name]


def test_where_a_response_stands_cannot_reach_the_model() -> None:
    """All pairs are swapped: the engine is asked the same, and says the same."""
    items = oracle.world_items(33)
    swapped = [
        replace(
            item,
            ranking=replace(
                item.ranking,
                group=replace(item.ranking.group, responses=item.ranking.group.responses[::-1]),
                ranks=item.ranking.ranks[::-1],
            ),
        )
        for item in items
    ]

    class Places(Oracle):
        """What stands first gets more, in every group and in every call."""

        def score(self, groups):  # type: ignore[no-untyped-def]
            rewards = super().score(groups)
            return [
                replace(reward, rewards=tuple(value - 1e-3 * (i + k) for k, value in enumerate(reward.rewards)))
                for i, reward in enumerate(rewards)
            ]

    found = []
    for every in (items, swapped):
        data = DataSet(pairs=[pair_of(item, ()) for item in every])
        found.append(score_pairs(Places(), data.pairs, AUDITS, data))
    assert found[0] == found[1]
