"""The README keeps its word: its examples run, its figures are the measured ones, its links lead somewhere."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlreward.cli import main
from vlreward.cli.parser import build_parser
from vlreward.data.groups import read_groups

Checkpoint = Callable[..., Path]
HUB_ID = "Skywork/Skywork-VL-Reward-7B"
PLAIN_HUB_ID = "Qwen/Qwen2.5-VL-7B-Instruct"
DOCUMENTS = (
    "README.md",
    "docs/command-line.md",
    "docs/groups-files.md",
    "docs/preference-files.md",
    "docs/training.md",
    "docs/fine-tuning.md",
    "docs/benchmarks.md",
    "docs/reports.md",
    "docs/serving.md",
    "CONTRIBUTING.md",
)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """Every ``vlreward`` command of the shell blocks, as words."""
    lines = "\n".join(blocks(text, "bash")).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if words[:1] == ["vlreward"]]


@pytest.fixture
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples speak of."""
    monkeypatch.chdir(tmp_path)
    noise = Image.effect_noise((160, 120), 60)
    for name in ("photo.jpg", "first.png", "second.png"):
        noise.convert("RGB").save(tmp_path / name)
    return tmp_path


def test_it_opens_with_the_two_commands(readme: str) -> None:
    first = blocks(readme, "bash")[0].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test"]
    assert readme.index("make demo") < 500


@pytest.mark.usefixtures("workplace")
def test_python_examples_run(readme: str, checkpoint: Checkpoint) -> None:
    examples = blocks(readme, "python")
    assert examples
    for example in examples:
        assert HUB_ID in example
        results: dict[str, Any] = {}
        lines = example.replace(HUB_ID, str(checkpoint())).splitlines()
        # The value of each bare call is kept, to see that it is what the comment beside it says.
        code = "\n".join(
            f"results[{line.split('(')[0]!r}] = {line}" if line.startswith("rm.") else line for line in lines
        )
        exec(compile(code, "README.md", "exec"), {"results": results})
        ((first, second, third),) = results["rm.score_groups"]
        assert results["rm.best_of"].reward == max(first, second, third)
        assert [place.index for place in results["rm.rank"]] == sorted(
            range(3), key=[-first, -second, -third].__getitem__
        )
        assert 0 < results["rm.compare"] < 1
        assert isinstance(results["rm.score"], float)
        assert len(results["rm.trace"]) == 2


@pytest.mark.parametrize("document", DOCUMENTS[:2])
def test_commands_run(
    root: Path, document: str, workplace: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (root / document).read_text(encoding="utf-8")
    example = blocks((root / "README.md").read_text(encoding="utf-8"), "json")[0]
    (workplace / "groups.jsonl").write_text(example, encoding="utf-8")
    monkeypatch.setenv("VLREWARD_MODEL", str(checkpoint()))
    names = {HUB_ID: checkpoint(), "$VLREWARD_MODEL": checkpoint(), "M": checkpoint()}
    names[PLAIN_HUB_ID] = checkpoint(form="none")
    for words in commands(text):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main([str(names.get(word, word)) for word in words[1:]]) == 0, words
        assert isinstance(json.loads(out.getvalue()), dict)
    (row,) = (json.loads(line) for line in (workplace / "rewards.jsonl").read_text().splitlines())
    assert row["id"] == "1"
    assert len(row["rewards"]) == 2


@pytest.mark.parametrize("document", DOCUMENTS[:3])
def test_rows_are_groups(root: Path, workplace: Path, document: str) -> None:
    for i, example in enumerate(blocks((root / document).read_text(encoding="utf-8"), "json")):
        path = workplace / f"{i}.jsonl"
        path.write_text(example, encoding="utf-8")
        groups = list(read_groups(path))
        assert len(groups) == len(example.splitlines())
        assert all(len(group) == 2 for group in groups)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_options_and_targets_exist(root: Path, document: str) -> None:
    text = (root / document).read_text(encoding="utf-8")
    text = re.sub(r"^(torchrun|python) .*", "", text, flags=re.MULTILINE)  # others' options
    _, verbs = build_parser()
    known = {name for parser in verbs.values() for name in _options(parser)}
    for script in (path for folder in ("examples", "benchmarks", "recipes") for path in (root / folder).glob("*.py")):
        known |= set(re.findall(r'add_argument\("(--[a-z-]+)"', script.read_text(encoding="utf-8")))
    for option in re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", text):
        assert option in known, option
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|^)make ([a-z][a-z-]+)", text, re.MULTILINE):
        assert f"\n{target}: " in makefile, target


def _options(parser: argparse.ArgumentParser) -> set[str]:
    """A verb's options and those of its own verbs."""
    inner = [action.choices.values() for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return set(parser._option_string_actions).union(*(_options(verb) for verbs in inner for verb in verbs))


def test_the_recipe_of_the_documentation_is_one(root: Path, tmp_path: Path) -> None:
    from vlreward.train.recipe import read_recipe

    example, section = blocks((root / "docs/training.md").read_text(encoding="utf-8"), "yaml")
    path = tmp_path / "recipe.yaml"
    path.write_text(example + section, encoding="utf-8")
    recipe = read_recipe(path)
    (stage,) = recipe.stages
    assert stage.objective.loss == "bradley-terry"
    assert recipe.evaluation is not None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(root: Path, document: str) -> None:
    path = root / document
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert "://" in target or (path.parent / target).exists(), target


def test_speed_figures_are_the_measured_ones(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(root / "benchmarks" / "readme_table.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("workplace")
def test_the_demo_shown_is_the_demo(
    readme: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, seed, rest = re.split(r"<!-- demo: seed (\d+)", readme)
    shown = blocks(rest.partition("<!-- end of demo")[0], "")[0].splitlines()
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["demo", "--seed", seed]) == 0
    said = capsys.readouterr().out.splitlines()
    start = said.index(shown[0])
    assert len(shown) > 8
    number = re.compile(r"[+-]\d+\.\d{3}")
    for expected, line in zip(shown, said[start:], strict=False):
        assert number.sub("", expected).split() == number.sub("", line).split()
        # Another processor may round the last digit the other way.
        assert list(map(float, number.findall(line))) == pytest.approx(
            list(map(float, number.findall(expected))), abs=0.002
        )
