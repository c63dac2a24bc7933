"""What is pushed to the hub, and when; the hub is a list."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi

from vlreward.errors import CheckpointError, ConfigError
from vlreward.train.run import train

from .test_trainer import Make
from .test_trainer import make as make  # noqa: PLC0414 - a fixture

Push = tuple[str, str | None, set[str]]
"""Repository, folder in it, and the files."""


class FakeHub:
    """Takes everything, or fails from some push on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pushes: list[Push] = []
        self.fails_from: int | None = None
        monkeypatch.setattr(HfApi, "create_repo", lambda _, name, **__: SimpleNamespace(repo_id=f"me/{name}"))
        monkeypatch.setattr(HfApi, "upload_folder", lambda _, **options: self.upload(**options))

    def upload(
        self, *, repo_id: str, folder_path: Path, path_in_repo: str | None, run_as_future: bool, **_: Any
    ) -> Future[None]:
        assert run_as_future
        files = {str(path.relative_to(folder_path)) for path in Path(folder_path).rglob("*")}
        self.pushes.append((repo_id, path_in_repo, files))
        done: Future[None] = Future()
        if self.fails_from is not None and len(self.pushes) >= self.fails_from:
            done.set_exception(OSError("no\nroute"))
        else:
            done.set_result(None)
        return done


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return FakeHub(monkeypatch)


@pytest.mark.parametrize(
    ("strategy", "beside"),
    [
        ("every_save", None),
        ("end", None),
        ("checkpoint", ["last-checkpoint", "last-checkpoint"]),
        ("all_checkpoints", ["checkpoint-2", "checkpoint-3"]),
    ],
)
def test_whole_models_are_pushed(make: Make, hub: FakeHub, strategy: str, beside: list[str] | None) -> None:
    options = {"push_to_hub": True, "hub_strategy": strategy, "save_total_limit": 1}
    train(make(stage={"epochs": 1}, trainer=options))
    assert {repo for repo, _, _ in hub.pushes} == {"me/out"}
    models = [files for _, place, files in hub.pushes if place is None]
    assert len(models) == (1 if strategy == "end" else 3)
    for files in models:
        assert {"config.json", "model.safetensors", "value_head.safetensors", "tokenizer.json", "recipe.yaml"} <= files
    assert "training.json" in models[-1]
    others = [(place, files) for _, place, files in hub.pushes if place is not None]
    assert [place for place, _ in others] == (beside or [])
    assert all({"complete.json", "optimizer.pt", "model/model.safetensors"} <= files for _, files in others)


def test_a_name_is_as_it_is_said_and_adapters_are_merged(make: Make, hub: FakeHub) -> None:
    stage = {"epochs": 1, "parts": {"projector": "frozen", "language": "lora"}, "lora": {"rank": 2}}
    train(make(stage=stage, trainer={"push_to_hub": True, "hub_model_id": "mine"}))
    [(repo, place, files)] = hub.pushes
    assert (repo, place) == ("me/mine", None)
    assert "model.safetensors" in files


def test_without_a_hub_nothing_begins(make: Make) -> None:
    recipe = make(trainer={"push_to_hub": True, "hub_model_id": "me/mine"})
    with pytest.raises(ConfigError, match=r"^trainer: push_to_hub: me/mine cannot be had: .*offline"):
        train(recipe)
    assert not list(Path(recipe.output).rglob("checkpoint-*"))


def test_a_hub_that_is_not_there_does_not_stop_training(
    make: Make, hub: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.fails_from = 2
    recipe = make(stage={"epochs": 1}, trainer={"push_to_hub": True})
    with pytest.raises(CheckpointError, match=r"model: is finished, but could not be pushed to me/out: no route; push"):
        train(recipe)
    assert "me/out: a checkpoint could not be pushed: no route" in caplog.messages
    assert (Path(recipe.output) / "stage-1-one" / "model" / "training.json").is_file()
