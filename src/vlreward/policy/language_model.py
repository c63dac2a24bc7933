"""A policy in training as transformers has it, so that it can write answers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vlreward.model.backbone import quiet_transformers

if TYPE_CHECKING:
    from vlreward.model.reward_model import RewardModel


def language_model(model: RewardModel, lm_head: Tensor | None, folder: Path) -> Any:
    """transformers' model with its LM head, around the weights of a model that may be in training.

    Args:
        model: whose backbone it is; nothing is copied.
        lm_head: ``(V, D)``; None where it is tied to the embeddings.
        folder: of the checkpoint, for the tokens that end an answer.
    """
    import transformers

    backbone = model.backbone
    config = copy.deepcopy(backbone.config)
    # The names of our own attention are known to the loaded layers alone.
    for part in (config, config.text_config, config.vision_config):
        part._attn_implementation = "sdpa"
    with quiet_transformers(), torch.device("meta"):
        shell = getattr(transformers, backbone.spec.lm_architecture)(config)
    weight = backbone.model.get_input_embeddings().weight if lm_head is None else lm_head
    shell.model = backbone.model
    shell.lm_head = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    shell.lm_head.weight = weight
    if (folder / "generation_config.json").is_file():
        shell.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    return shell.eval()
