"""What an import costs, and what it must not bring."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "numpy", "PIL", "pyarrow", "rich", "huggingface_hub")


def seconds(code: str) -> float:
    """Of the processor, the better of two tries: what others do on the machine hardly counts."""

    def once() -> float:
        before = _used()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        return _used() - before

    return min(once() for _ in range(2))


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def loaded(code: str) -> set[str]:
    """Which of the heavy packages are there after the code has run."""
    shown = f"{code}\nimport sys\nprint('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", shown], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


RUN = "import contextlib, vlreward.cli\nwith contextlib.suppress(SystemExit): vlreward.cli.main({!r})"


def test_importing_the_package_is_quick_and_brings_nothing() -> None:
    assert loaded("import vlreward") == set()
    assert loaded("from vlreward import Group, VLRewardError; Group('Q', ['A'])") == set()
    assert seconds("import vlreward") < 0.3


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["score", "--help"], ["score", "--oops"], []])
def test_help_is_quick_and_brings_nothing(argv: list[str]) -> None:
    assert loaded(RUN.format(argv)) == set()
    assert seconds(RUN.format(argv)) < 0.5


def test_mistakes_are_said_without_torch() -> None:
    assert "torch" not in loaded(RUN.format(["score", "-p", "Q", "-r", "A"]))
    assert "torch" not in loaded(RUN.format(["score", "-m", "m", "-p", "Q"]))
    assert "torch" not in loaded(RUN.format(["score", "-m", "nowhere/at/all", "none.jsonl", "-o", "out.jsonl"]))


def test_readers_need_no_torch() -> None:
    assert "torch" not in loaded("import vlreward.data.groups, vlreward.data.rewards, vlreward.data.images")
