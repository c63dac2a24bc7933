"""A recipe from beginning to end: its stages one after the other, each from the weights of the one before."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vlreward.data.limits import MediaLimits
from vlreward.errors import ConfigError, UnsupportedError
from vlreward.model.calibration import CALIBRATION
from vlreward.model.checkpoints import CheckpointFolder, identify, read_head
from vlreward.model.checkpoints.token_logit import lm_head as find_lm_head
from vlreward.model.head import RewardHead
from vlreward.model.loading import LoadOptions, load
from vlreward.model.reward_model import RewardModel

from .adapters import add_adapters, quantization, write_adapters
from .config import plain
from .estimate import Estimate, estimate
from .features import FeatureCache, tower_fingerprint
from .heads import new_head
from .index import MISSING, Index, build_index
from .module import PackModel
from .packs import PackDataset
from .parts import NAMES, part_of
from .plan import Plan, make_plan
from .recipe import BaseRecipe, BaseStage, check_files, computes_bfloat16, read_recipe_as, write_recipe
from .saving import MODEL, ModelWriter, last_checkpoint, written
from .sources import Progress, RankingSource
from .trainer import Evaluate, Log, PackTrainer, Run, log_to

if TYPE_CHECKING:
    from transformers import TrainingArguments

logger = logging.getLogger("vlreward")

RECIPE = "recipe.yaml"
FIGURES = "training.json"
ADAPTER = "adapter"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a stage came to."""

    stage: str
    """Its name."""
    folder: Path
    """Its model."""
    steps: int
    """Optimizer steps in all."""
    figures: dict[str, float]
    """The last that was logged, an evaluation behind the last step included."""
    dropped: dict[str, int]
    """Rankings that were left out, by reason; one whose picture went missing counts each time it came up, since the run
    was last started."""


@dataclass(frozen=True, eq=False)
class StageData:
    """A stage's rankings, and the order in which they are seen."""

    sources: list[RankingSource]
    indices: list[Index]
    plan: Plan

    @property
    def dropped(self) -> dict[str, int]:
        """Rankings left out, by reason, over all sources."""
        return dict(sum((index.dropped for index in self.indices), Counter()))


@dataclass(frozen=True)
class Calls:
    """Whom a run tells and asks; see `train`."""

    evaluate: Evaluate | None
    progress: Progress
    log: Log | None
    callbacks: Sequence[Any]
    trainer: type[PackTrainer]


def _silent(what: str, count: int) -> None:
    del what, count


def train(
    recipe: BaseRecipe,
    *,
    evaluate: Evaluate | None = None,
    progress: Progress = _silent,
    log: Log | None = None,
    callbacks: Sequence[Any] = (),
    trainer: type[PackTrainer] = PackTrainer,
) -> list[Outcome]:
    """Train what a recipe says. Run again, it goes on where it was stopped.

    Under ``torchrun`` every process calls this.

    Args:
        recipe: what is trained.
        evaluate: what evaluation is, where the recipe's ``evaluation`` or ``trainer.eval_strategy`` asks for it.
        progress: told of rankings that are read and measured.
        log: called with what is logged, in place of Trainer's own printing and progress bar.
        callbacks: more of transformers' Trainer.
        trainer: knows the loss of the recipe's objectives.

    Returns:
        What each stage came to; the last one's folder holds the finished model.

    Raises:
        VLRewardError: what is wrong, before a model is loaded wherever that can be known.
    """
    check_files(recipe)
    if evaluate is None and any(map(recipe.evaluated_at, recipe.stages)):
        raise ConfigError("evaluation: nothing is given that evaluates; use vlreward train, or pass evaluate to train")
    output = Path(recipe.output)
    outcomes: list[Outcome] = []
    start: str | Path = recipe.model
    for number, stage in enumerate(recipe.stages):
        place = output / f"stage-{number + 1}-{stage.name}"
        done = _done(recipe, number, place)
        if done is None:
            done = _train_stage(recipe, number, start, place, Calls(evaluate, progress, log, callbacks, trainer))
        outcomes.append(done)
        start = done.folder
    return outcomes


def _done(recipe: BaseRecipe, number: int, place: Path) -> Outcome | None:
    """What a stage came to that is finished.

    Raises:
        ConfigError: it is of another recipe.
    """
    figures = place / MODEL / FIGURES
    if not figures.is_file():
        return None
    now, then = (_decisive(each, number) for each in (recipe, read_recipe_as(type(recipe), place / MODEL / RECIPE)))
    changed = [name for name in now if now[name] != then[name]]
    if changed:
        raise ConfigError(
            f"{place / MODEL}: finished with another recipe ({', '.join(changed)} changed); remove {place}, or name "
            "another output"
        )
    said = json.loads(figures.read_text(encoding="utf-8"))
    return Outcome(folder=place / MODEL, **said)


