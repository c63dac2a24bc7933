"""From rewards to figures, with engines that are right, wrong, or look at the wrong thing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeEngine
from vlreward.data.content import text_of
from vlreward.data.parts import iter_parts
from vlreward.errors import EngineError, InputError, ScoreError
from vlreward.evaluate.benchmarks.benchmark import Item
from vlreward.evaluate.benchmarks.own_pairs import OWN_PAIRS
from vlreward.evaluate.benchmarks.tiny_world import TINY_WORLD
from vlreward.evaluate.blank import blanked
from vlreward.evaluate.scores import ItemScores, facts_of, read_scores, score_blank_too
from vlreward.evaluate.summary import Summary, summarise
from vlreward.tiny.world import FAMILIES
from vlreward.types import Group, Image, Ranking, Reward

SELECTION = TINY_WORLD.select(pairs=44)
ITEMS = [item for item in TINY_WORLD.read(SELECTION, Counter()) if isinstance(item, Item)]


class PlantedEngine:
    """An engine that scores each response by a rule."""

    def __init__(self, rule: Callable[[Group, int], float]) -> None:
        self._rule = rule

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        return [Reward(id=g.id, rewards=tuple(self._rule(g, i) for i in range(len(g)))) for g in groups]

    def close(self) -> None:
        pass


def is_blank(group: Group) -> bool:
    sources = [part.source for part in iter_parts(group) if isinstance(part, Image)]
    return bool(sources) and sources == [p.source for p in iter_parts(blanked(group)) if isinstance(p, Image)]


class RecordingEngine(FakeEngine):
    """Keeps the groups that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Group] = []

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        self.seen += groups
        return super().score(groups)


def shown_ranks() -> dict[str | None, tuple[int, ...]]:
    """The ranks in the order in which an engine sees the responses."""
    engine = RecordingEngine()
    score_blank_too(engine, [item.ranking.group for item in ITEMS])
    found = {}
    for item, seen in zip(ITEMS, engine.seen, strict=False):
        places = [
            next(i for i, own in enumerate(item.ranking.group.responses) if own[0] is r[0]) for r in seen.responses
        ]
        found[seen.id] = tuple(item.ranking.ranks[i] for i in places)
    return found


RANKS = shown_ranks()


def evaluated(engine: Any, tmp: Path, items: Sequence[Item] = ITEMS) -> list[ItemScores]:
    scored = score_blank_too(engine, [item.ranking.group for item in items])
    rows = [facts_of(item, TINY_WORLD.shared) | values for item, values in zip(items, scored, strict=True)]
    path = tmp / "scores.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return list(read_scores(path))


def summary_of(rule: Callable[[Group, int], float], tmp: Path) -> Summary:
    scores = evaluated(PlantedEngine(rule), tmp)
    return summarise(TINY_WORLD, scores, model="m", counts_expected=TINY_WORLD.counts(SELECTION))


def test_an_oracle_that_looks_is_right_and_blind_without_pictures(tmp_path: Path) -> None:
    found = summary_of(lambda g, i: 0.0 if is_blank(g) else -float(RANKS[g.id][i]), tmp_path)
    assert (found.n, found.accuracy, found.macro) == (44, 1.0, 1.0)
    assert found.interval is not None
    assert 0.9 < found.interval[0] < found.interval[1] == 1.0
    assert found.warnings == []
    robotics = found.blank_groups["robotics"]  # videos are not looked into by the rule above
    assert found.baselines.blank == pytest.approx((9 * 0.5 + robotics.accuracy) / 10)
    assert set(found.blank_groups) & set(FAMILIES) == set(FAMILIES) - {"text"}
    assert found.blank_groups["captions"].accuracy == 0.5


def test_the_wrong_way_round_is_never_right(tmp_path: Path) -> None:
    found = summary_of(lambda g, i: float(RANKS[g.id][i]), tmp_path)
    assert (found.accuracy, found.macro, found.baselines.blank) == (0.0, 0.0, 0.0)


def test_ties_count_half(tmp_path: Path) -> None:
    found = summary_of(lambda g, i: 1.0, tmp_path)
    assert (found.accuracy, found.macro, found.baselines.blank) == (0.5, 0.5, 0.5)


def test_baselines_are_the_planted_engines(tmp_path: Path) -> None:
    by_length = summary_of(lambda g, i: float(len(text_of(g.responses[i]))), tmp_path)
    assert by_length.accuracy == by_length.baselines.longer
    first = [0.0 if rank else 1.0 for rank, _ in (item.ranking.ranks for item in ITEMS)]
    assert by_length.baselines.first == sum(first) / len(first)


