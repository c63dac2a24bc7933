"""From a checkpoint folder to a `RewardModel`, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from vlreward.data.images import MediaLimits
from vlreward.errors import CheckpointError, ConfigError, UnsupportedError

from .backbone import Backbone, quiet_transformers, spec_for
from .checkpoints import CheckpointFolder, Question, read_head, read_metadata, read_pixel_limits
from .checkpoints.tokenizer import read_chat_template, read_tokenizer
from .head import RewardHead
from .media import RESIZE, MediaProcessor
from .processing import Processor

if TYPE_CHECKING:
    from .reward_model import RewardModel

ModelT = TypeVar("ModelT", bound="RewardModel")

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
_INSTRUCTIONS = {"bfloat16": "bf16", "float16": "fp16"}
"""What a CPU's capabilities for a dtype have in their names."""


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """The options of `RewardModel.from_pretrained`, explained there."""

    dtype: str | torch.dtype
    device: str | torch.device
    min_pixels: int | None
    max_pixels: int | None
    revision: str | None
    local_files_only: bool
    device_map: Any
    question: Question | None
    media_limits: MediaLimits
    pack_tokens: int | None
    head: Callable[[CheckpointFolder], RewardHead] | None = None
    """Gives the head in place of the folder's own, for training a model that has none yet."""
    quantization: Any = None
    """How transformers is to quantise the weights, a ``BitsAndBytesConfig``; None: not at all."""
    weights: bool = True
    """Whether weights are loaded. Without them everything but scoring works, on the files that are small."""


def load(cls: type[ModelT], path_or_id: str | Path, options: LoadOptions) -> ModelT:
    """What `RewardModel.from_pretrained` does; see there."""
    from .reward_model import Settings

    folder = CheckpointFolder.open(path_or_id, options.revision, options.local_files_only, weights=options.weights)
    spec = spec_for(folder.config, folder.name)
    check_resize(folder)
    head = read_head(folder, question=options.question) if options.head is None else options.head(folder)
    device = choose_device(options.device)
    limits = read_pixel_limits(folder)
    low = options.min_pixels if options.min_pixels is not None else limits.min_pixels
    high = options.max_pixels if options.max_pixels is not None else limits.max_pixels
    # Everything small is read before the weights, so that what is wrong with it is said at once.
    tokenizer, (_, template) = read_tokenizer(folder), read_chat_template(folder)
    processor = read_image_processor(folder)
    media = MediaProcessor(processor, spec, min_pixels=low, max_pixels=high, limits=options.media_limits)
    dtype = choose_dtype(options.dtype, device, folder)
    if options.weights:
        backbone = Backbone.load(
            folder, dtype=dtype, device=device, device_map=options.device_map, quantization=options.quantization
        )
    else:
        backbone = Backbone.without_weights(folder)
    context = int(folder.text_config.get("max_position_embeddings", 32_768))
    settings = Settings(
        model=str(path_or_id),
        revision=options.revision,
        dtype=str(backbone.dtype).removeprefix("torch."),
        device=str(backbone.device),
        min_pixels=low,
        max_pixels=high,
        resize=RESIZE,
        pack_tokens=pack_budget(options.pack_tokens, backbone.device),
        text_after_video=backbone.text_after_video,
    )
    texts = Processor(tokenizer, template, media, backbone, context)
    return cls(backbone, head.to(backbone.output_device), texts, settings=settings, source=folder)


_PACK_TOKENS = {"cpu": 8192, "cuda": 16_384}


def pack_budget(asked: int | None, device: torch.device) -> int:
    """Tokens of a pack: what was asked for, else by device; more saves nothing on the CPU and costs memory."""
    if asked is None:
        return _PACK_TOKENS.get(device.type, _PACK_TOKENS["cpu"])
    if asked <= 0:
        raise ConfigError(f"pack_tokens must be a positive number of tokens, got {asked}")
    return asked


