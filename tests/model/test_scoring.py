"""Packed scores equal one-at-a-time scores, whatever is packed with what."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlreward import Group, RewardModel
from vlreward.tiny.random_checkpoint import BACKBONES, write_random_checkpoint

# Measured 2e-5 over 3,000 groups: float32 rounding in another order.
TOLERANCE = 1e-4

SIZES = ((28, 28), (56, 84), (84, 56), (70, 33), (140, 30), (112, 112))
TEXTS = ("", " ", "\n", "Yes", "Yes.", "Yes. It is", " Yes", "\nYes", "No, it is ünï¢ødé 🙂", "Zwei Bilder\n\nund Text")


@pytest.fixture(scope="module", params=BACKBONES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RewardModel:
    folder = write_random_checkpoint(tmp_path_factory.mktemp(request.param), backbone=request.param)
    return RewardModel.from_pretrained(folder, dtype="float32", device="cpu")


def picture(size: tuple[int, int], seed: int) -> PIL.Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


images = st.builds(
    lambda size, seed: {"type": "image", "image": picture(size, seed)}, st.sampled_from(SIZES), st.integers(0, 2)
)
videos = st.builds(
    lambda size, frames, seed, fps: {
        "type": "video",
        "video": [picture(size, seed + i) for i in range(frames)],
        "fps": fps,
    },
    st.sampled_from(SIZES[:3]),
    st.integers(1, 5),
    st.integers(0, 1),
    st.sampled_from([0.5, 2.0, 4.0]),
)
texts = st.sampled_from(TEXTS)
text_parts = texts.map(lambda text: {"type": "text", "text": text})
users = st.one_of(
    texts.filter(str.strip), st.lists(st.one_of(text_parts, images, images, videos), min_size=1, max_size=4)
)
turns = st.builds(
    lambda user, answer: [{"role": "user", "content": user}, {"role": "assistant", "content": answer}], users, texts
)


@st.composite
def prompts(draw: st.DrawFn) -> list[dict[str, Any]]:
    system = draw(st.sampled_from([[], [{"role": "system", "content": "Be brief."}]]))
    earlier = draw(st.lists(turns, max_size=1))
    return [*system, *(m for turn in earlier for m in turn), {"role": "user", "content": draw(users)}]


answers = st.one_of(texts, texts, st.lists(st.one_of(text_parts, images), min_size=1, max_size=3))
groups = st.lists(st.builds(Group, prompts(), st.lists(answers, min_size=1, max_size=5)), min_size=1, max_size=3)


def plain(model: RewardModel, given_groups: list[Group]) -> list[list[float]]:
    return [[model.score_plain(conversation) for conversation in group.conversations()] for group in given_groups]


def assert_close(one: list[list[float]], other: list[list[float]]) -> None:
    assert [len(row) for row in one] == [len(row) for row in other]
    flat_one, flat_other = [x for row in one for x in row], [x for row in other for x in row]
    np.testing.assert_allclose(flat_one, flat_other, atol=TOLERANCE, rtol=0)


RELAXED = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@RELAXED
@given(batch=groups)
def test_packed_equals_one_at_a_time(model: RewardModel, batch: list[Group]) -> None:
    packed = model.score_groups(batch)
    assert_close(packed, plain(model, batch))
    order = list(range(len(batch)))
    random.Random(0).shuffle(order)
    shuffled = model.score_groups([batch[i] for i in order])
    assert_close([shuffled[order.index(i)] for i in range(len(batch))], packed)


@RELAXED
@given(batch=groups, budget=st.integers(1, 200))
def test_the_pack_budget_does_not_change_scores(model: RewardModel, batch: list[Group], budget: int) -> None:
    whole = model.score_groups(batch)
    small = RewardModel(model.backbone, model.head, model.processor, settings=_with_budget(model, budget), source=None)
    assert_close(small.score_groups(batch), whole)


def _with_budget(model: RewardModel, budget: int) -> Any:
    from dataclasses import replace

    return replace(model.settings, pack_tokens=budget)


def test_the_last_layer_at_scored_positions_is_the_last_layer(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    mlp = model.backbone.model.language_model.layers[-1].mlp
    hook = mlp.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[1]))
    batch = [Group("Hello, who is it?", ["A cat.", "A dog.", ""]), Group("Good day.", ["Good day."])]
    try:
        narrow = model.score_groups(batch)
        monkeypatch.setattr(model.backbone, "scored_last_layer", False)
        whole = model.score_groups(batch)
    finally:
        hook.remove()
    assert_close(narrow, whole)
    assert rows[0] == 4 < rows[1]


def spread(values: list[float]) -> float:
    return max(values) - min(values)


def ask(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def image(size: tuple[int, int], seed: int) -> dict[str, Any]:
    return {"type": "image", "image": picture(size, seed)}


def test_same_text_and_size_but_other_pixels(model: RewardModel) -> None:
    batch = [Group(ask(image((56, 56), seed), text("What is it?")), ["A cat.", "A dog."]) for seed in range(4)]
    scores = model.score_groups(batch)
    assert_close(scores, plain(model, batch))
    assert spread([row[0] for row in scores]) > 100 * TOLERANCE, "the pictures do not matter to this model"


def test_same_frames_but_another_rate(model: RewardModel) -> None:
    if model.backbone.spec.model_type == "qwen2_vl":
        pytest.skip("Qwen2-VL does not know the rate of a video")
    frames = [picture((56, 56), seed) for seed in range(6)]
    batch = [
        Group(ask({"type": "video", "video": frames, "fps": fps}, text("What happens?")), ["It moves.", "Nothing."])
        for fps in (0.5, 2.0, 4.0)
    ]
    scores = model.score_groups(batch)
    assert_close(scores, plain(model, batch))
    assert spread([row[0] for row in scores]) > 10 * TOLERANCE


def test_frames_count_as_sampled_at_two_per_second(model: RewardModel) -> None:
    frames = [picture((56, 56), seed) for seed in range(4)]
    untold = Group(ask({"type": "video", "video": frames}, text("What happens?")), ["It moves."])
    told = Group(ask({"type": "video", "video": frames, "fps": 2.0}, text("What happens?")), ["It moves."])
    assert model.score_groups([untold]) == model.score_groups([told])


def test_an_edited_picture_can_be_the_answer(model: RewardModel) -> None:
    answers = [[image((56, 56), seed), text("Done.")] for seed in range(3)]
    group = Group(ask(image((84, 56), 9), text("Make it red.")), answers, id="edit")
    scores = model.score_groups([group])
    assert_close(scores, plain(model, [group]))
    assert spread(scores[0]) > 100 * TOLERANCE


def test_a_response_may_be_several_messages(model: RewardModel) -> None:
    turns_after = [
        {"role": "assistant", "content": "Which one?"},
        {"role": "user", "content": "The left one."},
        {"role": "assistant", "content": "A cat."},
    ]
    group = Group(ask(image((56, 56), 1), text("What is it?")), [turns_after, "A cat."])
    assert_close(model.score_groups([group]), plain(model, [group]))


def test_each_picture_is_encoded_once(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = model.backbone.encode

    def counting(patches: torch.Tensor, media: Any) -> Any:
        encoded.append(len(media))
        return encode(patches, media)

    monkeypatch.setattr(model.backbone, "encode", counting)
    batch = [Group(ask(image((84, 84), seed % 2 + 50), text(f"Question {seed}")), ["a", "b", "c"]) for seed in range(6)]
    model.score_groups(batch)
    assert sum(encoded) == 2
    model.score_groups(batch)
    assert sum(encoded) == 2, "the cache does not outlive a call"


def test_the_cache_is_bounded(model: RewardModel) -> None:
    from vlreward.model.vision import VisualCache

    cache = VisualCache(model.backbone, model.processor.media, max_bytes=4000)
    model_vision, model.vision = model.vision, cache
    try:
        for seed in range(5):
            model.score_groups([Group(ask(image((56, 56), 100 + seed), text("?")), ["a"])])
            assert cache._bytes <= 4000
    finally:
        model.vision = model_vision
    assert cache.misses == 5


@pytest.fixture
def out_of_memory(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A backbone that has room for packs of two conversations at most."""
    sizes: list[int] = []
    hidden = model.backbone.hidden

    def limited(trie: Any, features: Any) -> Any:
        sizes.append(len(trie.last_S))
        if len(trie.last_S) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return hidden(trie, features)

    monkeypatch.setattr(model.backbone, "hidden", limited)
    return sizes


