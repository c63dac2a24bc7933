"""What a result was measured on: without it a number means nothing."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Processor, cores, memory, system and date; no names of machines or people."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory(),
        "system": platform.system(),
        "python": platform.python_version(),
        "commit": _commit(),
    }


def available_bytes() -> int | None:
    """Memory that can be taken without pushing others out; ``None`` where the system does not say."""
    found = _first("/proc/meminfo", "MemAvailable")
    return None if found is None else int(found.split()[0]) * 1024


def _first(path: str, key: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), None)


def _memory() -> float | None:
    total = _first("/proc/meminfo", "MemTotal")
    return None if total is None else round(int(total.split()[0]) / 2**20, 1)


def _commit() -> str | None:
    """The project's commit; ``None`` outside a checkout."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    here = Path(__file__).parent
    outcome = subprocess.run(command, capture_output=True, text=True, cwd=here, check=False)
    return outcome.stdout.strip() or None
