"""Where the bundled models are.

They are instruments that prove the machinery, at home in the rendered world of `vlreward.tiny.world` only: no judges of
photographs, and nobody's default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from vlreward.errors import CheckpointError, ConfigError

BundledName: TypeAlias = Literal["reward", "policy"]
BUNDLED: tuple[BundledName, ...] = ("reward", "policy")

_FOLDER = Path(__file__).parent / "weights"


def bundled_model(name: BundledName = "reward") -> Path:
    """The folder of a bundled checkpoint.

    Args:
        name: ``reward``, the trained reward model; or ``policy``, a model that answers and has room to improve.

    Raises:
        ConfigError: no such name.
        CheckpointError: this copy of vlreward came without it.
    """
    if name not in BUNDLED:
        raise ConfigError(f"unknown bundled model {name!r}; known: {', '.join(BUNDLED)}")
    folder = _FOLDER / name
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: the bundled {name} model is not in this copy of vlreward; "
            "make it with `make tiny`, or name another model with --model"
        )
    return folder