def test_out_of_memory_halves_the_pack(
    model: RewardModel, out_of_memory: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    group = Group(ask(image((56, 56), 1), text("What?")), [f"Answer {i}." for i in range(7)])
    scores = model.score_groups([group])
    assert_close(scores, plain(model, [group]))
    assert out_of_memory == [7, 3, 1, 2, 4, 2, 2]
    assert "going on with halves" in caplog.text


def test_out_of_memory_on_one_conversation_names_it(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(model.backbone, "hidden", never)
    with pytest.raises(Exception, match=r"group 'big': responses\[0\]: \d+ tokens do not fit the memory"):
        model.score_groups([Group("Hello", ["a"], id="big")])


def test_other_runtime_errors_stay_themselves(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(model.backbone, "hidden", broken)
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        model.score_groups([Group("Hello", ["a"])])


def test_bfloat16_drifts_less_than_scores_spread(model: RewardModel, tmp_path: Path) -> None:
    folder = write_random_checkpoint(tmp_path, backbone=model.backbone.spec.model_type)  # type: ignore[arg-type]
    narrow = RewardModel.from_pretrained(folder, dtype="bfloat16", device="cpu")
    batch = [Group(ask(image((84, 84), seed), text("What is it?")), list(TEXTS[3:])) for seed in range(4)]
    exact = np.concatenate(model.score_groups(batch))
    drift = np.abs(np.concatenate(narrow.score_groups(batch)) - exact)
    assert narrow.settings.dtype == "bfloat16"
    # Random weights, unlike trained ones, magnify rounding; what is held here is that the order mostly survives.
    assert np.median(drift) < 0.2 * exact.std()
