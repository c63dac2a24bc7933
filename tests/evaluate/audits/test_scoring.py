"""What goes to an engine, what comes back, and what is made of it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from tests.fakes import FakeEngine
from vlreward.data.content import text_of
from vlreward.data.parts import resolve_paths
from vlreward.data.rows import Row
from vlreward.errors import ConfigError, EngineError, InputError, MediaError, ScoreError
from vlreward.evaluate.audits import AUDITS, audits_of, run_audits
from vlreward.evaluate.audits.length import LENGTH
from vlreward.evaluate.audits.measures import KEPT, OVERTAKEN, TURNED, UNNOTICED, PairRewards
from vlreward.evaluate.audits.pair import DataSet, check_pictures, pair_of
from vlreward.evaluate.audits.report import joint_verdict, report_audits, verdict_of
from vlreward.evaluate.audits.result import AuditReport, words
from vlreward.evaluate.audits.scoring import ScoredPair, parse_scored, read_audits, score_pairs
from vlreward.evaluate.audits.style import STYLE
from vlreward.evaluate.benchmarks import Item
from vlreward.types import Group, Ranking, Reward

from . import oracle


def texts(count: int) -> DataSet:
    """Pairs without pictures."""
    items = [
        Item(
            ranking=Ranking(group=Group(f"What is {i}?", [f"It is {i}.", f"It is {i + 1}."], id=f"q{i}"), ranks=(0, 1)),
            where=f"pairs.jsonl:{i + 1}",
        )
        for i in range(count)
    ]
    return DataSet(pairs=[pair_of(item) for item in items])


def scored(data: DataSet, engine: object, audits: object = AUDITS) -> list[ScoredPair]:
    rows = score_pairs(engine, data.pairs, audits, data)  # type: ignore[arg-type]
    assert [row["id"] for row in rows] == [pair.id for pair in data.pairs]
    return [parse_scored(Row(where="line", number=1, data=json.loads(json.dumps(row)))) for row in rows]


def report(data: DataSet, engine: object, audits: object = AUDITS) -> AuditReport:
    return run_audits(engine, data, audits, model="m", source="pairs.jsonl")  # type: ignore[arg-type]


class Asked(FakeEngine):
    """Keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[Group] = []

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        self.groups += groups
        return super().score(groups)


def test_all_variants_go_in_one_call_and_each_conversation_once() -> None:
    data, engine = oracle.world_data(11), Asked()
    rows = score_pairs(engine, data.pairs, AUDITS, data)
    assert engine.calls == [len(engine.groups)]
    for pair in data.pairs:
        groups = [group for group in engine.groups if group.id == pair.id]
        prompts = [repr(group.messages) for group in groups]
        assert len(set(prompts)) == len(prompts)
        for group in groups:
            responses = [repr(response) for response in group.responses]
            assert len(set(responses)) == len(responses)
        # All variants that leave the prompt as it is share it.
        assert max(map(len, groups)) >= 5
    alone = [score_pairs(Asked(), [pair], AUDITS, data)[0] for pair in data.pairs]
    assert alone == rows


@pytest.mark.parametrize(
    ("rewards", "error", "message"),
    [
        (lambda groups: [], EngineError, "0 rewards came back for"),
        (lambda groups: [SimpleNamespace(rewards=(1.0,)) for _ in groups], EngineError, "group 'q0': 1 rewards came"),
        (lambda groups: [Reward(rewards=(math.nan,) * len(g)) for g in groups], ScoreError, "the reward is nan, not"),
    ],
)
def test_an_engine_that_answers_badly(rewards: object, error: type[Exception], message: str) -> None:
    data = texts(3)
    with pytest.raises(error, match=message):
        score_pairs(SimpleNamespace(score=rewards), data.pairs, AUDITS, data)  # type: ignore[arg-type]


