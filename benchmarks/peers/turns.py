"""A trainer that takes its steps when it is asked to, so that several can be timed in turn.

A contestant is a process, asked as ``protocol.py`` says; what it does is inside out: the tool's own training loop runs,
and stops in a callback until it is asked for more. Requests::

    {"do": "load", "run": file, "threads": 2, ...}
    {"do": "train", "steps": 3}

The answer to ``load``, given when the first step could begin, holds what it does for scoring. The answer to ``train``
holds ``losses`` (one per step), ``seconds`` (for all of them, from pairs on disk to changed weights), ``cpu_seconds``
(of all threads, which tells a machine that others used, too) and ``peak_bytes``; and what a contestant has noted in
between, ``reference_seconds`` and ``reference_cpu_seconds`` where something is computed for all steps before the first.
A process that is told to quit ends at once: nothing is saved.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from protocol import reset_peak, resident_bytes
from transformers import TrainerCallback

Train = Callable[[dict[str, Any], "Turns"], None]
"""Takes the load request and trains with the callback."""


class Turns(TrainerCallback):  # type: ignore[misc]
    """Lets training go on step by step. Steps are told by what is logged, which must be every one of them."""

    def __init__(self, answers: Any, versions: dict[str, str]) -> None:
        self._answers, self._versions = answers, versions
        self._losses: list[float] = []
        self._noted: dict[str, float] = {}
        self._left = 0
        self._start = self._cpu_start = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Loaded: wait to be asked."""
        del args, state, control
        held = {"rest_bytes": resident_bytes(), "load_peak_bytes": resident_bytes("VmHWM")}
        self.answer({"versions": self._versions, "rest_file_bytes": resident_bytes("RssFile")} | held)
        self._wait()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """A step is over: answer if it was the last that was asked for, and wait."""
        del args, state, control
        if not logs or "loss" not in logs:
            return
        self._losses.append(float(logs["loss"]))
        self._left -= 1
        if self._left == 0:
            took = {
                "seconds": time.perf_counter() - self._start,
                "cpu_seconds": time.process_time() - self._cpu_start,
            }
            self.answer({"losses": self._losses, "peak_bytes": resident_bytes("VmHWM")} | took | self._noted)
            self._noted = {}
            self._wait()

    def note(self, **figures: float) -> None:
        """Say this with the next answer."""
        self._noted |= figures

    def answer(self, answer: dict[str, Any]) -> None:
        """One line to the asker."""
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()

    def _wait(self) -> None:
        _give_back()
        line = sys.stdin.readline()
        request: dict[str, Any] = json.loads(line) if line else {"do": "quit"}
        if request["do"] == "quit":
            os._exit(0)
        self._left, self._losses = request["steps"], []
        reset_peak()
        self._start, self._cpu_start = time.perf_counter(), time.process_time()


def _give_back() -> None:
    """Let go of the memory that the last steps have freed, which the others need while they train."""
    gc.collect()
    # Not in every system's C library.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def serve(train: Train, versions: Callable[[], dict[str, str]]) -> None:
    """Train on request until told to quit, or until the asker is gone."""
    # Libraries print; what they print must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    turns = Turns(answers, versions())
    try:
        train(json.loads(sys.stdin.readline()), turns)
        turns.answer({"error": "training ended before it was told to"})
    except Exception as error:
        traceback.print_exc()
        turns.answer({"error": f"{type(error).__name__}: {error}"})
