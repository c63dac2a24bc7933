"""Recipes: what is trained, on what, and how; one YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from vlreward.errors import ConfigError, describe_unknown, require

from .config import build, not_negative, plain, positive
from .evaluation import Evaluation
from .heads import Head
from .objective import BaseObjective, Objective
from .parts import Lora, Parts
from .sources import DataSource


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW and its schedule, in the words of transformers' ``TrainingArguments``, to which they go."""

    learning_rate: float
    """The peak. Published (arXiv 2505.07263): 1e-5 in the first stage, 1e-6 in the second; BaseReward: 3e-6."""
    schedule: str = "cosine"
    """``lr_scheduler_type``; a cosine to 0, the habit of the field (not published)."""
    warmup: float = 0.03
    """Share of the steps over which the rate rises from 0 (not published; Qwen2-VL's own fine-tuning scripts)."""
    weight_decay: float = 0.0
    """As in transformers."""
    adam_beta1: float = 0.9
    """As in transformers."""
    adam_beta2: float = 0.999
    """As in transformers."""
    adam_epsilon: float = 1e-8
    """As in transformers."""
    max_grad_norm: float = 1.0
    """As in transformers; 0: no clipping."""

    def __post_init__(self) -> None:
        positive("learning_rate", self.learning_rate)
        not_negative("weight_decay", self.weight_decay)
        not_negative("max_grad_norm", self.max_grad_norm)
        positive("adam_epsilon", self.adam_epsilon)
        for name in ("warmup", "adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be in [0, 1), got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Features:
    """The disk cache of what a frozen vision tower says of each picture, so that later epochs need not run it."""

    max_bytes: int = 50_000_000_000
    """What it may take; 0: no cache. A picture of 1,024 visual tokens takes 10 MB for a 7B in bfloat16."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """What is kept, and used from the first epoch on, so that all epochs see the same; ``auto``: bfloat16 where the
    arithmetic is (``trainer.bf16``), else the weights' dtype."""
    folder: str | None = None
    """Where; None: ``features`` in the output folder."""

    def __post_init__(self) -> None:
        not_negative("max_bytes", self.max_bytes)


@dataclass(frozen=True, kw_only=True)
class BaseStage:
    """One run over some data with one objective; the next stage goes on with its weights."""

    name: str
    """Names its folder in the output."""
    data: tuple[DataSource, ...]
    """What it is trained on."""
    optimizer: Optimizer
    """Learning rate and the rest."""
    epochs: int = 1
    """How often the data is gone through; 2 in both published stages."""
    batch: int = 128
    """Rankings of one optimizer step, over all processes (BaseReward's 128; Skywork's is not published)."""
    max_steps: int | None = None
    """Stop after so many steps; the schedule ends there too."""
    max_length: int = 8192
    """The longest conversation in tokens, visual ones included; a ranking with a longer one is dropped and counted."""
    pack_tokens: int = 16_384
    """Token budget of a pack, the unit of one forward pass. A ranking that is larger alone has a pack of its own."""
    objective: BaseObjective
    """The loss."""
    parts: Parts = field(default_factory=Parts)
    """What is trained."""
    lora: Lora = field(default_factory=Lora)
    """The adapters of parts that have them."""
    on_missing: Literal["stop", "skip"] = "stop"
    """What a picture that cannot be read does in the middle of an epoch; skipped rankings are named and counted."""

    def __post_init__(self) -> None:
        if not self.name or not self.name.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"name must be letters, digits, - and _, got {self.name!r}")
        if not self.data:
            raise ConfigError("data is empty; a stage needs a source")
        names = [source.label for source in self.data]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"data: two sources are called {name!r}; give one of them another 'name'")
        for key in ("epochs", "batch", "max_steps", "max_length", "pack_tokens"):
            positive(key, getattr(self, key))
        if not self.objective.rewards and self.parts.head != "frozen":
            raise ConfigError("the loss is language, which has no reward head; set parts.head to frozen")


@dataclass(frozen=True, kw_only=True)
class Stage(BaseStage):
    """A stage in which a reward model is trained."""

    objective: Objective = field(default_factory=Objective)
    """The loss."""


