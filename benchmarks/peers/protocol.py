"""One line of JSON in, one line of JSON out: how a contestant of any environment is asked to score.

A contestant is a process, so that loading is not timed, memory is its own, and it may run on another interpreter. It
needs nothing but the standard library for this part. Requests::

    {"do": "load", "model": folder, "dtype": "float32", "threads": 2, "options": {"device": "cpu"}}
    {"do": "score", "groups": [{"messages": [...], "responses": ["...", ...]}, ...]}
    {"do": "quit"}

Answers hold ``error`` when something failed. The answer to ``load`` holds ``versions``, ``rest_bytes`` (held when
loaded), ``rest_file_bytes`` (the part of it that is pages of files) and ``load_peak_bytes``. The answer to ``score``
holds ``scores`` (one list per group), ``seconds`` (from messages to numbers, decoding the pictures included),
``peak_bytes`` (the most that the process held in memory while it scored) and ``accelerator_peak_bytes`` (the same on
the GPU, where there is one).
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Groups = list[dict[str, Any]]
Score = Callable[[Groups], list[list[float]]]
"""Scores groups; one list of numbers per group."""
Load = Callable[[dict[str, Any]], tuple[Score, dict[str, str]]]
"""Takes the load request and returns the scorer and the versions of what it is made of."""


def resident_bytes(field: str = "VmRSS") -> int | None:
    """A field of this process's memory account in bytes; ``None`` where the system does not keep one."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith(f"{field}:")), None)
    return None if kilobytes is None else int(kilobytes) * 1024


def reset_peak() -> None:
    """Start the peak (VmHWM) anew from what is held now; does nothing where the system refuses."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _cuda() -> Any:
    """The contestant's own ``torch.cuda`` when it uses one."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def serve(load: Load) -> None:
    """Answer requests until told to quit or until the asker is gone."""
    # Libraries print; what they print must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    score: Score | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "quit":
            break
        try:
            if request["do"] == "load":
                score, versions = load(request)
                answer: dict[str, Any] = {"versions": versions}
                answer |= {"rest_bytes": resident_bytes(), "load_peak_bytes": resident_bytes("VmHWM")}
                answer["rest_file_bytes"] = resident_bytes("RssFile")
            else:
                assert score is not None, "score before load"
                answer = _timed(score, request["groups"])
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _timed(score: Score, groups: Groups) -> dict[str, Any]:
    reset_peak()
    cuda = _cuda()
    if cuda is not None:
        cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    scores = score(groups)
    seconds = time.perf_counter() - start
    answer = {"scores": scores, "seconds": seconds, "peak_bytes": resident_bytes("VmHWM")}
    return answer | {"accelerator_peak_bytes": None if cuda is None else cuda.max_memory_allocated()}
