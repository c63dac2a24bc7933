"""Loss and gradients of a pack against the plain computation: each conversation alone, by transformers' own forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vlreward import Ranking, RewardModel
from vlreward.model.packing import Column
from vlreward.model.processing import MediaTable
from vlreward.tiny.random_checkpoint import BACKBONES
from vlreward.train.losses import bradley_terry, plackett_luce
from vlreward.train.module import PackModel
from vlreward.train.objective import Objective
from vlreward.train.pack_loss import pack_loss

from .conftest import image_part, one_pack, pack_model, pair, user

SHARED = pair(user(image_part(1), "What is it?"), "A cat.", "A dog that runs.", id="shared")
UNSHARED = pair(
    user("Draw a cat."), [{"type": "text", "text": "Here: "}, image_part(2)], [image_part(3, (56, 112))], id="unshared"
)
TEXT = pair(user("What is 2 + 2?"), "4", "It is 5, I think.", id="text")
FOUR = pair(user(image_part(4), "Which?"), "One.", "Two.", "Three, or so.", "Four.", id="four", ranks=(1, 0, 2, 2))
CASES: dict[str, list[Ranking]] = {
    "shared picture": [SHARED],
    "a picture on each side": [UNSHARED],
    "text": [TEXT],
    "all": [SHARED, TEXT, UNSHARED, FOUR],
}


def plain_outputs(model: RewardModel, module: PackModel, ranking: Ranking) -> tuple[list[Tensor], Tensor]:
    """Rewards of a ranking's responses, and the mean loss of writing the best, one conversation at a time."""
    rewards, nll = [], torch.zeros(())
    best = ranking.ranks.index(min(ranking.ranks))
    for i in range(len(ranking.group)):
        table = MediaTable()
        rows = model.conversation(ranking.group, i, table, "here").rows_TC
        media = [table.media[index] for index in rows[rows[:, Column.FEATURE] == 0, Column.MEDIUM]]
        patches = [torch.from_numpy(model.processor.media.patches(medium)) for medium in media]
        hidden_TD = model.backbone.plain_hidden(rows[:, Column.ID], media, patches)
        rewards.append(module.head(hidden_TD[-1:])[0])
        if i == best:
            text = model.processor.render(ranking.group.messages, generate=True)
            prompt = len(model.processor.encode(text, ranking.group.messages, MediaTable(), "here"))
            logits = (
                module.lm_head(hidden_TD)
                if module.lm_head
                else hidden_TD @ model.backbone.model.get_input_embeddings().weight.T
            )
            targets = torch.from_numpy(rows[prompt:, Column.ID])
            written = torch.from_numpy(rows[prompt:, Column.MEDIUM] < 0)  # its text; a picture is not written
            nll = -logits[prompt - 1 : -1].log_softmax(-1).gather(1, targets[:, None])[written].mean()
    return rewards, nll


def plain_loss(model: RewardModel, module: PackModel, rankings: Sequence[Ranking], objective: Objective) -> Tensor:
    total = torch.zeros(())
    for ranking in rankings:
        rewards, nll = plain_outputs(model, module, ranking)
        if objective.loss == "plackett-luce":
            total = (
                total
                + plackett_luce(torch.stack(rewards), torch.tensor(ranking.ranks))
                + objective.language_weight * nll
            )
            continue
        for i, better in enumerate(ranking.ranks):
            for j, worse in enumerate(ranking.ranks):
                if better < worse:
                    loss = bradley_terry(rewards[i], rewards[j], centering=objective.centering)
                    total = total + loss + objective.language_weight * nll
    return total


