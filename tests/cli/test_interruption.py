"""A run in a process of its own, ended at random moments by SIGINT and SIGKILL, until it gets through."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import rows_of

GROUPS = 1000
SIGNALS = pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])


class Run:
    """``vlreward score`` with a model that takes ``seconds`` for each group."""

    def __init__(self, root: Path, source: Path, output: Path, model: Path) -> None:
        self.root, self.output = root, output
        self.record = output.with_name(output.name + ".meta.json")
        self.options = ["score", str(source), "-o", str(output), "-m", str(model)]

    def start(self, seconds: float) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "tests.cli.fake_vlreward", str(seconds), *self.options]
        return subprocess.Popen(argv, cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self) -> None:
        process = self.start(0)
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error

    def done(self) -> int:
        """Groups that the record vouches for."""
        return int(json.loads(self.record.read_text())["groups"]) if self.record.exists() else 0

    def end(self, process: subprocess.Popen[str], chance: random.Random, how: signal.Signals) -> tuple[int, str]:
        """End it at a random moment, now and then before it has begun; its exit code and what it said."""
        before, deadline = self.done(), time.monotonic() + 30
        if chance.random() < 0.75:
            while self.done() == before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
        time.sleep(0.3 * chance.random())
        process.send_signal(how)
        _, error = process.communicate(timeout=60)
        return process.returncode, error


def check(run: Run, whole: Path, how: signal.Signals, chance: random.Random, ends: int) -> None:
    progress = []
    for _ in range(ends):
        code, error = run.end(run.start(0.0005), chance, how)
        progress.append(run.done())
        if how is signal.SIGKILL:
            assert code in (0, -signal.SIGKILL), error
            continue
        # Until `main` is entered, Python itself answers SIGINT, in its own way.
        assert code in (0, 130) or "in main\n" not in error, error
        if "groups are in" in error:
            said = re.search(r"interrupted: ([\d,]+) of 1,000 groups are in .*; the same command goes on", error)
            assert said is not None
            assert int(said[1].replace(",", "")) == progress[-1]
    assert progress == sorted(progress)
    assert progress[-1] > 0
    run.finish()
    assert run.output.read_bytes() == whole.read_bytes()


@SIGNALS
def test_ended_at_random_the_output_is_that_of_one_run(
    root: Path, tmp_path: Path, write_rows: Callable[..., Path], model_folder: Path, how: signal.Signals
) -> None:
    source, output, whole = write_rows(GROUPS), tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    Run(root, source, whole, model_folder).finish()
    check(Run(root, source, output, model_folder), whole, how, random.Random(), 4)
    assert [row["id"] for row in rows_of(output)] == [f"g{i}" for i in range(GROUPS)]


@pytest.mark.slow
@SIGNALS
@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
@pytest.mark.parametrize("seed", range(3))
def test_however_often_it_is_ended(
    root: Path,
    tmp_path: Path,
    write_rows: Callable[..., Path],
    model_folder: Path,
    how: signal.Signals,
    name: str,
    seed: int,
) -> None:
    source, output, whole = write_rows(GROUPS), tmp_path / name, tmp_path / f"whole-{name}"
    Run(root, source, whole, model_folder).finish()
    check(Run(root, source, output, model_folder), whole, how, random.Random(seed), 8)