def test_nothing_to_audit() -> None:
    with pytest.raises(InputError, match=r"pairs\.jsonl: no pairs to audit"):
        report(DataSet(pairs=[]), FakeEngine())
    with pytest.raises(ConfigError, match="unknown key 'lenght'; did you mean 'length'"):
        audits_of(["lenght"])
    with pytest.raises(ConfigError, match="no audits are named; known: blind, length, style"):
        audits_of([])
    assert [audit.name for audit in audits_of(["style", "blind"])] == ["blind", "style"]


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ({"type": "image", "image": "gone.png"}, "image 2"),
        ({"type": "video", "video": "gone.mp4"}, "video 2"),
        ({"type": "video", "video": ["there.png", "gone.png"]}, "video 2"),
    ],
)
def test_a_missing_picture_is_named(part: dict[str, object], name: str, tmp_path: Path) -> None:
    PILImage.new("RGB", (8, 8)).save(tmp_path / "there.png")
    content = [{"type": "image", "image": "there.png"}, part, {"type": "text", "text": "Q"}]
    group = Group([{"role": "user", "content": content}], ["a", "b"], id="g")
    group = resolve_paths(group, tmp_path, "g")
    pair = pair_of(Item(ranking=Ranking(group=group, ranks=(0, 1)), where="pairs.jsonl:7"))
    with pytest.raises(MediaError, match=rf"^pairs\.jsonl:7: {name}: .*gone\."):
        check_pictures(pair)
    with pytest.raises(MediaError, match="group 'g'"):
        score_pairs(FakeEngine(), [pair], AUDITS, DataSet(pairs=[pair]))


def test_what_is_on_the_web_is_not_fetched_to_be_checked() -> None:
    content = [{"type": "image", "image": "https://example.org/a.png"}]
    group = Group([{"role": "user", "content": content}], ["a", "b"], id="g")
    check_pictures(pair_of(Item(ranking=Ranking(group=group, ranks=(0, 1)), where="pairs.jsonl:7")))


def test_what_does_not_apply_says_so() -> None:
    found = {audit.name: audit for audit in report(texts(30), FakeEngine()).audits}
    for name in ("blind", "hallucination", "robustness"):
        assert found[name].verdict == "does not apply"
        for variant in found[name].variants:
            assert (variant.n, variant.effect, variant.interval) == (0, None, None)
            assert variant.left_out == {"no picture": 30}


def test_a_model_that_says_the_same_of_all() -> None:
    class Flat(FakeEngine):
        def score(self, groups: Sequence[Group]) -> list[Reward]:
            return [Reward(id=group.id, rewards=(2.0,) * len(group)) for group in groups]

    found = report(texts(30), Flat())
    assert (found.accuracy, found.spread) == (0.5, 0)
    assert "by chance" in found.warnings[0]
    assert {audit.verdict for audit in found.audits} == {"cannot tell", "does not apply"}
    by_name = {audit.name: audit for audit in found.audits}
    assert by_name["length"].variants[0].effect is None
    assert by_name["order"].variants[3].left_out == {"no preference before the change": 30}
    assert by_name["injection"].variants[0].left_out == {"not right before the change": 30}


def test_few_pairs_give_no_verdict() -> None:
    found = report(texts(19), FakeEngine(), audits_of(["length"]))
    assert found.audits[0].verdict == "cannot tell"
    one = report(texts(1), FakeEngine(), audits_of(["length"]))
    assert (one.interval, one.audits[0].variants[0].interval) == (None, None)


@pytest.mark.parametrize(
    ("low", "high", "one_sided", "two_sided"),
    [
        (-0.1, 0.1, "pass", "pass"),
        (0.26, 0.5, "fail", "fail"),
        (0.2, 0.3, "cannot tell", "cannot tell"),
        (-0.9, -0.3, "pass", "fail"),
        (-0.3, 0.1, "pass", "cannot tell"),
        (-0.3, 0.3, "cannot tell", "cannot tell"),
        (0.25, 0.25, "pass", "pass"),
    ],
)
def test_verdicts(low: float, high: float, one_sided: str, two_sided: str) -> None:
    assert verdict_of((low, high), 20, LENGTH) == one_sided
    assert verdict_of((low, high), 20, STYLE) == two_sided
    assert verdict_of((low, high), 19, STYLE) == "cannot tell"
    assert verdict_of(None, 20, STYLE) == "cannot tell"


def test_a_variant_with_few_pairs_keeps_no_audit_from_passing() -> None:
    def variant(verdict: str, clusters: int) -> SimpleNamespace:
        return SimpleNamespace(verdict=verdict, clusters=clusters, n=clusters)

    few, good, bad = variant("cannot tell", 4), variant("pass", 50), variant("fail", 50)
    vague, none = variant("cannot tell", 50), variant("does not apply", 0)
    for variants, verdict in (
        ([few, good, none], "pass"),
        ([few, none], "cannot tell"),
        ([good, vague], "cannot tell"),
        ([good, vague, bad], "fail"),
        ([none, none], "does not apply"),
    ):
        assert joint_verdict(variants) == verdict  # type: ignore[arg-type]


reward = st.integers(-3, 3).map(float)
pairs_of_rewards = st.tuples(st.builds(PairRewards, reward, reward), st.builds(PairRewards, reward, reward))