def gradients(module: PackModel, loss: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module")
def load(checkpoint: Callable[..., Path]) -> Callable[[str, str], RewardModel]:
    models: dict[tuple[str, str], RewardModel] = {}

    def get(backbone: str, dtype: str) -> RewardModel:
        if (backbone, dtype) not in models:
            models[backbone, dtype] = RewardModel.from_pretrained(checkpoint(backbone), dtype=dtype, device="cpu")
        return models[backbone, dtype]

    return get


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_pack_is_two_plain_forwards(load: Callable[[str, str], RewardModel], backbone: str, case: str) -> None:
    model, rankings, objective = load(backbone, "float64"), CASES[case], Objective(centering=0.01)
    module = pack_model(model, objective)
    pack = one_pack(model, rankings, objective)
    assert len(pack["labels"]) == sum(a < b for r in rankings for a in r.ranks for b in r.ranks)
    packed = pack_loss(module(pack), pack, objective)
    plain = plain_loss(model, module, rankings, objective)
    torch.testing.assert_close(packed, plain, rtol=0, atol=1e-10)
    ours, theirs = gradients(module, packed), gradients(module, plain)
    for name, expected in theirs.items():
        # Some layers (norms, rotations) compute in float32 whatever the dtype.
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=1e-6 * float(expected.abs().max()) + 1e-12)
    # What only the pack has are the zeros of the empty picture.
    assert all(not ours[name].any() for name in ours.keys() - theirs.keys())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_float32_is_as_close(load: Callable[[str, str], RewardModel], backbone: str) -> None:
    model, rankings, objective = load(backbone, "float32"), CASES["all"], Objective()
    module = pack_model(model, objective)
    pack = one_pack(model, rankings, objective)
    packed = pack_loss(module(pack), pack, objective)
    torch.testing.assert_close(packed, plain_loss(model, module, rankings, objective), rtol=1e-5, atol=0)


@pytest.mark.parametrize("loss", ["bradley-terry", "plackett-luce"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_language_loss_is_that_of_the_best_response(
    load: Callable[[str, str], RewardModel], loss: str, tied: bool
) -> None:
    model, rankings = load("qwen2_5_vl", "float64"), CASES["all"]
    objective = Objective(loss=loss, language_weight=0.5)  # type: ignore[arg-type]
    weights = model.backbone.model.get_input_embeddings().weight
    lm_head = None if tied else torch.randn(weights.shape, generator=torch.Generator().manual_seed(0)) / 7
    module = pack_model(model, objective, lm_head=lm_head)
    pack = one_pack(model, rankings, objective)
    packed = pack_loss(module(pack), pack, objective)
    plain = plain_loss(model, module, rankings, objective)
    torch.testing.assert_close(packed, plain, rtol=0, atol=1e-10)
    ours, theirs = gradients(module, packed), gradients(module, plain)
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=1e-6 * float(expected.abs().max()) + 1e-12)


def plain_verifier(model: RewardModel, module: PackModel, ranking: Ranking) -> Tensor:
    """Every beginning of a response that not all responses have, once, right where a best response begins so."""
    rewards: dict[bytes, Tensor] = {}
    begins: list[set[bytes]] = []
    table = MediaTable()
    for i in range(len(ranking.group)):
        rows = model.conversation(ranking.group, i, table, "here").rows_TC
        media = [table.media[index] for index in rows[rows[:, Column.FEATURE] == 0, Column.MEDIUM]]
        patches = [torch.from_numpy(model.processor.media.patches(medium)) for medium in media]
        reward_T = module.head(model.backbone.plain_hidden(rows[:, Column.ID], media, patches))
        keys = [rows[: t + 1].tobytes() for t in range(len(rows))]
        rewards |= dict(zip(keys, reward_T, strict=True))
        begins.append(set(keys))
    best = set().union(*(own for own, rank in zip(begins, ranking.ranks, strict=True) if rank == min(ranking.ranks)))
    apart = set().union(*begins) - set.intersection(*begins)
    sides = [
        torch.stack([-F.logsigmoid(sign * rewards[key]) for key in keys]).mean()
        for sign, keys in ((1, apart & best), (-1, apart - best))
    ]
    return torch.stack(sides).mean()


@pytest.mark.parametrize("loss", ["bradley-terry", "plackett-luce"])
@pytest.mark.parametrize("case", CASES)
def test_a_verifier_is_asked_at_every_token_by_which_responses_differ(
    load: Callable[[str, str], RewardModel], case: str, loss: Literal["bradley-terry", "plackett-luce"]
) -> None:
    model, rankings = load("qwen2_5_vl", "float64"), CASES[case]
    objective = Objective(loss=loss, verifier_weight=0.7)
    module = pack_model(model, objective)
    pack = one_pack(model, rankings, objective)
    packed = pack_loss(module(pack), pack, objective)
    plain = plain_loss(model, module, rankings, objective)
    for ranking in rankings:
        pairs = sum(a < b for a in ranking.ranks for b in ranking.ranks) if loss == "bradley-terry" else 1
        plain = plain + pairs * objective.verifier_weight * plain_verifier(model, module, ranking)
    torch.testing.assert_close(packed, plain, rtol=0, atol=1e-10)
    ours, theirs = gradients(module, packed), gradients(module, plain)
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=1e-6 * float(expected.abs().max()) + 1e-12)


