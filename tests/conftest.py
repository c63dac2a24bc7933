"""What all tests share: no network, the small random checkpoints, and the shared golden ones where they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# A machine that others share has slow moments; no test is about how long one example takes.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

# Before anything imports the hub client: a test that reaches for the network has a mistake in it.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("VLREWARD_MODEL", None)

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("VLREWARD_SHARED", ROOT.parent / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)  # a long file that begins last leaves all other processes idle
    if SHARED.is_dir():
        return
    skip = pytest.mark.skip(reason=f"{SHARED} is not there; VLREWARD_SHARED names another place")
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's own folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared golden checkpoints and data; mark the test ``shared``."""
    return SHARED


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Random checkpoints by the arguments of `write_random_checkpoint`, each written once. Not to be changed."""
    from vlreward.tiny.random_checkpoint import write_random_checkpoint

    written: dict[tuple[object, ...], Path] = {}

    def get(backbone: str = "qwen2_5_vl", form: str = "value-head", seed: int = 0) -> Path:
        key = (backbone, form, seed)
        if key not in written:
            folder = tmp_path_factory.mktemp("checkpoint") / f"{backbone}-{form}-{seed}"
            written[key] = write_random_checkpoint(folder, seed, backbone, form)  # type: ignore[arg-type]
        return written[key]

    return get
