"""The error tree, and the two helpers that word an error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vlreward import errors
from vlreward.errors import MissingDependency, VLRewardError, describe_unknown, require


def test_every_error_is_one_of_ours() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(classes) == 10
    assert all(issubclass(item, VLRewardError) for item in classes)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("InputError", ValueError),
        ("MediaError", ValueError),
        ("LengthError", ValueError),
        ("ConfigError", ValueError),
        ("MissingDependency", ImportError),
    ],
)
def test_errors_are_also_what_callers_catch_already(name: str, builtin: type[Exception]) -> None:
    assert issubclass(getattr(errors, name), builtin)


def test_docstring_draws_every_class() -> None:
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, VLRewardError):
            assert name in (errors.__doc__ or "")


def test_require_gives_the_module() -> None:
    assert require("json.decoder", extra="none", purpose="this").JSONDecodeError.__name__ == "JSONDecodeError"


def test_require_says_which_extra() -> None:
    with pytest.raises(MissingDependency, match=r"^reading a video needs nonesuch: pip install 'vlreward\[video\]'$"):
        require("nonesuch.inner", extra="video", purpose="reading a video")


def test_require_lets_a_broken_module_speak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_part.py").write_text("import a_module_that_it_needs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match=r"a_module_that_it_needs") as caught:
        require("broken_part", extra="video", purpose="this")
    assert not isinstance(caught.value, MissingDependency)
    assert "broken_part" not in sys.modules


def test_describe_unknown_names_the_nearest() -> None:
    assert describe_unknown("mesages", ["messages", "responses"]) == "unknown key 'mesages'; did you mean 'messages'?"


def test_describe_unknown_names_all_when_none_is_near() -> None:
    assert describe_unknown("zzz", ["b", "a"]) == "unknown key 'zzz'; known: a, b"