def test_language_alone_counts_tokens(load: Callable[[str, str], RewardModel]) -> None:
    model, rankings = load("qwen2_5_vl", "float64"), CASES["all"]
    objective = Objective(loss="language")
    module = pack_model(model, objective)
    pack = one_pack(model, rankings, objective)
    tokens = pack["answer_A"].bincount()
    assert len(pack["labels"]) == tokens.sum()
    expected = sum(int(n) * plain_outputs(model, module, r)[1] for n, r in zip(tokens, rankings, strict=True))
    torch.testing.assert_close(pack_loss(module(pack), pack, objective), expected, rtol=0, atol=1e-10)


def test_hidden_words_are_others_and_what_is_written_stays(load: Callable[[str, str], RewardModel]) -> None:
    model = load("qwen2_5_vl", "float32")
    rankings = [
        pair(user(f"What is {i}?"), f"{i} is more than {i - 1} and less than all others.", "No.") for i in range(9)
    ]
    plain = one_pack(model, rankings, Objective(loss="language"))
    half, again = (one_pack(model, rankings, Objective(loss="language", word_dropout=0.5)) for _ in range(2))
    assert torch.equal(half["targets_A"], plain["targets_A"])
    ids, shown = (pack["trie"].rows_TC[:, Column.ID] for pack in (plain, half))
    assert (again["trie"].rows_TC[:, Column.ID] == shown).all()
    assert (half["trie"].rows_TC[:, 1:] == plain["trie"].rows_TC[:, 1:]).all()
    changed = set((ids != shown).nonzero()[0].tolist())
    answers = plain["answer_A"]
    own = set(plain["parents_A"][1:][answers[1:] == answers[:-1]].tolist())
    assert changed < own  # no prompt is changed
    assert 0.3 * len(own) < len(changed) < 0.6 * len(own)
    assert set(shown[list(changed)].tolist()) <= set(plain["targets_A"].tolist())


@pytest.mark.parametrize("writes", [False, True])
def test_a_pack_of_nothing_runs_everything_and_says_nothing(
    load: Callable[[str, str], RewardModel], writes: bool
) -> None:
    model, objective = load("qwen3_vl", "float32"), Objective(language_weight=0.5 if writes else 0.0)
    module = pack_model(
        model,
        objective,
        lm_head=torch.randn(model.backbone.model.get_input_embeddings().weight.shape) if writes else None,
    )
    pack = one_pack(model, [], objective)
    assert len(pack["labels"]) == 0
    loss = pack_loss(module(pack), pack, objective)
    assert loss.item() == 0
    found = gradients(module, loss)
    assert found.keys() == {name for name, _ in module.named_parameters()}
    assert all(not gradient.any() for gradient in found.values())


def test_equal_responses_make_no_pair(load: Callable[[str, str], RewardModel]) -> None:
    ranking = pair(user("Hi"), "A", "B", "A", ranks=(0, 1, 2))
    pack = one_pack(load("qwen2_5_vl", "float32"), [ranking])
    assert (pack["chosen_P"].tolist(), pack["rejected_P"].tolist()) == ([0, 1], [1, 2])


def test_frozen_parts_have_no_gradients(load: Callable[[str, str], RewardModel]) -> None:
    model = load("qwen3_vl", "float32")
    module = pack_model(model)
    module.freeze(["projector", "head"])
    try:
        pack = one_pack(model, [SHARED])
        found = gradients(module, pack_loss(module(pack), pack, Objective()))
        assert {name.split(".")[2 if name.startswith("backbone") else 0] for name in found} == {
            "merger",
            "deepstack_merger_list",
            "head",
        }
    finally:
        module.freeze(["vision", "projector", "language", "head"])
