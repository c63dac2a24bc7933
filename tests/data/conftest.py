"""Files that the tests of this room make for themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Lines = Callable[..., Path]


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Write rows (objects, or text as it is) to a file and name it as a user in its folder would."""
    monkeypatch.chdir(tmp_path)

    def write(*rows: Any, name: str = "pairs.jsonl") -> Path:
        text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
        Path(name).write_text(text, encoding="utf-8")
        return Path(name)

    return write


@pytest.fixture
def photo() -> Image.Image:
    """A picture in which every pixel differs: 6 wide, 4 high."""
    pixels_HWC = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
    return Image.fromarray(pixels_HWC)