def swapped(item: Item) -> Item:
    group = item.ranking.group
    turned = Group(group.messages, group.responses[::-1], id=group.id, task=group.task)
    return replace(item, ranking=Ranking(group=turned, ranks=item.ranking.ranks[::-1]))


def test_an_engine_that_goes_by_the_place_learns_nothing_from_it(tmp_path: Path) -> None:
    engine = PlantedEngine(lambda g, i: -float(i))
    there, back = evaluated(engine, tmp_path), evaluated(engine, tmp_path, [swapped(item) for item in ITEMS])
    assert [item.rewards for item in there] == [item.rewards[::-1] for item in back]


def test_where_a_response_stands_makes_no_difference(tmp_path: Path) -> None:
    engine = FakeEngine()
    there = summarise(TINY_WORLD, evaluated(engine, tmp_path), model=None)
    back = summarise(TINY_WORLD, evaluated(engine, tmp_path, [swapped(item) for item in ITEMS]), model=None)
    assert there.baselines.first == 1 - (back.baselines.first or 0)
    assert replace(there, baselines=replace(there.baselines, first=None)) == replace(
        back, baselines=replace(back.baselines, first=None)
    )


def test_groups_are_families_and_tasks(tmp_path: Path) -> None:
    found = summary_of(lambda g, i: -float(RANKS[g.id][i]), tmp_path)
    assert list(found.groups)[: len(FAMILIES)] == sorted(FAMILIES)
    assert {name for name in found.groups if name not in FAMILIES} == {f"task: {f.task}" for f in FAMILIES.values()}
    assert {found.groups[name].n for name in FAMILIES} == {4}
    assert found.groups["task: visual question answering"].n == 16
    plain = json.loads(json.dumps(found.to_dict()))
    keys = "benchmark model n accuracy macro interval groups baselines counts_expected warnings"
    assert list(plain) == keys.split()
    assert set(plain["groups"]["signs"]) == {"n", "accuracy", "interval"}
    assert set(plain["baselines"]) == {"longer", "first", "blank"}


def scores(**changes: Any) -> ItemScores:
    base = ItemScores(
        id="1",
        labels={},
        ranks=(0, 1),
        lengths=(3, 3),
        ordered=False,
        shared={},
        rewards=(1.0, 0.0),
        blank=None,
    )
    return replace(base, **changes)


def test_the_macro_average_weighs_groups_alike() -> None:
    items = [scores(id=str(i), labels={"task": "easy"}) for i in range(9)]
    items.append(scores(id="x", labels={"task": "hard"}, rewards=(0.0, 1.0)))
    found = summarise(OWN_PAIRS, [*items, scores(id="y", rewards=(0.0, 1.0))], model=None)
    assert found.accuracy == pytest.approx(9 / 11)
    assert found.macro == 0.5
    assert found.groups["hard"].interval is None


def test_of_more_than_two_responses_the_best_comes_first_or_not() -> None:
    four = {"ranks": (1, 0, 1, 1), "lengths": (1, 1, 1, 1)}
    items = [
        scores(id="right", labels={"task": "grids"}, **four, rewards=(0.1, 0.9, 0.2, 0.3), blank=(0, 0, 0, 0)),
        scores(id="second", labels={"task": "grids"}, **four, rewards=(0.9, 0.8, 0.2, 0.3), blank=(0, 1, 0, 0)),
        scores(id="tied", labels={"task": "venn"}, **four, rewards=(0.9, 0.9, 0.2, 0.3)),
        scores(id="pair", labels={"task": "pairs"}),
    ]
    found = summarise(OWN_PAIRS, items, model=None)
    best = found.best_of_n
    assert best is not None
    assert (best.n, best.accuracy, best.chance, best.blank) == (3, 0.5, 0.25, 0.625)
    assert best.tau == pytest.approx((3 / 18**0.5 + 1 / 18**0.5 + 2 / 15**0.5) / 3)
    plain = found.to_dict()
    assert plain["best_of_n"]["tau"] == best.tau
    assert "best_of_n" in plain["groups"]["grids"]
    assert "best_of_n" not in plain["groups"]["pairs"]
    assert best.interval is not None
    by_group = {name: share.best_of_n for name, share in found.groups.items()}
    assert by_group["pairs"] is None
    assert by_group["grids"] is not None
    assert by_group["venn"] is not None
    assert (by_group["grids"].accuracy, by_group["grids"].blank) == (0.5, 0.625)
    assert (by_group["venn"].accuracy, by_group["venn"].blank) == (0.5, None)
    assert summarise(OWN_PAIRS, [scores(), scores(id="2")], model=None).best_of_n is None