def _train_stage(
    recipe: BaseRecipe,
    number: int,
    start: str | Path,
    place: Path,
    calls: Calls,
) -> Outcome:
    stage = recipe.stages[number]
    args = _first_arguments(recipe, place)
    model, source = load_start(recipe, stage, start, _load_device(args), first=number == 0)
    # One process goes through the files, the others then find what it kept.
    with args.main_process_first(desc="reading the data"):
        data = prepare_data(recipe, stage, model, args.world_size, calls.progress)
    args = arguments(recipe, stage, place, data.plan, args.world_size)
    module = build_module(recipe, stage, model, source)
    figures: dict[str, Any] = {}
    writer = ModelWriter(
        model=model,
        source=source,
        form=recipe.form,
        has_head=stage.objective.rewards,
        beside=lambda folder: _write_beside(recipe, folder, figures),
    )
    fingerprint = run_fingerprint(recipe, number, start, data)
    dataset = PackDataset(
        data.plan, data.sources, model, stage.objective, skip_missing=stage.on_missing == "skip", cache=module.cache
    )
    run = Run(fingerprint=fingerprint, epochs=stage.epochs, writer=writer, evaluate=calls.evaluate)
    trainer = calls.trainer(module, args, dataset, run, callbacks=list(calls.callbacks))
    if args.fsdp and not trainer.is_sharding:
        raise UnsupportedError("trainer: fsdp is asked for, but accelerate does not shard on this kind of device")
    if calls.log is not None:
        log_to(trainer, calls.log)
    found = last_checkpoint(place, fingerprint)
    trainer.train(resume_from_checkpoint=None if found is None else str(found))
    figures.update(
        stage=stage.name,
        steps=trainer.state.global_step,
        figures=_last_figures(trainer.state.log_history),
        dropped=dict(Counter(data.dropped) + Counter({MISSING: trainer.skipped()})),
    )
    state = trainer.finished_state()
    if args.should_save:
        with written(place / MODEL, place):
            if module.adapters is not None:
                write_adapters(module.adapters, state or module.state_dict(), place / ADAPTER, str(start))
            for note in writer.write(module, place / MODEL, state=state, dtype=_save_dtype(recipe, number)):
                logger.warning("%s: %s", place / MODEL, note)
    if trainer.hub is not None:
        trainer.hub.push_finished(place / MODEL, stage.name)
    trainer.accelerator.wait_for_everyone()
    return Outcome(folder=place / MODEL, **figures)


def _save_dtype(recipe: BaseRecipe, number: int) -> str:
    """Only the finished model is narrowed: a stage between goes on with what it was trained in."""
    return recipe.save_dtype if number == len(recipe.stages) - 1 else "same"


