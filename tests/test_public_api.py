"""The public names are a promise: adding one is a decision, taking one away breaks somebody."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import vlreward

NAMES = [
    "Engine",
    "Group",
    "Image",
    "LocalEngine",
    "Message",
    "Ranking",
    "RemoteEngine",
    "Reward",
    "RewardModel",
    "Text",
    "VLRewardError",
    "Video",
    "__version__",
]


def test_names_are_pinned() -> None:
    assert vlreward.__all__ == NAMES
    assert dir(vlreward) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_resolves(name: str) -> None:
    assert getattr(vlreward, name) is not None


def test_lazy_and_type_checking_names_are_the_same() -> None:
    tree = ast.parse(Path(vlreward.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported == vlreward._HOMES
    assert sorted([*imported, "__version__"]) == NAMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'RewardModle'"):
        vlreward.RewardModle  # noqa: B018


def test_signatures_that_were_promised() -> None:
    model = vlreward.RewardModel
    assert list(inspect.signature(model.from_pretrained).parameters)[:5] == [
        "path_or_id",
        "dtype",
        "device",
        "min_pixels",
        "max_pixels",
    ]
    for name in ("score", "score_groups", "rank", "compare", "best_of", "trace", "save_pretrained"):
        assert callable(getattr(model, name))
    assert list(inspect.signature(vlreward.Group).parameters)[:4] == ["messages", "responses", "id", "task"]


def test_version_is_that_of_the_project(root: Path) -> None:
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert vlreward.__version__ == project["version"]
    assert f"version: {vlreward.__version__}\n" in (root / "CITATION.cff").read_text(encoding="utf-8")


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(vlreward.__file__).parent / "py.typed").is_file()
    assert importlib.import_module("vlreward").__doc__
