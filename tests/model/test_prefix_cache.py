"""Scores with the states of prompts kept are those without, and what is kept is bounded, shared and never mistaken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlreward import Group, RewardModel
from vlreward.errors import ConfigError
from vlreward.model import attention, prefix_cache
from vlreward.model.attention import Method, Tree, tree_attention
from vlreward.model.checkpoints import Question
from vlreward.model.media import Medium
from vlreward.model.packing import Column, IntArray, Trie, build_trie, lexicographic_order, without
from vlreward.model.prefix_cache import PIECE_TOKENS, Past, PrefixCache
from vlreward.tiny.random_checkpoint import BACKBONES, write_random_checkpoint

from .test_attention import allowed, reference, tensors
from .test_packing import conversations, rows_of
from .test_scoring import answers, ask, image, picture, prompts, text

ROOM = 2**30
TOLERANCES = {"float32": 1e-4, "float64": 1e-9}


@pytest.fixture(scope="module", params=BACKBONES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp(request.param), backbone=request.param)


@pytest.fixture(scope="module")
def models(folder: Path) -> dict[str, RewardModel]:
    return {dtype: RewardModel.from_pretrained(folder, dtype=dtype, device="cpu") for dtype in TOLERANCES}


@pytest.fixture
def model(models: dict[str, RewardModel], monkeypatch: pytest.MonkeyPatch) -> RewardModel:
    """A float32 model with an empty cache, and small pieces as the prompts are."""
    monkeypatch.setattr(prefix_cache, "PIECE_TOKENS", 8)
    return cached(models["float32"])


@pytest.fixture
def one_model(checkpoint: Any) -> RewardModel:
    """Where the backbone makes no difference."""
    return RewardModel.from_pretrained(checkpoint(), dtype="float32", device="cpu", prefix_cache_bytes=ROOM)


def cached(model: RewardModel, max_bytes: int = ROOM, **settings: Any) -> RewardModel:
    """The same weights with a cache of their own."""
    changed = replace(model.settings, **settings)
    twin = RewardModel(model.backbone, model.head, model.processor, settings=changed, source=None)
    twin.prefixes.max_bytes = max_bytes
    return twin


def bare(model: RewardModel) -> RewardModel:
    return cached(model, max_bytes=0)


def assert_close(one: list[list[float]], other: list[list[float]], dtype: str = "float32") -> None:
    assert [len(row) for row in one] == [len(row) for row in other]
    np.testing.assert_allclose(np.concatenate(one), np.concatenate(other), atol=TOLERANCES[dtype], rtol=0)


@st.composite
def visits(draw: st.DrawFn) -> list[list[Group]]:
    """Calls that come back to the same few prompts, which may begin alike."""
    pool = draw(st.lists(prompts(), min_size=1, max_size=2))
    pool += [
        [*prompt, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Sure?"}] for prompt in pool
    ]
    group = st.builds(Group, st.sampled_from(pool), st.lists(answers, min_size=1, max_size=3))
    return draw(st.lists(st.lists(group, min_size=1, max_size=3), min_size=2, max_size=3))


@pytest.mark.parametrize("dtype", TOLERANCES)
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(
    calls=visits(),
    piece=st.sampled_from([1, 6, 40, PIECE_TOKENS]),
    budget=st.sampled_from([60, 8192]),
    room=st.sampled_from([20_000, 200_000, ROOM]),
    dense=st.booleans(),
)
def test_scores_are_those_without_the_cache(
    models: dict[str, RewardModel],
    dtype: str,
    calls: list[list[Group]],
    piece: int,
    budget: int,
    room: int,
    dense: bool,
) -> None:
    model = cached(models[dtype], room, pack_tokens=budget)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(prefix_cache, "PIECE_TOKENS", piece)
        if dense:
            monkeypatch.setattr(attention, "choose_method", lambda *_, **__: "dense")
        for batch in calls:
            assert_close(model.score_groups(batch), bare(model).score_groups(batch), dtype)
            assert model.prefixes.nbytes <= room


@pytest.mark.parametrize("method", ["blocks", "dense", "rows"])
@settings(max_examples=25)
@given(tokens=conversations, data=st.data())
def test_attention_behind_given_tokens_equals_a_dense_softmax(
    tokens: list[list[int]], data: st.DataObject, method: Method
) -> None:
    tables = [rows_of(sequence) for sequence in tokens]
    trie = build_trie([tables[i] for i in lexicographic_order(tables)])
    known_T = np.ones(len(trie), dtype=bool)
    for token in [*trie.last_S.tolist(), *data.draw(st.lists(st.integers(0, len(trie) - 1), max_size=3))]:
        known_T[token : trie.exit_T[token]] = False
    rest, begin_P, exit_P = without(trie, known_T)
    q, k, v = tensors(len(trie))
    expected = reference(q, k, v, trie.exit_T)[:, ~known_T]
    states = [torch.stack((k[0, :, known_T], v[0, :, known_T]))]
    middle = len(begin_P) // 2
    kept: prefix_cache.States = []
    # Keys are the given ones and then the pack's own, so this is every second key.
    given_runs = [(states, slice(0, middle)), (states, slice(middle, len(begin_P)))]
    past = Past(begin_P, exit_P, given_runs, [(kept, torch.arange(0, len(trie), 2))])
    scored = rest.last_S if method == "rows" else None
    tree = Tree.build(rest.exit_T, q.device, method, scored, past)
    own = ~known_T if scored is None else np.flatnonzero(~known_T)[scored]
    module = SimpleNamespace(layer_idx=0)
    out, _ = tree_attention(module, q[:, :, own], k[:, :, ~known_T], v[:, :, ~known_T], None, tree=tree)  # type: ignore[arg-type]
    torch.testing.assert_close(out.double(), expected if scored is None else expected[:, scored], atol=5e-6, rtol=0)
    order = np.concatenate([np.flatnonzero(known_T), np.flatnonzero(~known_T)])[::2]
    assert torch.equal(kept[0], torch.stack((k[0, :, order], v[0, :, order])))


@given(tokens=conversations, data=st.data())
def test_a_pack_without_known_tokens_keeps_who_descends_from_whom(tokens: list[list[int]], data: st.DataObject) -> None:
    tables = [rows_of(sequence) for sequence in tokens]
    trie = build_trie([tables[i] for i in lexicographic_order(tables)])
    known_T = np.ones(len(trie), dtype=bool)
    for token in [*trie.last_S.tolist(), *data.draw(st.lists(st.integers(0, len(trie) - 1), max_size=3))]:
        known_T[token : trie.exit_T[token]] = False
    rest, begin_P, exit_P = without(trie, known_T)
    whole = allowed(trie.exit_T)
    np.testing.assert_array_equal(allowed(rest.exit_T), whole[~known_T][:, ~known_T])
    q = np.arange(len(rest))[:, None]
    np.testing.assert_array_equal((begin_P <= q) & (q < exit_P), whole[~known_T][:, known_T])
    np.testing.assert_array_equal(rest.rows_TC[rest.last_S], trie.rows_TC[trie.last_S])


@pytest.fixture
def computed(model: RewardModel) -> Iterator[list[int]]:
    """How many tokens each pass computes."""
    rows: list[int] = []
    layer = model.backbone.model.language_model.layers[0]
    hook = layer.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[1]))
    yield rows
    hook.remove()


def test_a_late_sample_computes_its_answer_alone_and_no_picture(
    model: RewardModel, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model.vision.max_bytes = 0
    messages = ask(image((112, 112), 1), text("What is it?"))
    conversation = model.conversation(Group(messages, ["A cat."]), 0, _table(), "here")
    model.score_groups([Group(messages, ["A cat."])])
    monkeypatch.setattr(model.backbone, "encode", _never)
    late = [model.score_groups([Group(messages, [answer])]) for answer in ("A cat.", "A dog.")]
    again = model.score_groups([Group(messages, ["A cat.", "A dog."])])
    monkeypatch.undo()
    assert_close([late[0][0] + late[1][0]], again)
    assert_close(again, bare(model).score_groups([Group(messages, ["A cat.", "A dog."])]))
    assert computed[0] == len(conversation)
    assert max(computed[1:3]) < 12
    assert (model.prefixes.hits, model.prefixes.misses) == (3, 1)
    assert model.prefixes.tokens_saved == 3 * (len(conversation) - computed[1])


def _table() -> Any:
    from vlreward.model.processing import MediaTable

    return MediaTable()


def _never(*_: Any) -> Any:
    raise AssertionError("a picture was encoded")


def test_a_video_is_not_encoded_again(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model.vision.max_bytes = 0
    frames = [picture((56, 56), seed) for seed in range(5)]
    batch = [
        Group(ask({"type": "video", "video": frames, "fps": 2.0}, text("What happens?")), ["It moves.", "Nothing."])
    ]
    first = model.score_groups(batch)
    monkeypatch.setattr(model.backbone, "encode", _never)
    assert_close(model.score_groups(batch), first)
    faster = [Group(ask({"type": "video", "video": frames, "fps": 4.0}, text("What happens?")), ["It moves."])]
    if model.backbone.spec.model_type != "qwen2_vl":
        with pytest.raises(AssertionError, match="a picture was encoded"):
            model.score_groups(faster)


def test_another_question_about_a_picture_shares_the_picture(model: RewardModel, computed: list[int]) -> None:
    questions = [Group(ask(image((112, 112), 1), text(f"{word} is it?")), ["A cat."]) for word in ("What", "Who")]
    expected = bare(model).score_groups(questions)
    computed.clear()
    scores = [model.score_groups([group])[0] for group in questions]
    assert_close(scores, expected)
    assert computed[1] < computed[0] - 16, "the picture was computed again"


def test_a_scored_token_inside_a_kept_prompt_is_computed(model: RewardModel) -> None:
    first = ask(image((56, 56), 1), text("What is it?"))
    second = [*first, {"role": "assistant", "content": "A cat."}, {"role": "user", "content": "Are you sure of that?"}]
    batch = [Group(second, ["Yes.", "No."]), Group(first, ["A cat.", "A dog."])]
    model.score_groups(batch[:1])
    assert_close(model.score_groups(batch), bare(model).score_groups(batch))


def test_equal_placeholders_of_other_pictures_are_other_prompts(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.vision.max_bytes = 0
    encoded: list[int] = []
    encode = model.backbone.encode
    monkeypatch.setattr(
        model.backbone, "encode", lambda patches, media: encoded.append(len(media)) or encode(patches, media)
    )
    batch = [Group(ask(image((56, 56), seed), text("What is it?")), ["A cat."]) for seed in range(3)]
    expected = bare(model).score_groups(batch)
    encoded.clear()
    assert_close([model.score_groups([group])[0] for group in batch], expected)
    assert sum(encoded) == 3
    # In another order the same pictures have other numbers in the call's table.
    assert_close(model.score_groups(batch[::-1]), expected[::-1])
    assert sum(encoded) == 3


def test_stops_and_questions_read_through_the_cache(folder: Path, one_model: RewardModel) -> None:
    messages = [*ask(image((56, 56), 1), text("What?")), {"role": "assistant", "content": "One. Two. Three."}]
    first, again = (one_model.trace(messages) for _ in range(2))
    assert_close([[point.reward for point in first]], [[point.reward for point in again]])
    assert one_model.prefixes.hits == 1


@pytest.mark.parametrize("template", [Question().template, "{prompt}\nThe answer: {response}\nIs it right?"])
def test_questions_about_a_response_share_its_prompt(checkpoint: Any, template: str) -> None:
    model = RewardModel.from_pretrained(
        checkpoint(form="none"),
        dtype="float32",
        device="cpu",
        question=Question(template=template),
        prefix_cache_bytes=ROOM,
    )
    groups = [Group(ask(image((56, 56), 1), text("What?")), [answer]) for answer in ("A cat.", "A dog.")]
    for group in groups:
        assert_close(model.score_groups([group]), bare(model).score_groups([group]))
    assert model.prefixes.hits == 1


def test_least_recently_used_prompts_go_first(one_model: RewardModel) -> None:
    batch = [Group(ask(image((56, 56), seed), text("What is it?")), ["A cat."]) for seed in range(4)]
    cache = one_model.prefixes
    one_model.score_groups(batch[:1])
    each = cache.nbytes
    cache.max_bytes = 3 * each
    one_model.score_groups(batch[1:2])
    one_model.score_groups(batch[2:3])
    one_model.score_groups(batch[:1])
    assert (cache.hits, cache.nbytes) == (1, 3 * each)
    one_model.score_groups(batch[3:])  # in place of the second
    for group, there in zip(batch, (True, False, True, True), strict=True):
        hits = cache.hits
        if there:
            one_model.score_groups([group])
        assert (cache.hits > hits) == there
    assert cache.nbytes == 3 * each
    cache.max_bytes = each
    assert cache.nbytes == each
    cache.clear()
    assert cache.nbytes == 0


def test_the_front_of_a_prompt_outlives_its_end(one_model: RewardModel) -> None:
    long = Group("Word after word. " * 60, ["Yes."])
    cache = one_model.prefixes
    one_model.score_groups([long])
    whole, pieces = cache.nbytes, len(cache._kept)
    assert pieces > 2
    cache.max_bytes = whole // 2
    one_model.score_groups([long])
    assert cache.tokens_saved > 0
    assert 0 < cache.nbytes <= whole // 2
    # A pass that is too large for the room keeps what fits of its front.
    cache.clear()
    one_model.score_groups([long])
    assert 0 < cache.nbytes <= whole // 2
    saved = cache.tokens_saved
    one_model.score_groups([long])
    assert cache.tokens_saved > saved


def test_what_is_counted_in_bytes_is_what_is_held(one_model: RewardModel) -> None:
    one_model.score_groups([Group(ask(image((84, 84), 1), text("What?")), ["A.", "B."]), Group("Hello", ["A."])])
    cache = one_model.prefixes
    held = [tensor for states in cache._kept.values() for tensor in states]
    assert sum(tensor.untyped_storage().nbytes() for tensor in held) == cache.nbytes
    assert not any(tensor.requires_grad for tensor in held)
    layers = one_model.backbone.config.get_text_config().num_hidden_layers
    assert all(len(states) == layers for states in cache._kept.values())
    tokens = sum(states[0].shape[2] for states in cache._kept.values())
    assert cache.nbytes == tokens * prefix_cache._token_bytes(one_model.backbone)


def test_the_cache_is_off_unless_told(checkpoint: Any) -> None:
    model = RewardModel.from_pretrained(checkpoint(), dtype="float32", device="cpu")
    group = Group("Hello", ["A.", "B."])
    assert model.score_groups([group]) == model.score_groups([group])
    assert (model.prefixes.nbytes, model.prefixes.misses) == (0, 0)
    with pytest.raises(ConfigError, match="prefix_cache_bytes must be a number of bytes, or 0 for no cache, got -1"):
        model.prefixes.max_bytes = -1


def test_a_pass_that_fails_leaves_nothing_behind(one_model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group("Hello, who is it?", [f"Answer {i}." for i in range(4)])
    expected = bare(one_model).score_groups([group])
    hidden = one_model.backbone.hidden

    def limited(trie: Trie, features: Any, past: Past) -> Any:
        result = hidden(trie, features, past=past)
        if len(trie.last_S) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return result

    monkeypatch.setattr(one_model.backbone, "hidden", limited)
    assert_close(one_model.score_groups([group]), expected)
    assert (one_model.prefixes.hits, one_model.prefixes.misses) == (1, 1)


def test_a_backbone_that_cannot_be_packed_has_no_cache(one_model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(ask(image((56, 56), 1), text("What?")), ["A.", "B."])
    expected = bare(one_model).score_groups([group])
    monkeypatch.setattr(one_model.backbone, "spec", replace(one_model.backbone.spec, packable=False))
    for _ in range(2):
        assert_close(one_model.score_groups([group]), expected)
    assert (one_model.prefixes.nbytes, one_model.prefixes.misses) == (0, 0)


def test_bfloat16_states_are_kept_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_cache, "PIECE_TOKENS", 8)
    model = RewardModel.from_pretrained(folder, dtype="bfloat16", device="cpu", prefix_cache_bytes=ROOM)
    batch = [
        Group(ask(image((84, 84), seed), text("What is it?")), ["A cat.", "No, it is", "Yes"]) for seed in range(4)
    ]
    expected = np.concatenate(bare(model).score_groups(batch))
    model.score_groups(batch)
    drift = np.abs(np.concatenate(model.score_groups(batch)) - expected)
    assert model.prefixes.hits == 4
    assert {tensor.dtype for states in model.prefixes._kept.values() for tensor in states} == {torch.bfloat16}
    assert np.median(drift) < 0.2 * expected.std()


def spans(lengths: list[int]) -> tuple[IntArray, list[Medium]]:
    """A prompt of 5 words, a picture of so many visual tokens, 5 words, and so on."""
    parts, media = [], []
    for number, length in enumerate(lengths):
        words, placeholders = rows_of(list(range(5))), rows_of([99] * length)
        placeholders[:, Column.MEDIUM] = number
        placeholders[:, [Column.FEATURE, Column.OFFSET]] = np.arange(length)[:, None]
        parts += [words, placeholders]
        media.append(Medium(bytes([number] * 16), "image", (1, 2, 2 * length), length, None, ()))
    return np.concatenate([*parts, rows_of(list(range(5)))]), media


@given(lengths=st.lists(st.integers(1, 40), max_size=4), piece=st.integers(1, 30), data=st.data())
def test_pieces_end_outside_pictures_whatever_follows(lengths: list[int], piece: int, data: st.DataObject) -> None:
    rows_TC, media = spans(lengths)
    outside = [*np.flatnonzero(rows_TC[:, Column.OFFSET] == 0).tolist(), len(rows_TC)]
    end = data.draw(st.sampled_from(outside))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(prefix_cache, "PIECE_TOKENS", piece)
        whole, front = prefix_cache.cut(rows_TC, media), prefix_cache.cut(rows_TC[:end], media)
    bounds = [0, *(each.end for each in whole)]
    assert bounds[:-1] == [each.begin for each in whole]
    assert bounds[-1] == len(rows_TC)
    assert set(bounds) <= set(outside)
    assert all(each.end - each.begin >= piece for each in whole[:-1])
    assert front[:-1] == whole[: len(front[:-1])]


def test_a_piece_is_known_by_all_that_is_before_it() -> None:
    rows_TC, media = spans([3, 150, 150])
    keys = [piece.key for piece in prefix_cache.cut(rows_TC, media)]
    assert len(set(keys)) == len(keys) > 2

    def changed(row: int, column: Column, value: int) -> list[bool]:
        other = rows_TC.copy()
        other[row, column] = value
        return [piece.key == key for piece, key in zip(prefix_cache.cut(other, media), keys, strict=True)]

    for column in (Column.ID, Column.TIME, Column.HEIGHT, Column.WIDTH):
        assert not any(changed(0, column, 77))
        assert changed(len(rows_TC) - 1, column, 77) == [True] * (len(keys) - 1) + [False]
    # Numbers of media are a table's own, their content is not.
    swapped = rows_TC.copy()
    swapped[:, Column.MEDIUM] = np.array([2, 0, 1, -1])[rows_TC[:, Column.MEDIUM]]
    assert [piece.key for piece in prefix_cache.cut(swapped, [media[1], media[2], media[0]])] == keys
    assert prefix_cache.cut(rows_TC, [media[1], media[0], media[2]])[0].key != keys[0]


def test_the_counts_start_at_nothing(one_model: RewardModel) -> None:
    cache = PrefixCache(one_model.backbone)
    assert (cache.hits, cache.misses, cache.tokens_saved, cache.nbytes, cache.max_bytes) == (0, 0, 0, 0, 0)