def _write_beside(recipe: BaseRecipe, folder: Path, figures: dict[str, Any]) -> None:
    write_recipe(recipe, folder / RECIPE)
    for name in (CALIBRATION, FIGURES):  # of the weights that training started from
        (folder / name).unlink(missing_ok=True)
    if figures:
        (folder / FIGURES).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _last_figures(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """The last of the training itself, and what an evaluation behind the last step found."""
    last: dict[str, float] = next((entry for entry in reversed(history) if "loss" in entry), {})
    seen = {
        name: value
        for entry in history
        if entry.get("step") == history[-1].get("step")
        for name, value in entry.items()
        if name.startswith("eval_")
    }
    return {name: value for name, value in last.items() if name != "step"} | seen


def plan_stages(recipe: BaseRecipe, *, processes: int = 1, progress: Progress = _silent) -> list[Estimate]:
    """What each stage of a recipe would take. The data is read and measured; no weights are loaded.

    Raises:
        VLRewardError: what is wrong with the recipe, its files or its data.
    """
    check_files(recipe)
    estimates = []
    for stage in recipe.stages:
        model, _ = load_start(recipe, stage, recipe.model, torch.device("cpu"), first=True, weights=False)
        estimates.append(estimate(recipe, stage, model, prepare_data(recipe, stage, model, processes, progress)))
    return estimates


# What a run is made of.


def load_start(
    recipe: BaseRecipe, stage: BaseStage, start: str | Path, device: torch.device, *, first: bool, weights: bool = True
) -> tuple[RewardModel, CheckpointFolder]:
    """The model that a stage starts from, with the head that the recipe asks for, and where it is on disk."""
    revision = recipe.revision if first else None
    source = CheckpointFolder.open(start, revision, weights=weights)
    dtype = getattr(torch, recipe.dtype)

    def head(folder: CheckpointFolder) -> RewardHead:
        if not weights:
            return new_head(recipe.head, folder.hidden_size, recipe.seed)
        return start_head(recipe, folder, first=first)

    linear = _linear_names(source) if stage.parts.quantized() else []
    options = LoadOptions(
        dtype=dtype,
        device=device,
        min_pixels=recipe.min_pixels,
        max_pixels=recipe.max_pixels,
        revision=revision,
        local_files_only=False,
        device_map=None,
        question=None,
        media_limits=MediaLimits(allow_urls=recipe.allow_urls),
        pack_tokens=stage.pack_tokens,
        head=head,
        quantization=quantization(stage.parts, dtype, linear) if weights else None,
        weights=weights,
    )
    model = load(RewardModel, start, options)
    if not model.backbone.spec.packable:
        raise ConfigError(
            f"{source.name}: a {model.backbone.spec.model_type} cannot be packed, and so not trained here"
        )
    if weights:
        model.head.to(model.backbone.dtype)
    return model, source


def start_head(recipe: BaseRecipe, folder: CheckpointFolder, *, first: bool) -> RewardHead:
    """The head to start from: later stages go on with the one of the stage before, if it had one."""
    start = recipe.head.start if first else "auto"
    if start == "checkpoint" or (start == "auto" and _has_head(folder)):
        return read_head(folder)
    return new_head(recipe.head, folder.hidden_size, recipe.seed)


def _has_head(folder: CheckpointFolder) -> bool:
    from vlreward.errors import CheckpointError
    from vlreward.model.checkpoints import FORMS

    if not any(form.matches(folder) for form in FORMS):
        return False
    try:
        identify(folder)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; or say head.start: new") from error
    return True


def _linear_names(folder: CheckpointFolder) -> list[str]:
    """Names in memory of the tensors that may be linear layers' weights, without ``.weight``."""
    from vlreward.model.checkpoints.names import memory_name

    names = (memory_name(name) for name, info in folder.tensors.items() if len(info.shape) == 2)
    return [name.removesuffix(".weight") for name in names if name is not None]


def prepare_data(
    recipe: BaseRecipe, stage: BaseStage, model: RewardModel, processes: int, progress: Progress
) -> StageData:
    """Read, measure and plan a stage's rankings."""
    cache = Path(recipe.output) / "data"
    sources = [source.open(cache, progress) for source in stage.data]
    indices = [
        build_index(
            source,
            model,
            max_length=stage.max_length,
            skip_missing=stage.on_missing == "skip",
            rewards=stage.objective.compares,
            cache=cache,
            progress=progress,
        )
        for source in sources
    ]
    plan = make_plan(
        indices,
        [source.weight for source in stage.data],
        epochs=stage.epochs,
        batch=stage.batch,
        budget=stage.pack_tokens,
        processes=processes,
        seed=recipe.seed,
        max_steps=stage.max_steps,
    )
    return StageData(sources, indices, plan)


def build_module(recipe: BaseRecipe, stage: BaseStage, model: RewardModel, source: CheckpointFolder) -> PackModel:
    """The model as it is trained: LM head, adapters, frozen parts and cache in place."""
    adapters = add_adapters(model.backbone, stage.parts, stage.lora, recipe.seed)
    module = PackModel(model, stage.objective, lm_head=_lm_head(source) if stage.objective.writes else None)
    module.adapters = adapters
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point():
            how = getattr(stage.parts, part_of(name))
            parameter.requires_grad_(how == "train" or ".lora_" in name)
    if stage.parts.vision == "frozen" and recipe.features.max_bytes > 0:
        module.cache = _cache(recipe, module)
    return module


def _lm_head(source: CheckpointFolder) -> torch.Tensor | None:
    """The LM head's own tensor; None where it is the embeddings."""
    info = find_lm_head(source)
    return None if info.name.endswith("embed_tokens.weight") else source.read(info.name)


def _cache(recipe: BaseRecipe, module: PackModel) -> FeatureCache:
    tower = ((name, p) for name, p in module.named_parameters() if part_of(name) == "vision")
    settings = recipe.features
    arithmetic = "bfloat16" if recipe.bf16 else recipe.dtype
    dtype = arithmetic if settings.dtype == "auto" else settings.dtype
    folder = Path(settings.folder) if settings.folder else Path(recipe.output) / "features"
    name = tower_fingerprint(tower, f"{dtype} {recipe.dtype} {arithmetic}")
    return FeatureCache(folder / name, max_bytes=settings.max_bytes, dtype=getattr(torch, dtype))


def run_fingerprint(recipe: BaseRecipe, number: int, start: str | Path, data: StageData) -> str:
    """Another text for whatever would make a run go another way; how it is spread over processes does not."""
    values = _decisive(recipe, number)
    values["stages"] = [{name: values.pop(name) for name in plain(recipe.stages[number])}]
    digest = hashlib.blake2b(json.dumps([number, str(start), values], sort_keys=True).encode(), digest_size=12)
    for source in data.sources:
        digest.update(source.fingerprint.encode())
    digest.update(data.plan.sources_E.tobytes() + data.plan.numbers_E.tobytes())
    return digest.hexdigest()


def _decisive(recipe: BaseRecipe, number: int) -> dict[str, Any]:
    """What a recipe says of a stage that would make it go another way: the stage's own keys, and those of all."""
    values: dict[str, Any] = plain(recipe) | {"trainer": {}, "output": "", "allow_urls": False}
    del values["features"]["folder"], values["features"]["max_bytes"], values["stages"]
    values.pop("evaluation", None)  # only looks
    return values | dict(plain(recipe.stages[number]))


def _first_arguments(recipe: BaseRecipe, place: Path) -> TrainingArguments:
    """Trainer's arguments without what the data decides: they start the processes' talking to one another.

    Raises:
        ConfigError: they ask for what is not there, which Trainer would say when the weights are loaded.
    """
    from transformers.integrations import get_available_reporting_integrations

    args = _make_arguments(recipe, output_dir=str(place))
    if args.bf16 and not computes_bfloat16():
        logger.warning("trainer: bf16: this CPU has no bfloat16 arithmetic, and float32 is faster; say bf16: auto")
    trackers = {*get_available_reporting_integrations(), "flyte"}  # which transformers does not look for
    for name in args.report_to:
        if name not in trackers:
            raise ConfigError(f"trainer: report_to: no {name!r} is installed; there are {', '.join(sorted(trackers))}")
    if args.fsdp and args.world_size == 1:
        raise ConfigError(
            "trainer: fsdp shards a model over processes, and this is the only one: start several (torchrun "
            "--nproc-per-node N -m vlreward.cli train RECIPE), or set trainer.fsdp and trainer.fsdp_config to null"
        )
    return args


def arguments(recipe: BaseRecipe, stage: BaseStage, place: Path, plan: Plan, processes: int) -> TrainingArguments:
    """transformers' arguments for a stage."""
    optimizer = stage.optimizer
    return _make_arguments(
        recipe,
        **recipe.evaluated_at(stage),
        output_dir=str(place),
        max_steps=plan.steps,
        gradient_accumulation_steps=plan.packs // processes,
        learning_rate=optimizer.learning_rate,
        lr_scheduler_type=optimizer.schedule,
        warmup_steps=math.ceil(optimizer.warmup * plan.steps),
        weight_decay=optimizer.weight_decay,
        adam_beta1=optimizer.adam_beta1,
        adam_beta2=optimizer.adam_beta2,
        adam_epsilon=optimizer.adam_epsilon,
        max_grad_norm=optimizer.max_grad_norm,
    )


def _make_arguments(recipe: BaseRecipe, **values: Any) -> TrainingArguments:
    from transformers import TrainingArguments

    defaults: dict[str, Any] = {
        "report_to": "none",
        "logging_steps": 10,
        "ddp_find_unused_parameters": False,
        "activation_checkpointing_kwargs": {"use_reentrant": False},
        "dataloader_pin_memory": torch.cuda.is_available(),
        # Said, or transformers refuses bfloat16 where there is nothing but a CPU.
        "use_cpu": not torch.accelerator.is_available(),
        # Otherwise a stage's folder would name the repository.
        "hub_model_id": Path(recipe.output).absolute().name if recipe.trainer.get("push_to_hub") else None,
    }
    fixed: dict[str, Any] = {
        "seed": recipe.seed,
        "bf16": recipe.bf16,
        "per_device_train_batch_size": 1,
        "num_train_epochs": 1,
        "remove_unused_columns": False,
        "average_tokens_across_devices": True,
        "logging_nan_inf_filter": False,
    }
    try:
        return TrainingArguments(**(defaults | recipe.trainer | fixed | values))
    except (ValueError, TypeError, ImportError, OSError) as error:  # of deepspeed: it is not installed, no such file
        raise ConfigError(f"trainer: {' '.join(str(error).split())[:300]}") from error


def _load_device(args: TrainingArguments) -> torch.device:
    """Where weights are loaded to: where they are trained, unless they are sharded from there."""
    sharded = bool(args.fsdp) or bool(args.deepspeed)
    return torch.device("cpu") if sharded else args.device


def trained_parts(module: PackModel) -> dict[str, tuple[int, int]]:
    """For each part, how many of its numbers are trained, and how many there are."""
    counts = {name: [0, 0] for name in NAMES}
    for name, parameter in module.named_parameters():
        count = counts[part_of(name)]
        count[0] += parameter.numel() if parameter.requires_grad else 0
        count[1] += parameter.numel()
    return {name: (trained, held) for name, (trained, held) in counts.items()}
