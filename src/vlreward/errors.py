"""Every error that vlreward raises on purpose.

    VLRewardError
    ├── InputError          a file, a row or an argument is wrong (also a ValueError)
    │   ├── MediaError      a picture or a video cannot be used
    │   └── LengthError     a conversation is longer than the model's context
    ├── ConfigError         an option or a setting is wrong (also a ValueError)
    ├── CheckpointError     a model folder is incomplete, broken or ambiguous
    ├── UnsupportedError    the model or the request is sound, but not something we can do
    ├── ScoreError          a reward is not a finite number
    ├── EngineError         the engine behind a score failed or answered short
    └── MissingDependency   an extra is not installed (also an ImportError)

The command line prints any of these as one line on stderr and exits 2; everything else keeps its traceback.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any


class VLRewardError(Exception):
    """Base of all errors that say where, what was expected, what was there and what to do next."""


class InputError(VLRewardError, ValueError):
    """A file, a row or an argument is wrong."""


class MediaError(InputError):
    """A picture or a video cannot be used."""


class LengthError(InputError):
    """A conversation is longer than the model's context."""


class ConfigError(VLRewardError, ValueError):
    """An option or a setting is wrong."""


class CheckpointError(VLRewardError):
    """A model folder is incomplete, broken or ambiguous."""


class UnsupportedError(VLRewardError):
    """The model or the request is sound, but not something vlreward can do."""


class ScoreError(VLRewardError):
    """A reward is not a finite number."""


class EngineError(VLRewardError):
    """The engine behind a score failed or answered short."""


class MissingDependency(VLRewardError, ImportError):
    """An optional dependency is not installed."""


def require(module: str, *, extra: str, purpose: str) -> Any:
    """Import ``module``, or say which extra brings it.

    A module that is installed but broken raises its own error: only its absence is ours to explain.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.partition(".")[0] != error.name.partition(".")[0]:
            raise
        raise MissingDependency(f"{purpose} needs {error.name}: pip install 'vlreward[{extra}]'") from error


def describe_unknown(key: str, known: Iterable[str]) -> str:
    """Words for an unknown key: the nearest known one if there is one, else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    return f"unknown key {key!r}; {hint}"
