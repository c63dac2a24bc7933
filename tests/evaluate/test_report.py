"""Reports: figures by value on a few made-up scores, and a page that holds all and loads nothing."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.audits.oracle import Planted, obeys_words
from vlreward.data.limits import DEFAULT_LIMITS
from vlreward.errors import InputError
from vlreward.evaluate.audits import DataSet, audits_of, pair_of, run_audits
from vlreward.evaluate.audits.album import Album
from vlreward.evaluate.benchmarks import Benchmark, Item, benchmark_of
from vlreward.evaluate.fit import comparison_margins
from vlreward.evaluate.report import Audited, Report, evaluation_of, page
from vlreward.evaluate.report.evaluation import worst_items
from vlreward.evaluate.report.margins import margin_histogram
from vlreward.evaluate.scores import ItemScores
from vlreward.evaluate.summary import summarise
from vlreward.types import Group, Ranking

from .benchmark_data import picture

PAIRS = benchmark_of("pairs")
WORLD = benchmark_of("tiny-world")
EVIL = "<script>alert('x')</script> & \"quotes\""


def scores(name: str, *rewards: float, **changes: Any) -> ItemScores:
    values: dict[str, Any] = {
        "id": name,
        "labels": {"task": "captioning"},
        "ranks": tuple(range(len(rewards))),
        "lengths": tuple(5.0 - i for i in range(len(rewards))),
        "ordered": True,
        "shared": {},
        "rewards": rewards,
        "blank": tuple(0.0 for _ in rewards),
    }
    return ItemScores(**values | changes)


SCORES = [
    scores("a", 2.0, 1.0),
    scores("b", 0.0, 3.0, labels={"task": "reasoning"}),
    scores("c", 1.0, 1.0, blank=None),
    scores("d", 1.5, 2.0, labels={"task": "<i>text</i>"}, blank=(4.0, 1.0)),
]


def item(name: str, responses: int = 2, prompt: str = "What is <b>this</b>?") -> Item:
    content = [{"type": "image", "image": picture(len(name))}, {"type": "text", "text": prompt}]
    said = [f"{EVIL} {i} of {name}" for i in range(responses)]
    group = Group([{"role": "user", "content": content}], said, id=name)
    return Item(ranking=Ranking(group=group, ranks=tuple(range(responses))), where=f"pairs.jsonl:{name}")


ITEMS = [item(name) for name in "abcd"]


def report_of(
    found: Sequence[ItemScores] = SCORES,
    items: Sequence[Item] = ITEMS,
    benchmark: Benchmark = PAIRS,
    audits: Sequence[Audited] = (),
    **about: Any,
) -> Report:
    album = Album(DEFAULT_LIMITS)
    summary = summarise(benchmark, found, model="m", **about)
    part = evaluation_of(benchmark, found, summary, album=album, items=items, settings={"max_pixels": 200704})
    shown = {**album.pictures, **{name: uri for one in audits for name, uri in one.findings.pictures.items()}}
    return Report(model="m <1>", checkpoint="f" * 32, evaluations=[part], audits=audits, pictures=shown)


@functools.cache
def audited(pairs: int = 22) -> Audited:
    found = WORLD.read(WORLD.select(pairs=pairs), Counter())
    data = DataSet(pairs=[pair_of(one) for one in found if isinstance(one, Item)])
    findings = run_audits(Planted(fault=obeys_words), data, audits_of(["injection", "order"]), model="m")
    return Audited(findings=findings, unusable=0, settings={})


class Page(HTMLParser):
    """What of a page could load something, its texts, and its tags that are open."""

    EMPTY = ("meta", "link", "br", "line", "rect", "circle", "polyline")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)
        names = ("src", "href", "srcset", "action", "data", "poster", "xlink:href", "formaction")
        self.links += [value or "" for name, value in attrs if name in names]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_json_says_what_was_found() -> None:
    values = json.loads(json.dumps(report_of().to_dict(), allow_nan=False))
    assert list(values) == [
        "report",
        "missing",
        "warnings",
        "model",
        "checkpoint",
        "vlreward",
        "evaluations",
        "audits",
        "pictures",
    ]
    assert (values["report"], values["model"], values["missing"], values["audits"]) == (1, "m <1>", [], [])
    (part,) = values["evaluations"]
    assert (part["title"], part["summary"]["n"], part["summary"]["accuracy"]) == ("pairs", 4, 0.375)
    assert part["summary"]["groups"]["reasoning"]["accuracy"] == 0.0
    assert part["margins"]["counts"] == [1, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0]
    assert part["margins"]["edges"] == [i / 2 for i in range(-6, 7)]
    assert {name: part["margins"][name] for name in ("n", "wrong", "tied", "mean")} == {
        "n": 4,
        "wrong": 2,
        "tied": 1,
        "mean": (1 - 3 - 0.5) / 4,
    }
    assert part["calibration"]["n"] == 4
    assert sum(one["n"] for one in part["calibration"]["bins"]) == 4
    assert part["fit"] is None
    assert "too few" in part["unfitted"]
    assert [case["id"] for case in part["worst"]] == ["b", "d"]
    worst = part["worst"][0]
    assert (worst["margin"], worst["where"], worst["blank"]) == (-3.0, "pairs.jsonl:b", [0.0, 0.0])
    assert worst["better"]["response"] == f"{EVIL} 0 of b"
    assert worst["preferred"]["reward"] == 3.0
    assert set(worst["better"]["prompt_pictures"]) <= set(values["pictures"])
    assert [one["id"] for one in part["items"]] == list("abcd")
    assert part["items"][1]["rewards"] == [0.0, 3.0]
    assert part["settings"] == {"max_pixels": 200704}


def test_the_page_holds_all_and_loads_nothing() -> None:
    text = page(report_of(audits=[audited()]))
    found = Page(text)
    assert found.open == []
    assert not found.tags & {"script", "iframe", "img", "object", "embed", "video", "audio", "base", "form", "image"}
    assert [link for link in found.links if not link.startswith(("#", "data:"))] == []
    assert not re.search(r"https?:|@import", text)
    assert re.findall(r"url\((?!data:image/(?:png|jpeg);base64,[\w+/=]+\))", text) == []
    assert "default-src 'none'" in text
    for link in found.links:
        assert link == "data:," or f'id="{link[1:]}"' in text
    for words in (
        "Beside published systems No published figures are known for pairs.",
        "Beside those who do not look",
        "the longer answer wins 100.0 %",
        "By task",
        "Reliability of σ(margin)",
        "Margins of 4 comparisons: 2 are wrong, 1 tied",
        "No temperature could be fitted",
        "b: margin -3.000",
        "✕ fail",
        "Fails. Right preferences lost: at most 10 % passes; note",
        "no lettered options",
    ):
        assert words in found.text
    # Each picture once, however often it is shown.
    assert len(re.findall(r"background-image", text)) == len(set(re.findall(r"class=\"picture p-(\w+)\"", text)))


def test_nothing_from_data_is_markup() -> None:
    report = report_of(unusable=["<script>1</script>"], left_out={"<script>2</script>": 3})
    text = page(report)
    assert "<script" not in text
    assert "<i>text" not in text
    assert "What is <b>" not in text
    found = Page(text)
    for words in (EVIL, "What is <b>this</b>?", "<i>text</i>", "m <1>", "<script>1</script>", "<script>2</script>"):
        assert words in found.text


def test_what_is_missing_is_the_first_line() -> None:
    report = report_of(unusable=["pairs.jsonl:7: no such picture"])
    assert report.missing == ["pairs: 1 of 5 items cannot be used: pairs.jsonl:7: no such picture"]
    body = page(report).partition("<body>")[2]
    first = Page(body.partition("<header>")[0]).text
    assert first == f"Items are missing. {report.missing[0]}"
    assert list(report.to_dict())[1] == "missing"
    assert report.missing[0] not in report.notes


def test_absent_sections_are_said() -> None:
    empty = Report(model=None, checkpoint=None, evaluations=[], audits=[], pictures={})
    text = Page(page(empty)).text
    assert "Benchmarks None was given" in text
    assert "Audits None were given" in text
    assert "Unknown model" in text
    right = report_of([scores("a", 2.0, 1.0, labels={}, blank=None)])
    text = Page(page(right)).text
    for words in (
        "The items name no task or other group.",
        "There is none: no worse answer",
        "No item has pictures",
        "No temperature could be fitted",
    ):
        assert words in text


def test_a_task_with_a_colon_in_its_name_is_shown() -> None:
    found = [scores(name, 1.0, 0.0, labels={"task": "math: algebra"}) for name in "abcd"]
    assert "math: algebra" in Page(page(report_of(found))).text


def test_items_that_cannot_be_read_again_are_said() -> None:
    def gone() -> Iterator[Item]:
        raise InputError("pairs.jsonl: no such file")
        yield ITEMS[0]

    for items, words in (
        (gone(), "pairs.jsonl: no such file"),
        (ITEMS[:1], "item 'b' is not in the data any more"),
        ([item("b", 3), item("d")], "item 'b' has other ranks than when it was scored"),
    ):
        report = report_of(items=items)  # type: ignore[arg-type]
        assert report.evaluations[0].unshown is not None
        assert words in report.evaluations[0].unshown
        assert report.evaluations[0].worst == []
    assert f"They cannot be shown: {words}" in Page(page(report)).text


def test_published_systems_stand_beside_the_model() -> None:
    benchmark = benchmark_of("vl-rewardbench")
    groups = ("general", "hallucination", "reasoning")
    found = [scores(str(i), 1.0, i % 3, labels={"group": groups[i % 2]}) for i in range(8)]
    text = Page(page(report_of(found, [], benchmark, counts_expected={"general": 4}))).text
    assert "Skywork-VL-Reward-7B 66.0 80.0 61.0 73.1 69.0" in text
    assert re.search(r"m <1> 50\.0 [\d.]+ – [\d.]+ 25\.0 [\d.]+ – [\d.]+ – 37\.5 [\d.]+ – [\d.]+ 37\.5", text)
    assert "arXiv 2505.07263" in text


def test_more_than_two_answers_have_a_curve() -> None:
    found = [scores(str(i), 1.0, 2.0 * (i % 2), 0.5) for i in range(10)]
    report = report_of(found, [item(str(i), 3) for i in range(10)])
    (part,) = report.evaluations
    assert [point.n for point in part.curve] == [1, 2, 3]
    assert part.curve[0].selected == pytest.approx(1 / 3)
    assert (part.curve[2].selected, part.curve[2].oracle) == (0.5, 1.0)
    text = Page(page(report)).text
    assert "Of more than two answers, a best one gets the largest reward in 50.0 % of 10 rankings" in text
    assert "Best of N. Dots" in text
    worst = part.worst[0]
    assert (worst.better.response, worst.preferred.response) == (f"{EVIL} 0 of 1", f"{EVIL} 1 of 1")


def test_long_texts_are_cut() -> None:
    text = Page(page(report_of(items=[item(name, prompt="word " * 2000) for name in "abcd"]))).text
    assert "… (6,000 more characters)" in text


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(-50, 50), min_size=2, max_size=4), min_size=1, max_size=30), st.floats(1e-3, 1e3))
def test_histograms_count_every_margin(rows: list[list[int]], unit: float) -> None:
    found = [scores(str(i), *(unit * value for value in row)) for i, row in enumerate(rows)]
    margins = [margin for one in found for margin in comparison_margins(one.rewards, one.ranks)]
    histogram = margin_histogram(found)
    half = len(histogram.counts) // 2
    assert histogram.edges[half] == 0
    assert sum(histogram.counts) == histogram.n == len(margins)
    assert sum(histogram.counts[:half]) == histogram.wrong == sum(margin < 0 for margin in margins)
    assert np.allclose(np.diff(histogram.edges), histogram.edges[-1] / half)


def test_worst_items_come_in_order_whatever_the_order_of_the_file() -> None:
    assert [one.id for one in worst_items(SCORES, 9)] == ["b", "d"]
    assert [one.id for one in worst_items(SCORES[::-1], 1)] == ["b"]
    assert worst_items(SCORES[:1], 3) == []


def test_pictures_are_large_enough_to_be_seen() -> None:
    text = page(report_of())
    assert "{ width: 112px; aspect-ratio: 112 / 112;" in text
