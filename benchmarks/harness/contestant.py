"""A contestant as a process of its own, asked over standard input and output (``peers/protocol.py``, ``turns.py``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from . import environments

PEERS = Path(__file__).resolve().parents[1] / "peers"


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A way of scoring, or of training."""

    name: str
    script: str
    """Its file in ``peers/``."""
    environment: str | None = None
    """The environment that it needs; the running one when there is none."""
    options: tuple[str, ...] = ()
    """What it is told to do otherwise than usual."""

    def python(self, folder: Path) -> Path | None:
        """Its interpreter, or ``None`` when the environment has not been built in ``folder``."""
        if self.environment is None:
            return Path(sys.executable)
        spec = next(spec for spec in environments.SPECS if spec.name == self.environment)
        place = folder / self.environment
        return environments.python_of(place) if environments.is_built(spec, place) else None


OURS = Contestant(name="ours", script="ours.py")
PUBLISHED = Contestant(name="published", script="published.py")
PLAIN = Contestant(name="plain", script="plain.py")
MS_SWIFT = Contestant(name="ms-swift", script="ms_swift.py", environment="ms-swift")
CROSS_ENCODER = Contestant(name="sentence-transformers", script="cross_encoder.py", environment="sentence-transformers")
WHOLE_LAST_LAYER = Contestant(name="ours-whole-last-layer", script="ours.py", options=("whole_last_layer",))
CONTESTANTS = (OURS, WHOLE_LAST_LAYER, PUBLISHED, PLAIN, MS_SWIFT, CROSS_ENCODER)


TRAIN_OURS = Contestant(name="ours", script="train_ours.py")
TRAIN_LLAMA_FACTORY = Contestant(
    name="llamafactory", script="train_llama_factory.py", environment=environments.LLAMA_FACTORY.name
)
TRAIN_MS_SWIFT = Contestant(name="ms-swift", script="train_ms_swift.py", environment=environments.MS_SWIFT.name)
TRAINERS = (TRAIN_OURS, TRAIN_MS_SWIFT, TRAIN_LLAMA_FACTORY)

MPO_OURS = Contestant(name="ours", script="mpo_ours.py")
MPO_TRL = Contestant(name="trl", script="mpo_trl.py", environment=environments.TRL.name)
MPO_TRAINERS = (MPO_OURS, MPO_TRL)


def choose(among: Sequence[Contestant], only: Collection[str] | None, folder: Path) -> dict[Contestant, Path]:
    """Those that can run, and their interpreters; ours is always among them.

    Args:
        among: whom to choose from.
        only: the names of those that are wanted; None: all.
        folder: where environments live.
    """
    found = {}
    for contestant in among:
        if only and contestant.name not in (*only, OURS.name):
            continue
        python = contestant.python(folder)
        if python is None:
            print(f"{contestant.name} sits out: no environment; benchmarks/peers/install.py {contestant.environment}")
            continue
        found[contestant] = python
    return found


class Process:
    """A contestant that runs, its model loaded."""

    def __init__(self, contestant: Contestant, python: Path, load: dict[str, Any], log: Path) -> None:
        self.name = contestant.name
        self._log = log
        threads = str(load["threads"])
        variables = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), str(PEERS / contestant.script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=variables,
            )
        options = dict.fromkeys(contestant.options, True) | load.get("options", {})
        loaded = self._ask({"do": "load"} | load | {"options": options})
        self.versions: dict[str, str] = loaded["versions"]
        self.rest_bytes: int | None = loaded["rest_bytes"]
        self.rest_file_bytes: int | None = loaded["rest_file_bytes"]
        self.load_peak_bytes: int | None = loaded["load_peak_bytes"]

    def score(self, groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Ask for the scores of ``groups``: ``scores``, ``seconds`` and ``peak_bytes``."""
        return self._ask({"do": "score", "groups": list(groups)})

    def train(self, steps: int) -> dict[str, Any]:
        """Ask a trainer for so many steps: ``losses``, ``seconds`` and ``peak_bytes``."""
        return self._ask({"do": "train", "steps": steps})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        line = stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the process ended"}
        if "error" in answer:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"{self.name}: {request['do']}: {answer['error']}\n{tail}")
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.close()
        self._process.wait(timeout=60)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
