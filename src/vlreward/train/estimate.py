"""What a stage would take, known without its weights: steps, tokens, trained numbers, memory and arithmetic.

Steps, tokens and trained numbers are exact. Memory and FLOPs are estimates from the model's shapes; kernels, the
allocator and what a framework keeps besides come on top, commonly 10 to 30 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .adapters import target_names
from .parts import NAMES, part_of
from .recipe import BaseRecipe, BaseStage

if TYPE_CHECKING:
    from vlreward.model.reward_model import RewardModel

    from .run import StageData

_ADAM_STATES = 2
_ACTIVATIONS_OF_LAYER = 10
"""Hidden-sized tensors that a layer keeps for its backward pass, beside those of its MLP."""


@dataclass(frozen=True, kw_only=True)
class PartCount:
    """Numbers in a part of the model."""

    trained: int
    held: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a stage would take."""

    stage: str
    rankings: int
    """Rankings seen, over all epochs."""
    dropped: dict[str, int]
    """Rankings left out, by reason."""
    text_only: float
    """Share of the rankings seen that hold no picture."""
    steps: int
    """Optimizer steps."""
    packs_per_step: int
    """Over all processes."""
    tokens_per_step: float
    """The mean, of packed tokens: what responses share counts once."""
    parts: dict[str, PartCount]
    """Numbers trained and held, adapters included."""
    memory_bytes: float
    """Of one process that holds everything: weights, gradients, AdamW's states, and the activations of one pack."""
    flops: float
    """Of the whole stage, all processes together."""


def estimate(recipe: BaseRecipe, stage: BaseStage, model: RewardModel, data: StageData) -> Estimate:
    """Estimate a stage.

    Args:
        recipe: the recipe.
        stage: one of its stages.
        model: the model; it may be without weights.
        data: the stage's rankings and their order.
    """
    plan = data.plan
    parts = count_parts(stage, model)
    visual = _visual_tokens(data)
    tokens = float(plan.tokens_E.sum())
    return Estimate(
        stage=stage.name,
        rankings=len(plan.tokens_E),
        dropped=data.dropped,
        text_only=float((visual == 0).float().mean()),
        steps=plan.steps,
        packs_per_step=plan.packs,
        tokens_per_step=tokens / plan.steps,
        parts=parts,
        memory_bytes=_memory(recipe, stage, model, data, parts),
        flops=_flops(recipe, stage, model, data, parts, float(visual.sum())),
    )


def _visual_tokens(data: StageData) -> torch.Tensor:
    """Visual tokens of each ranking in the order in which they are seen."""
    visual = torch.zeros(len(data.plan.tokens_E), dtype=torch.float64)
    for s, index in enumerate(data.indices):
        by_number = dict(zip(index.numbers_N.tolist(), index.pictures_N.tolist(), strict=True))
        mine = torch.from_numpy(data.plan.sources_E == s)
        numbers = data.plan.numbers_E[mine.numpy()].tolist()
        visual[mine] = torch.tensor([by_number[number] for number in numbers], dtype=torch.float64)
    return visual


def count_parts(stage: BaseStage, model: RewardModel) -> dict[str, PartCount]:
    """The numbers of each part, as `build_module` would have them."""
    backbone = model.backbone.model
    held, trained = dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0)
    for name, parameter in (
        *backbone.named_parameters(),
        *((f"head.{n}", p) for n, p in model.head.named_parameters()),
    ):
        part = part_of(name)
        held[part] += parameter.numel()
        trained[part] += parameter.numel() if getattr(stage.parts, part) == "train" else 0
    modules = dict(backbone.named_modules())
    for name in target_names(backbone, stage.parts):
        adapter = stage.lora.rank * (modules[name].in_features + modules[name].out_features)
        held[part_of(f"{name}.")] += adapter
        trained[part_of(f"{name}.")] += adapter
    if stage.objective.writes and not _tied(model):
        weights = backbone.get_input_embeddings().weight.numel()
        held["language"] += weights
        trained["language"] += weights if stage.parts.language == "train" else 0
    return {name: PartCount(trained=trained[name], held=held[name]) for name in NAMES}


def _tied(model: RewardModel) -> bool:
    config = model.backbone.config
    return bool(config.tie_word_embeddings or getattr(config.text_config, "tie_word_embeddings", False))


def _memory(
    recipe: BaseRecipe, stage: BaseStage, model: RewardModel, data: StageData, parts: dict[str, PartCount]
) -> float:
    size = getattr(torch, recipe.dtype).itemsize
    quantized = set(stage.parts.quantized())
    weights = sum(count.held * (0.5 if name in quantized else size) for name, count in parts.items())
    adapted = set(stage.parts.adapted())
    updated = sum(count.trained * (4 if name in adapted else size) for name, count in parts.items())
    return weights + (1 + _ADAM_STATES) * updated + _activations(recipe, stage, model, data)


def _activations(recipe: BaseRecipe, stage: BaseStage, model: RewardModel, data: StageData) -> float:
    """Of the largest pack, in the language model."""
    text = model.backbone.config.text_config
    tokens = float(min(max(stage.pack_tokens, int(data.plan.tokens_E.max())), int(data.plan.tokens_E.sum())))
    size = 2 if recipe.bf16 else getattr(torch, recipe.dtype).itemsize
    layer = tokens * (_ACTIVATIONS_OF_LAYER * text.hidden_size + 3 * text.intermediate_size) * size
    # Between layers the residual stream is kept; with checkpointing it is all that is kept of them.
    between = text.num_hidden_layers * tokens * text.hidden_size * size
    again = _runs_layers_twice(recipe)
    written = tokens * text.vocab_size * 4 * 2 if stage.objective.writes and not stage.objective.rewards else 0.0
    return float(between + layer * (1 if again else text.num_hidden_layers) + written)


def _runs_layers_twice(recipe: BaseRecipe) -> bool:
    """By either name that transformers knows it by."""
    return any(recipe.trainer.get(f"{name}_checkpointing") for name in ("activation", "gradient"))


def _passes(stage: BaseStage) -> float:
    """FLOPs of the language model for each weight and token: gradients pass it where it, or what feeds it, learns."""
    if stage.parts.language == "train":
        return 6.0
    feeds = (stage.parts.language, stage.parts.projector, stage.parts.vision)
    return 2.0 if all(how == "frozen" for how in feeds) else 4.0


def _flops(
    recipe: BaseRecipe,
    stage: BaseStage,
    model: RewardModel,
    data: StageData,
    parts: dict[str, PartCount],
    visual_tokens: float,
) -> float:
    """Two for each weight and token forward; backward as many for what gradients pass, and for what they change."""
    config = model.backbone.config
    text, tokens = config.text_config, data.plan.tokens_E.astype(float)
    embeddings = text.vocab_size * text.hidden_size
    language = parts["language"].held - embeddings
    passes = _passes(stage) + (2.0 if _runs_layers_twice(recipe) else 0.0)
    attention = 2 * text.num_hidden_layers * text.hidden_size * float((tokens**2).sum()) * passes / 2
    patches = visual_tokens * int(config.vision_config.spatial_merge_size) ** 2
    vision = 2.0 * parts["vision"].held * patches
    if stage.parts.vision != "frozen":
        vision *= 3
    elif recipe.features.max_bytes:
        vision /= stage.epochs
    projector = 6.0 * parts["projector"].held * visual_tokens
    return float(passes * language * float(tokens.sum()) + attention + vision + projector)


def shown(number: float) -> str:
    """A large number in three digits and a letter."""
    for limit, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {letter}"
    return f"{number:.3g} "
