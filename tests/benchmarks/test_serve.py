"""The load script for the server runs, and its clients do what they say."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import serve_load
from harness.traffic import Ask, Outcome, arrivals, make_groups, run, stagger
from tests.conftest import ROOT


def test_staggered_answers_are_those_of_the_groups() -> None:
    groups = make_groups(2, 3, side=56, seed=1)
    singles = stagger(groups, 5.0, seed=1)
    assert [single.answers for single in singles] == [(answer,) for group in groups for answer in group.answers]
    assert {single.picture for single in singles} == {group.picture for group in groups}
    assert all(single.at is not None and 0 <= single.at <= 5 for single in singles)
    assert make_groups(2, 3, side=56, seed=2)[0].picture != groups[0].picture


def test_arrivals_come_at_the_rate_that_is_asked_for() -> None:
    ask = Ask(picture=b"", prompt="Q", answers=("A",))
    times = [timed.at for timed in arrivals([ask] * 2000, per_second=10.0, seed=0)]
    assert times == sorted(times, key=lambda at: at or 0.0)
    assert times[-1] == pytest.approx(200, rel=0.1)


def test_a_closed_loop_has_no_more_requests_than_clients() -> None:
    running = most = 0

    async def send(client: httpx.AsyncClient, ask: Ask) -> list[float]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return [1.0]

    asks = [Ask(picture=b"", prompt=str(i), answers=("A",)) for i in range(20)]
    outcome = run(asks, send, clients=3)
    assert (most, len(outcome.latencies), outcome.rewards) == (3, 20, [[1.0]] * 20)
    run([Ask(picture=b"", prompt="Q", answers=("A",), at=0.0)] * 20, send, clients=3)
    assert most == 20


def test_figures_are_of_answers_and_requests() -> None:
    outcome = Outcome(seconds=4.0, latencies=[1.0, 2.0, 9.0], rewards=[[0.0, 1.0]] * 3)
    figures = {"seconds": 4.0, "answers_per_second": 1.5, "p50_seconds": 2.0, "p99_seconds": 9.0}
    assert outcome.figures() == figures


def test_the_page_shows_the_load_that_was_tried() -> None:
    page, result = serve_load.PAGE.read_text(), json.loads(serve_load.RESULT.read_text())
    assert serve_load.written(page, result) == page, "run benchmarks/serve_load.py --page"
    assert serve_load._holds(result)


def test_a_load_that_broke_something_is_not_passed_over() -> None:
    result = json.loads(serve_load.RESULT.read_text())
    statuses, queued = result["mixed"]["statuses"], result["queued"]
    statuses |= {"single 503": 2, "broken 500": 3}
    queued |= {"statuses": {"429": queued["requests"]}, "largest_difference": None}
    said = serve_load._figures(result)
    sound = sum(count for name, count in statuses.items() if name.split()[0] not in ("broken", "gone"))
    broken = sum(count for name, count in statuses.items() if name.startswith("broken"))
    assert f"; {sound - 2:,} of {sound:,} sound ones got rewards, and {broken - 3:,} of {broken:,} broken" in said
    assert "; 0 got rewards (`benchmarks" in said
    assert not serve_load._holds(result)


@pytest.mark.slow
def test_the_load_script_runs(tmp_path: Path) -> None:
    out = tmp_path / "serve.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "serve.py"), "--quick", "--groups", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert set(result["medians"]) == {"grouped", "staggered", "unrelated", "open"}
    assert result["largest_difference"] < 1e-3
    assert result["metrics"]["shared_token_ratio"] > 0
    assert "grouped: of the engine alone" in result["ratios"]
