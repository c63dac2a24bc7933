"""Log-probabilities of packed answers against code that knows nothing of packs: transformers' own processor and model
class, one forward pass for the chosen conversation and one for the rejected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from tests.train.conftest import image_part, one_pack, pack_model, pair, user
from tests.train.test_two_forwards import as_dicts
from vlreward import Ranking, RewardModel
from vlreward.model.backbone import quiet_transformers
from vlreward.model.checkpoints import CheckpointFolder
from vlreward.policy.losses import VARIANTS, PairLogProbs, mpo
from vlreward.policy.objective import PolicyObjective
from vlreward.policy.reference import log_probs_of
from vlreward.tiny.random_checkpoint import BACKBONES
from vlreward.train.run import _lm_head

RANKINGS: list[Ranking] = [
    pair(user("What is 2 + 2?"), "4", "It is 5, I think.", id="text"),
    pair(user(image_part(1), "What is it?"), "A cat.", "A dog that runs.", id="picture"),
    pair(user(image_part(1), "How many?"), "There are three.", "There are two.", id="shared words"),
    pair(user(image_part(1), "or", image_part(2, (56, 112)), "?"), "The first.", "", id="empty"),
]


class TwoForwards:
    """A checkpoint in transformers' own hands."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        with quiet_transformers():
            self.model = transformers.AutoModelForImageTextToText.from_pretrained(
                folder, dtype=dtype, attn_implementation="sdpa"
            )
        self.processor = transformers.AutoProcessor.from_pretrained(folder)
        pil = transformers.models.qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil
        self.processor.image_processor = pil.from_pretrained(folder)

    def log_prob(self, prompt: Sequence[Any], conversation: Sequence[Any]) -> tuple[Tensor, int]:
        """Of the answer, and its tokens."""
        whole, before = self._inputs(conversation, generate=False), self._inputs(prompt, generate=True)
        start = before["input_ids"].shape[1]
        assert torch.equal(whole["input_ids"][:, :start], before["input_ids"])
        log_probs_TV = self.model(**whole).logits[0].log_softmax(dim=-1)
        answer = whole["input_ids"][0, start:]
        return log_probs_TV[start - 1 : -1].gather(1, answer[:, None]).sum(), len(answer)

    def _inputs(self, messages: Sequence[Any], *, generate: bool) -> Any:
        dicts = as_dicts(messages)
        text = self.processor.apply_chat_template(dicts, tokenize=False, add_generation_prompt=generate)
        pictures = [part["image"] for message in dicts for part in message["content"] if part["type"] == "image"]
        return self.processor(text=[text], images=pictures or None, return_tensors="pt")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_in_float64_they_are_equal(checkpoint: Callable[..., Path], backbone: str) -> None:
    folder = checkpoint(backbone)
    model = RewardModel.from_pretrained(folder, dtype="float64", device="cpu")
    objective = PolicyObjective()
    lm_head = _lm_head(CheckpointFolder.open(folder))
    module = pack_model(model, objective, lm_head=lm_head)
    pack = one_pack(model, RANKINGS, objective)
    module.zero_grad()
    log_prob_S, length_S = log_probs_of(module(pack)["nll_A"], pack)

    theirs = TwoForwards(folder, torch.float64)
    found = [
        theirs.log_prob(ranking.group.messages, conversation)
        for ranking in RANKINGS
        for conversation in ranking.group.conversations()
    ]
    expected_S = torch.stack([log_prob for log_prob, _ in found])
    assert length_S.tolist() == [length for _, length in found]
    torch.testing.assert_close(log_prob_S, expected_S, rtol=0, atol=1e-9)

    # And so are the gradients of a loss of them.
    gradients = []
    for values_S, parameters in ((log_prob_S, module), (expected_S, theirs.model)):
        chosen_P, rejected_P = values_S[pack["chosen_P"]], values_S[pack["rejected_P"]]
        log_probs = PairLogProbs(chosen_P, rejected_P, chosen_P.detach() + 2, rejected_P.detach() - 1)
        mpo(log_probs, length_S[pack["chosen_P"]], VARIANTS["internvl"], shift=0.3).sum().backward()
        gradients.append(
            {
                name.removeprefix("backbone.").removeprefix("model."): p.grad
                for name, p in parameters.named_parameters()
                if p.grad is not None and not name.startswith("head.")
            }
        )
    ours, others = gradients
    assert ours.keys() == others.keys()
    for name, gradient in others.items():
        atol = 1e-6 * float(gradient.abs().max()) + 1e-12
        torch.testing.assert_close(
            ours[name], gradient, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_prompt_and_picture_are_packed_once(checkpoint: Callable[..., Path]) -> None:
    model = RewardModel.from_pretrained(checkpoint(), dtype="float32", device="cpu")
    objective = PolicyObjective()
    pack = one_pack(model, RANKINGS[1:3], objective)
    assert len(pack["media"].media) == 1
    assert len(pack["trie"]) < int(pack["length_S"].sum()) / 2
    assert (pack["chosen_P"].tolist(), pack["rejected_P"].tolist(), len(pack["labels"])) == ([0, 2], [1, 3], 2)
    # The LM head is asked for answer tokens alone.
    assert len(pack["parents_A"]) == len(pack["targets_A"]) < len(pack["trie"])
    written = one_pack(model, RANKINGS[1:3], PolicyObjective(loss="sft"))
    assert len(written["ranking_S"]) == 2
    assert len(written["labels"]) == len(written["targets_A"])
