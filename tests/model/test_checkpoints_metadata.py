from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlreward.errors import CheckpointError
from vlreward.model.checkpoints import CheckpointFolder, Metadata, Question, read_metadata, read_pixel_limits
from vlreward.model.checkpoints.metadata import set_processor_limits

from .checkpoint_folders import copy_folder, edit_json

Get = Callable[..., Path]
NESTED, FLAT, OURS = "processor_config.json", "preprocessor_config.json", "vlreward.json"


@pytest.fixture
def folder(checkpoint: Get, tmp_path: Path) -> Path:
    """A checkpoint that says nothing of pixels."""
    path = copy_folder(checkpoint(), tmp_path / "model")
    for name in (NESTED, FLAT, OURS):
        (path / name).unlink(missing_ok=True)
    return path


def write(folder: Path, files: dict[str, object]) -> CheckpointFolder:
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return CheckpointFolder.open(folder)


def test_absence_is_tolerated(folder: Path):
    assert read_metadata(CheckpointFolder.open(folder)) == Metadata()


def test_round_trip(folder: Path):
    metadata = Metadata(
        vlreward_version="1.2.3",
        form="token-logit",
        question=Question(prefill="<think>"),
        min_pixels=3136,
        max_pixels=50176,
        resize="pil",
    )
    metadata.write(folder)
    assert read_metadata(CheckpointFolder.open(folder)) == metadata
    Metadata(form="value-head").write(folder)
    assert json.loads((folder / OURS).read_text()) == {"form": "value-head"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"maxpixels": 3}, "unknown key 'maxpixels'; did you mean 'max_pixels'?"),
        (
            {"zzz": 3},
            "unknown key 'zzz'; known: form, max_pixels, min_pixels, question, resize, vlreward_version",
        ),
        ({"form": 3}, "'form' must be text, got 3"),
        ({"resize": "opencv"}, "unknown resize 'opencv'; known: pil, torchvision"),
        ({"max_pixels": "many"}, "max_pixels must be a positive whole number of pixels, got 'many'"),
        ({"min_pixels": 0}, "min_pixels must be a positive whole number of pixels, got 0"),
        ({"min_pixels": True}, "min_pixels must be a positive whole number of pixels, got True"),
        ({"question": {"postive": "Yes"}}, "question: unknown key 'postive'; did you mean 'positive'?"),
    ],
)
def test_what_cannot_be_names_the_file(folder: Path, content: dict[str, Any], message: str):
    opened = write(folder, {OURS: content})
    with pytest.raises(CheckpointError) as error:
        read_metadata(opened)
    assert str(error.value) == f"{folder / OURS}: {message}"


SIZE = {"shortest_edge": 100, "longest_edge": 2000}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (3136, 1003520, "default")),
        ({FLAT: {}}, (3136, 1003520, FLAT)),
        ({FLAT: {"min_pixels": 200, "max_pixels": 900}}, (200, 900, FLAT)),
        ({FLAT: {"size": SIZE}}, (100, 2000, FLAT)),
        ({FLAT: {"size": {"min_pixels": 100, "max_pixels": 2000}}}, (100, 2000, FLAT)),
        ({FLAT: {"size": SIZE, "max_pixels": 900}}, (100, 900, FLAT)),
        ({NESTED: {"image_processor": {"size": SIZE}}}, (100, 2000, NESTED)),
        ({NESTED: {"image_processor": {"size": SIZE}}, FLAT: {"max_pixels": 900}}, (100, 2000, NESTED)),
        ({NESTED: {"processor_class": "X"}, FLAT: {"min_pixels": 200, "max_pixels": 900}}, (200, 900, FLAT)),
        ({FLAT: {"size": SIZE}, OURS: {"max_pixels": 1500}}, (100, 1500, OURS)),
        ({FLAT: {"size": SIZE}, OURS: {"min_pixels": 50, "max_pixels": 70}}, (50, 70, OURS)),
        ({OURS: {"form": "value-head"}}, (3136, 1003520, "default")),
    ],
)
def test_pixel_limits_and_where_they_are_from(folder: Path, files: dict[str, object], expected: tuple[int, int, str]):
    assert read_pixel_limits(write(folder, files)) == expected


@pytest.mark.parametrize(
    "files",
    [
        {FLAT: {"size": SIZE}},
        {FLAT: {"min_pixels": 200, "max_pixels": 900}},
        {FLAT: {"size": SIZE, "max_pixels": 900}},
        {NESTED: {"image_processor": {"size": SIZE}}, FLAT: {"min_pixels": 1, "max_pixels": 900}},
        {NESTED: {"processor_class": "X"}, FLAT: {"size": SIZE}},
        {FLAT: {}},
    ],
)
def test_pixel_limits_are_those_of_transformers(folder: Path, files: dict[str, object]):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    size = Qwen2VLImageProcessorPil.from_pretrained(write(folder, files).path).size
    assert read_pixel_limits(CheckpointFolder.open(folder))[:2] == (size.shortest_edge, size.longest_edge)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({FLAT: {"max_pixels": -5}}, f"{FLAT}: max_pixels must be a positive whole number of pixels, got -5"),
        (
            {FLAT: {"size": {"shortest_edge": 3.5}}},
            f"{FLAT}: min_pixels must be a positive whole number of pixels, got 3.5",
        ),
        ({FLAT: {"min_pixels": 900, "max_pixels": 200}}, f"{FLAT}: min_pixels 900 is over max_pixels 200"),
        ({FLAT: {"size": SIZE}, OURS: {"min_pixels": 5000}}, f"{OURS}: min_pixels 5,000 is over max_pixels 2,000"),
    ],
)
def test_pixel_limits_that_cannot_be(folder: Path, files: dict[str, object], message: str):
    opened = write(folder, files)
    with pytest.raises(CheckpointError) as error:
        read_pixel_limits(opened)
    assert str(error.value) == f"{folder}/{message}"


def test_limits_are_written_wherever_the_processor_says_them(folder: Path):
    write(
        folder,
        {
            NESTED: {"image_processor": {"size": SIZE, "patch_size": 14}, "video_processor": {"size": SIZE}},
            FLAT: {"min_pixels": 1, "max_pixels": 2},
        },
    )
    set_processor_limits(folder, 300, 400)
    nested, flat = (json.loads((folder / name).read_text()) for name in (NESTED, FLAT))
    size = {"shortest_edge": 300, "longest_edge": 400}
    assert nested == {"image_processor": {"size": size, "patch_size": 14}, "video_processor": {"size": SIZE}}
    assert flat == {"min_pixels": 300, "max_pixels": 400, "size": size}


def test_a_broken_file_is_named(folder: Path):
    edit_json(folder / FLAT, lambda content: None)
    (folder / OURS).write_text("{")
    with pytest.raises(CheckpointError, match=r"vlreward.json:1: not JSON: "):
        read_pixel_limits(CheckpointFolder.open(folder))
