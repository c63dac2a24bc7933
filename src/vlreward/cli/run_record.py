"""What is known of an output file: which configuration it was made with, and how much of it is whole.

The record stands beside the output as ``OUTPUT.meta.json``. It is replaced after the rows that it speaks of are on
the disk, so whatever the output holds beyond ``size`` is of a step that was not finished, and is cut off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from vlreward.errors import ConfigError, InputError

START = "0" * 32


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run over a groups file."""

    config: Mapping[str, Any]
    """Everything that the rows depend on; a run is only gone on with under the same."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Where model and input were found; a moved folder is still the same."""
    groups: int = 0
    """Rows of the output that are whole."""
    responses: int = 0
    """Responses in those rows."""
    errors: int = 0
    """How many of the rows say an error instead of rewards."""
    size: int = 0
    """Bytes of those rows."""
    input_digest: str = START
    """Chained over the groups that those rows answer."""
    complete: bool = False
    """Whether the input ended there."""
    resolved: Mapping[str, Any] = field(default_factory=dict)
    """The model's settings as they came out: dtype, device, pixel limits, resize."""

    def save(self, path: Path) -> None:
        """Replace the record on disk, whole or not at all."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> RunRecord | None:
        """The record on disk, if there is one.

        Raises:
            InputError: it is not one of ours.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"{path}: not a run record ({error}); --overwrite starts again") from error
        names = {item.name for item in fields(cls)}
        if not isinstance(value, dict) or set(value) != names:
            raise InputError(f"{path}: not a run record of this version; --overwrite starts again")
        return cls(**value)

    def check(self, config: Mapping[str, Any], resolved: Mapping[str, Any], output: Path) -> None:
        """See that a run with these settings may go on here.

        Raises:
            ConfigError: it may not; the message names the first setting that differs.
        """
        for old, new in ((self.config, config), (self.resolved, resolved)):
            for name, before, now in _differences(old, new):
                raise ConfigError(
                    f"{output}: begun with {name} {before!r}, now {now!r}; "
                    "use the same, write to another file, or start again with --overwrite"
                )

    def after(self, *, groups: int, responses: int, errors: int, size: int, input_digest: str) -> RunRecord:
        """The record once one more step of rows is written."""
        return replace(
            self,
            groups=self.groups + groups,
            responses=self.responses + responses,
            errors=self.errors + errors,
            size=self.size + size,
            input_digest=input_digest,
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys([*old, *new]):
        before, now = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            yield from ((f"{name}.{inner}", a, b) for inner, a, b in _differences(before, now))
        elif before != now:
            yield name, before, now