@dataclass(frozen=True, kw_only=True)
class BaseRecipe:
    """A training run. Paths start at the folder that it is run in."""

    model: str
    """Folder or hub id of the model to start from."""
    output: str
    """Folder for everything that is written."""
    stages: tuple[BaseStage, ...]
    """One after the other."""
    revision: str | None = None
    """Commit of a hub id. Pin it: a branch moves."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Of the weights that are trained. With ``trainer.bf16`` they stay float32 and the arithmetic is bfloat16."""
    save_dtype: Literal["float32", "bfloat16", "same"] = "same"
    """Of the finished model's weights; checkpoints to go on from keep ``dtype``."""
    min_pixels: int | None = None
    """Least pixels of a resized picture, saved with the model; None: what the checkpoint says."""
    max_pixels: int | None = None
    """Most pixels of a resized picture, saved with the model; None: what the checkpoint says."""
    form: Literal["value-head", "sequence-classification", "reward-head", "auto"] = "auto"
    """How the head is written; ``auto``: value-head, which the published model has, if the head is linear, else
    reward-head."""
    head: Head = field(default_factory=Head)
    """The head to start from."""
    features: Features = field(default_factory=Features)
    """The cache of a frozen vision tower's output."""
    seed: int = 0
    """Of the new head, the order of the data, adapters and dropout."""
    allow_urls: bool = False
    """Whether pictures may be fetched from URLs."""
    trainer: dict[str, Any] = field(default_factory=dict)
    """Any other of transformers' ``TrainingArguments``: bf16, activation_checkpointing, fsdp, deepspeed, …

    Here ``bf16`` may be ``auto`` too: where the machine computes in bfloat16, which is slow on a CPU without."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("stages is empty; a recipe needs one")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ConfigError(f"stages: two have one name: {', '.join(names)}")
        positive("min_pixels", self.min_pixels)
        positive("max_pixels", self.max_pixels)
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise ConfigError(f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}")
        if self.form in ("value-head", "sequence-classification") and self.head.kind == "mlp":
            raise ConfigError(f"form {self.form} holds a linear head, head.kind is mlp; take reward-head or auto")
        not_negative("seed", self.seed)
        _check_trainer(self.trainer)
        for stage in self.stages:
            _check_schedule(stage, self.trainer.get("lr_scheduler_kwargs"))

    @property
    def bf16(self) -> bool:
        """Whether the arithmetic is bfloat16, on this machine."""
        asked = self.trainer.get("bf16", False)
        return computes_bfloat16() if asked == "auto" else bool(asked)

    def evaluated_at(self, stage: BaseStage) -> dict[str, Any]:
        """When a stage's model is evaluated, in the words of transformers' ``TrainingArguments``.

        Empty where nothing says so but, perhaps, ``trainer``.
        """
        del stage
        return {}


@dataclass(frozen=True, kw_only=True)
class Recipe(BaseRecipe):
    """A training run of a reward model."""

    stages: tuple[Stage, ...]
    """One after the other."""
    evaluation: Evaluation | None = None
    """What is measured of the model while it trains; None: nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.evaluation is None:
            return
        for name in self.trainer:
            if name.startswith("eval_"):
                raise ConfigError(f"trainer: {name} is set by evaluation.every")
            if name in ("fsdp", "deepspeed") and self.trainer[name]:
                raise ConfigError(
                    f"evaluation: a model that trainer.{name} shards cannot be asked while it trains; drop one of them,"
                    " and evaluate the checkpoints"
                )
        if not any(map(self.evaluated_at, self.stages)):
            raise ConfigError("evaluation: no stage trains a reward that could be evaluated; drop it")

    def evaluated_at(self, stage: BaseStage) -> dict[str, Any]:
        """As ``evaluation`` says; stages that train no reward are left out."""
        if self.evaluation is None or not stage.objective.rewards:
            return {}
        return {"eval_strategy": "steps", "eval_steps": self.evaluation.every, "eval_on_start": True}


RecipeT = TypeVar("RecipeT", bound=BaseRecipe)


def computes_bfloat16() -> bool:
    """Whether this machine has bfloat16 arithmetic: an accelerator, or a CPU with instructions for it."""
    import torch

    from vlreward.model.loading import cpu_computes_in

    return torch.accelerator.is_available() or cpu_computes_in("bfloat16")


OWNED = {
    "output_dir": "output",
    "seed": "seed",
    "data_seed": "seed",
    "max_steps": "stages[].max_steps",
    "num_train_epochs": "stages[].epochs",
    "per_device_train_batch_size": "stages[].batch",
    "gradient_accumulation_steps": "stages[].batch and pack_tokens",
    "auto_find_batch_size": "stages[].pack_tokens",
    "learning_rate": "stages[].optimizer",
    "lr_scheduler_type": "stages[].optimizer.schedule",
    "warmup_steps": "stages[].optimizer.warmup",
    "warmup_ratio": "stages[].optimizer.warmup",
    "weight_decay": "stages[].optimizer",
    "adam_beta1": "stages[].optimizer",
    "adam_beta2": "stages[].optimizer",
    "adam_epsilon": "stages[].optimizer",
    "max_grad_norm": "stages[].optimizer",
    "label_smoothing_factor": "stages[].objective.label_smoothing",
    "remove_unused_columns": "nothing: packs have no columns to remove",
    "average_tokens_across_devices": "nothing: the loss is always the mean over all processes",
    "logging_nan_inf_filter": "nothing: a loss that is not finite always stops the run",
    "load_best_model_at_end": "nothing: choose a checkpoint by its evaluation",
    "ignore_data_skip": "nothing: a run goes on where it stopped",
}
"""Arguments of transformers that the recipe sets itself, and by what."""


