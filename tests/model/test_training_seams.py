"""What training asks of the model: the vision tower and the projector apart, and sizes without pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from vlreward import Group, RewardModel
from vlreward.errors import MediaError
from vlreward.model.media import Medium
from vlreward.model.packing import Column, build_trie
from vlreward.model.processing import MediaTable
from vlreward.tiny.random_checkpoint import BACKBONES, write_random_checkpoint
from vlreward.types import Image

from .test_scoring import ask, image, text


@pytest.fixture(scope="module", params=BACKBONES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RewardModel:
    folder = write_random_checkpoint(tmp_path_factory.mktemp(request.param), backbone=request.param)
    return RewardModel.from_pretrained(folder, dtype="float64", device="cpu")


def media(model: RewardModel) -> list[Medium]:
    noise = np.random.default_rng(0)
    pictures = [noise.integers(0, 255, (*size, 3), dtype=np.uint8) for size in ((84, 160), (200, 90), (56, 56))]
    return [model.processor.media.load(Image(source=picture), "here") for picture in pictures]


@torch.inference_mode()
def test_tower_and_projector_apart_are_the_encoder(model: RewardModel) -> None:
    found = media(model)
    patches = [torch.from_numpy(model.processor.media.patches(medium)) for medium in found]
    together = model.backbone.project(model.backbone.see(torch.cat(patches), found))
    for medium, patches_NP, features in zip(found, patches, together, strict=True):
        alone = model.backbone.encode(patches_NP, [medium])[0]
        torch.testing.assert_close(features.tokens_VD, alone.tokens_VD, rtol=0, atol=1e-13)  # measured 5e-15
        assert len(features.deepstack) == len(alone.deepstack)
        for level, expected in zip(features.deepstack, alone.deepstack, strict=True):
            torch.testing.assert_close(level, expected, rtol=0, atol=1e-13)


@torch.inference_mode()
def test_packed_hidden_states_are_those_of_each_token(model: RewardModel) -> None:
    table = MediaTable()
    group = Group(ask(image((84, 56), 1), text("What is it?")), ["A cat.", "A dog that runs."])
    conversations = [model.conversation(group, i, table, "here") for i in range(2)]
    trie = build_trie([conversation.rows_TC for conversation in conversations])
    features = dict(enumerate(model.vision.get(table.media)))
    packed_TD = model.backbone.packed_hidden(trie, features)
    patches = [torch.from_numpy(model.processor.media.patches(medium)) for medium in table.media]
    for s, conversation in enumerate(conversations):
        path = np.flatnonzero(trie.exit_T[: trie.last_S[s] + 1] > trie.last_S[s])
        alone_TD = model.backbone.plain_hidden(conversation.rows_TC[:, Column.ID], table.media, patches)
        torch.testing.assert_close(packed_TD[path], alone_TD, rtol=0, atol=1e-5)


def test_a_measured_picture_is_as_large_as_a_loaded_one(model: RewardModel, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    PILImage.fromarray(noise).save(tmp_path / "plain.png")
    exif = PILImage.Exif()
    exif[0x0112] = 6  # lies on its side
    PILImage.fromarray(noise).save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "bytes.png").write_bytes((tmp_path / "plain.png").read_bytes())
    sources = [tmp_path / "plain.png", tmp_path / "turned.jpg", (tmp_path / "plain.png").read_bytes(), noise]
    sources += [PILImage.fromarray(noise), {"bytes": None, "path": str(tmp_path / "plain.png")}]
    keys = set()
    for source in sources:
        part = Image(source=source, max_pixels=9000)
        measured, loaded = (look(part, "here") for look in (model.processor.media.measure, model.processor.media.load))
        assert (measured.grid, measured.tokens, measured.frames) == (loaded.grid, loaded.tokens, ())
        keys.add(measured.key)
    assert len(keys) == 4  # the last three sources hold the same as others: bytes of an array, and the path
    with pytest.raises(MediaError, match="no such file"):
        model.processor.media.measure(Image(source="none.png"), "here")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(MediaError, match="not a picture"):
        model.processor.media.measure(Image(source=tmp_path / "text.png"), "here")