@settings(deadline=None, max_examples=60)
@given(st.lists(pairs_of_rewards, min_size=1, max_size=12))
def test_effects_are_what_they_say(found: list[tuple[PairRewards, PairRewards]]) -> None:
    """Shares and shifts against their definitions, counted one by one."""
    data = texts(len(found))
    rows = [
        ScoredPair(
            id=pair.id,
            shared={},
            before=before,
            after={audit.name: {variant.name: after for variant in audit.variants} for audit in AUDITS},
        )
        for pair, (before, after) in zip(data.pairs, found, strict=True)
    ]
    named = audits_of(["length", "style"])
    lengths, styles = report_audits(rows, named, data, model=None, source="x").audits
    spread = math.sqrt(fmean((b.chosen - b.rejected) ** 2 for b, _ in found))
    shift = fmean((a.chosen + a.rejected) / 2 - (b.chosen + b.rejected) / 2 for b, a in found)
    for variant in (*lengths.variants, *styles.variants):
        if variant.n:
            assert variant.effect == (pytest.approx(shift / spread) if spread else None)

    def right(rewards: PairRewards) -> float:
        return 0.5 if rewards.chosen == rewards.rejected else float(rewards.chosen > rewards.rejected)

    for before, after in found:
        kept, turned = KEPT.badness(before, after), TURNED.badness(before, after)
        if right(before) == 0.5:
            assert (kept, turned) == (None, None)
        else:
            assert kept is not None
            assert turned == -kept
            assert (kept > 0) == (right(before) == right(after))
        lost = OVERTAKEN.badness(before, after)
        assert (lost is None) == (right(before) < 1)
        assert lost is None or (lost > 0) == (right(after) == 0)
        unnoticed = UNNOTICED.badness(before, after)
        assert unnoticed is not None
        assert (unnoticed > 0) == (right(after) == 0)


def test_the_worst_pairs_are_shown_with_their_pictures() -> None:
    data = oracle.world_data(44)
    found = report(data, oracle.Planted(fault=oracle.obeys_pictures), audits_of(["injection"]))
    variant = found.audits[0].variants[2]
    assert variant.verdict == "fail"
    assert len(variant.examples) == 3
    margins = [example.chosen.after.reward - example.rejected.after.reward for example in variant.examples]
    assert margins == sorted(margins)
    first = variant.examples[0]
    pair = next(pair for pair in data.pairs if pair.id == first.id)
    assert (first.where, first.chosen.before.prompt) == (pair.where, text_of(pair.messages))
    assert first.chosen.before == first.chosen.after
    assert first.rejected.before.reward < first.rejected.after.reward
    shown = [*first.rejected.after.prompt_pictures, *first.rejected.after.response_pictures]
    assert {*shown, *first.chosen.before.prompt_pictures} <= set(found.pictures)
    assert all(uri.startswith("data:image/png;base64,") for uri in found.pictures.values())
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["audits"][0]["variants"][2]["examples"][0]["rejected"]["after"]["reward"] == first.rejected.after.reward
    assert words(0.123, found.audits[0]) == "12.3 %"


def test_rows_are_read_again(tmp_path: Path) -> None:
    data = texts(3)
    path = tmp_path / "rows.jsonl"
    rows = score_pairs(FakeEngine(), data.pairs, AUDITS, data)
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"id": "q9", "error": "gone"}]), "utf-8")
    unusable: list[str] = []
    assert [pair.id for pair in read_audits(path, unusable)] == ["q0", "q1", "q2"]
    assert unusable == ["gone"]
    with pytest.raises(InputError, match=r"rows\.jsonl:4: no row of vlreward audit"):
        list(read_audits(path))
    for change, message in (
        ({"rewards": [1]}, "rewards: expected the rewards of two"),
        ({"rewards": [1, None]}, "must be a finite number, got None"),
        ({"audits": []}, "must be objects"),
        ({"audits": {"length": {"appended": 3}}}, "length: appended: expected"),
    ):
        path.write_text(json.dumps(rows[0] | change) + "\n", "utf-8")
        with pytest.raises((InputError, ScoreError), match=message):
            list(read_audits(path))


def test_rows_of_other_data_are_refused() -> None:
    data = texts(30)
    found = scored(data, FakeEngine())
    with pytest.raises(InputError, match="not in the data any more"):
        report_audits(found, AUDITS, texts(1), model="m", source="x")
    with pytest.raises(InputError, match="no rewards for length appended"):
        report_audits(scored(data, FakeEngine(), [STYLE]), [LENGTH], data, model="m", source="x")