def choose_device(device: str | torch.device) -> torch.device:
    """``auto`` is the first accelerator, else the CPU.

    Raises:
        ConfigError: there is no such device here.
    """
    if str(device) != "auto":
        try:
            chosen = torch.device(device)
            torch.empty(0, device=chosen)
        except (RuntimeError, AssertionError) as error:  # the latter where torch is built without
            raise ConfigError(f"device {str(device)!r}: {_first_line(error)}") from error
        if chosen.type == "meta":
            raise ConfigError("device 'meta' holds no numbers to compute with; name cpu, cuda or another")
        return chosen
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_dtype(dtype: str | torch.dtype, device: torch.device, folder: CheckpointFolder) -> torch.dtype:
    """``auto`` is bfloat16 on an accelerator, and on the CPU what the checkpoint's weights are, if it computes in that.

    Raises:
        ConfigError: no such dtype.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        if device.type != "cpu":
            return torch.bfloat16
        text = folder.text_config
        dtype = text.get("dtype") or text.get("torch_dtype") or folder.config.get("dtype") or "float32"
        if dtype in _INSTRUCTIONS and not cpu_computes_in(dtype):
            return torch.float32
    if dtype not in _DTYPES:
        raise ConfigError(f"unknown dtype {dtype!r}; known: auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]


def cpu_computes_in(dtype: str) -> bool:
    """Whether this machine's CPU has instructions for ``bfloat16`` or ``float16``.

    One without emulates them, many times slower than it computes in float32.
    """
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(found for name, found in capabilities.items() if _INSTRUCTIONS[dtype] in name)


def check_resize(folder: CheckpointFolder) -> None:
    """Refuse a folder whose scores were made with another resize.

    Raises:
        UnsupportedError: vlreward.json says so.
    """
    resize = read_metadata(folder).resize
    if resize not in (None, RESIZE):
        raise UnsupportedError(f"{folder.name}: vlreward.json asks for the {resize} resize; only {RESIZE} is supported")


def read_image_processor(folder: CheckpointFolder) -> Any:
    """The folder's picture processor, transformers' one on PIL.

    Raises:
        CheckpointError: there is none, it cannot be read, or its patches are not those of config.json.
    """
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    names = ("preprocessor_config.json", "processor_config.json")
    if not any((folder.path / name).is_file() for name in names):
        raise CheckpointError(f"{folder.name}: no {' or '.join(names)}; the picture processor's settings are missing")
    try:
        with quiet_transformers():
            processor = Qwen2VLImageProcessorPil.from_pretrained(folder.path, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder.name}: the picture processor cannot be read: {_first_line(error)}") from error
    vision = folder.config.get("vision_config") or {}
    for name, key in (("patch_size",) * 2, ("merge_size", "spatial_merge_size"), ("temporal_patch_size",) * 2):
        here, there = getattr(processor, name), vision.get(key)
        if there is not None and here != there:
            raise CheckpointError(
                f"{folder.name}: the picture processor's {name} is {here!r}, {key} in config.json is {there!r}; they "
                "are of different models"
            )
    return processor


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def save(model: RewardModel, out: str | Path, *, form: str | None, source: CheckpointFolder, overwrite: bool) -> None:
    """What `RewardModel.save_pretrained` does; see there."""
    from .checkpoints import Metadata, identify, write_checkpoint

    settings = model.settings
    chosen = form or identify(source, question=model.head.question).NAME
    metadata = Metadata(
        form=chosen,
        question=model.head.question,
        min_pixels=settings.min_pixels,
        max_pixels=settings.max_pixels,
        resize=settings.resize,
    )
    write_checkpoint(
        head=model.head,
        state=model.backbone.model.state_dict(),
        spec=model.backbone.spec,
        source=source,
        out=Path(out),
        form=chosen,
        metadata=metadata,
        overwrite=overwrite,
    )


__all__ = [
    "check_resize",
    "choose_device",
    "choose_dtype",
    "cpu_computes_in",
    "load",
    "pack_budget",
    "read_image_processor",
    "save",
]