def test_without_groups_order_or_pictures_nothing_is_made_up() -> None:
    found = summarise(OWN_PAIRS, [scores(), scores(id="2")], model=None)
    assert (found.macro, found.groups, found.baselines.first, found.baselines.blank) == (None, {}, None, None)
    assert found.baselines.longer == 0.5


def test_items_that_share_a_prompt_or_a_picture_are_one_cluster() -> None:
    items = [
        scores(
            id=str(i),
            shared={"prompt": (f"prompt {i // 4}",), "picture": (f"picture {i}",)},
            rewards=(float(i % 8 < 4), 0.5),
        )
        for i in range(80)
    ]
    by_default = summarise(OWN_PAIRS, items, model=None).interval
    alone = summarise(OWN_PAIRS, items, model=None, shared=()).interval
    assert by_default == summarise(OWN_PAIRS, items, model=None, shared=("prompt",)).interval
    assert alone == summarise(OWN_PAIRS, items, model=None, shared=("picture",)).interval
    assert by_default is not None
    assert alone is not None
    assert by_default[1] - by_default[0] > 1.7 * (alone[1] - alone[0])
    one = [replace(item, shared={"prompt": ("describe it",)}) for item in items]
    found = summarise(OWN_PAIRS, one, model=None)
    assert found.interval is None
    assert found.warnings == ["80 items that share prompts or pictures are 1 cluster: intervals say little"]


def test_what_is_missing_or_left_out_is_said(tmp_path: Path) -> None:
    kept = [s for s in evaluated(FakeEngine(), tmp_path) if s.labels["family"] != "signs"][1:]
    expected = TINY_WORLD.counts(SELECTION)
    found = summarise(TINY_WORLD, kept, model=None, counts_expected=expected, left_out={"ties": 2})
    assert "signs: 0 items where 4 are expected" in found.warnings
    assert "left out: 2 ties" in found.warnings
    assert len(found.warnings) == 3


def test_an_item_counts_once() -> None:
    with pytest.raises(InputError, match="pairs: item '1' has 2 scores"):
        summarise(OWN_PAIRS, [scores(), scores()], model=None)
    with pytest.raises(InputError, match="no scores"):
        summarise(OWN_PAIRS, [], model=None)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rewards": None}, InputError, "'rewards' must be a list of 2 numbers, one per rank, got None"),
        ({"rewards": [1.0]}, InputError, "'rewards' must be a list of 2 numbers"),
        ({"blank": [1.0, "x"]}, ScoreError, r"blank\[1\] must be a finite number, got 'x'"),
        ({"rewards": [1.0, float("nan")]}, InputError, ""),
        ({"ranks": [0, 0]}, InputError, "'ranks' must be numbers that are not all equal"),
        ({"labels": "captions"}, InputError, "'labels' and 'shared' must be objects"),
    ],
)
def test_scores_that_are_none_are_named(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    row = {"id": "1", "labels": {}, "ranks": [0, 1], "lengths": [1, 2], "ordered": True, "shared": {}}
    row |= {"rewards": [1.0, 2.0], "blank": None, **change}
    path = tmp_path / "scores.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(error, match=rf"scores\.jsonl:1: .*{message}"):
        list(read_scores(path))
    path.write_text('{"id": "1", "rewards": [1, 2]}\n', encoding="utf-8")
    with pytest.raises(InputError, match="no scores of vlreward eval: 'labels', 'ranks'"):
        list(read_scores(path))


def test_a_short_reply_is_a_failure() -> None:
    class Short(FakeEngine):
        def score(self, groups: Sequence[Group]) -> list[Reward]:
            return super().score(groups)[:-1]

    class Narrow(FakeEngine):
        def score(self, groups: Sequence[Group]) -> list[Reward]:
            return [Reward(id=reward.id, rewards=reward.rewards[:1]) for reward in super().score(groups)]

    groups = [item.ranking.group for item in ITEMS[:3]]
    with pytest.raises(EngineError, match="rewards came back for"):
        score_blank_too(Short(), groups)
    with pytest.raises(EngineError, match=r"group 'heldout-1000-0': 1 rewards came back for 2 responses"):
        score_blank_too(Narrow(), groups)