def _check_trainer(arguments: dict[str, Any]) -> None:
    if not arguments:
        return
    from transformers import TrainingArguments

    known, hints = {entry.name for entry in fields(TrainingArguments)}, get_type_hints(TrainingArguments)
    for key, value in arguments.items():
        if key in OWNED:
            raise ConfigError(f"trainer: {key} is set by {OWNED[key]}")
        if key not in known:
            raise ConfigError(f"trainer: {describe_unknown(str(key), known - OWNED.keys())}")
        _check_kind(key, value, set(get_args(hints[key]) or [hints[key]]) - {NoneType})


def _check_kind(key: str, value: Any, kinds: set[Any]) -> None:
    """Refuse a text where an argument is a truth value or a number: to transformers any text is true."""
    is_truth = isinstance(value, bool)
    if (key, value) == ("bf16", "auto"):
        return
    if value is None or not kinds <= {bool, int, float}:
        return
    if bool in kinds and not is_truth:
        raise ConfigError(f"trainer: {key}: expected true or false, got {value!r:.60}")
    if bool not in kinds and (is_truth or not isinstance(value, (int, float))):
        raise ConfigError(f"trainer: {key}: expected a number, got {value!r:.60}")


def _check_schedule(stage: BaseStage, options: Any) -> None:
    """See that there is a schedule of that name, and that it has the options that it needs.

    Otherwise a later stage would stop when all before it has been trained.
    """
    import torch
    from transformers import get_scheduler
    from transformers.trainer_utils import SchedulerType

    name, known = stage.optimizer.schedule, [kind.value for kind in SchedulerType]
    where = f"stage {stage.name}: optimizer"
    if name not in known:
        raise ConfigError(f"{where}: schedule: expected one of {', '.join(map(repr, known))}, got {name!r}")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    try:
        get_scheduler(name, optimizer, 1, 2, options)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where}: schedule {name} with trainer.lr_scheduler_kwargs {options}: {reason}") from error


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe of a reward model, with some of its values replaced; see `read_recipe_as`."""
    return read_recipe_as(Recipe, path, overrides)


def read_recipe_as(kind: type[RecipeT], path: str | Path, overrides: Sequence[str] = ()) -> RecipeT:
    """Read a recipe, with some of its values replaced.

    Args:
        kind: what is trained.
        path: a YAML file.
        overrides: ``key=value`` each: ``output=runs/2``, ``stages.0.batch=64``, or with a stage's or source's name in
            place of its number. Values are YAML.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, or a value that cannot be.
    """
    yaml = require("yaml", extra="train", purpose="reading a recipe")
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys and values; a recipe has model, output and stages")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override!r}: expected KEY=VALUE")
        try:
            _replace(content, key.split("."), yaml.safe_load(value), f"--set {key}")
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {override!r}: not a YAML value") from error
    return build(kind, content, str(path))


def _replace(content: Any, keys: Sequence[str], value: Any, where: str) -> None:
    """Set what the keys lead to; mappings on the way are made, so that a default can be replaced too."""
    *way, last = keys
    for key in way:
        if isinstance(content, list):
            content = content[_index(content, key, where)]
        elif isinstance(content, dict):
            if content.get(key) is None:
                content[key] = {}
            content = content[key]
        else:
            raise ConfigError(f"{where}: nothing is under {key!r}")
    if isinstance(content, list):
        content[_index(content, last, where)] = value
    elif isinstance(content, dict):
        content[last] = value
    else:
        raise ConfigError(f"{where}: nothing is under {last!r}")


def _index(items: list[Any], key: str, where: str) -> int:
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if key in names:
        return names.index(key)
    if key.isdigit() and int(key) < len(items):
        return int(key)
    known = ", ".join(str(name) if name else str(i) for i, name in enumerate(names))
    raise ConfigError(f"{where}: no {key!r} in the list; there are {known}")


def write_recipe(recipe: BaseRecipe, path: Path) -> None:
    """Write a recipe with every default spelled out; `read_recipe_as` reads it back."""
    yaml = require("yaml", extra="train", purpose="writing a recipe")
    text = yaml.safe_dump(plain(recipe), sort_keys=False, allow_unicode=True, width=120)
    path.write_text(text, encoding="utf-8")


def check_files(recipe: BaseRecipe) -> None:
    """See that what a recipe names on this machine is there, before a model is loaded.

    Raises:
        ConfigError: a data file is missing, the model is a path that is not there, or the output a file.
    """
    for stage in recipe.stages:
        for source in stage.data:
            source.check(f"stage {stage.name}")
    output = Path(recipe.output)
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output: {output}: a file; name a folder")
    local = recipe.model.startswith((".", "/", "~")) or recipe.model.count("/") > 1
    if local and not Path(recipe.model).expanduser().is_dir():
        raise ConfigError(f"model: {recipe.model}: no such folder")
