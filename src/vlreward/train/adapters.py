"""LoRA: adapters on the linear layers of the parts that take them, in the module itself, by peft."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vlreward.errors import ConfigError, MissingDependency, require

from .parts import Lora, Parts, part_of

if TYPE_CHECKING:
    from vlreward.model.backbone import Backbone

NAME = "default"


def target_names(backbone: nn.Module, parts: Parts) -> list[str]:
    """The linear layers that get adapters, by their names in the backbone."""
    adapted = set(parts.adapted())
    return [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and part_of(f"{name}.weight") in adapted
    ]


def add_adapters(backbone: Backbone, parts: Parts, lora: Lora, seed: int) -> Any:
    """Put adapters in place; all other weights are as they were.

    The adapters' own weights are float32: narrower ones lose the small steps that they are trained by.

    Returns:
        peft's ``LoraConfig``, None where no part takes adapters.

    Raises:
        ConfigError: a part that is to be adapted has no linear layers.
        MissingDependency: peft is not installed.
    """
    if not parts.adapted():
        return None
    peft = require("peft", extra="train", purpose="training with LoRA")
    names = target_names(backbone.model, parts)
    if not names:
        raise ConfigError(f"parts: {', '.join(parts.adapted())}: no linear layers to adapt")
    config = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, backbone.model, adapter_name=NAME)
    for name, parameter in backbone.model.named_parameters():
        if is_adapter(name):
            parameter.data = parameter.data.float() if parameter.dtype != torch.float64 else parameter.data
    return config


def write_adapters(config: Any, state: Mapping[str, Tensor], folder: Path, base: str) -> None:
    """Write the adapters as peft writes them, to be put on the model that they were trained on.

    Args:
        config: what `add_adapters` gave.
        state: the tensors of the module that holds it as ``backbone``.
        folder: where to.
        base: what the model is called that they belong to.
    """
    from safetensors.torch import save_file

    inner = {name.removeprefix("backbone."): tensor for name, tensor in state.items() if is_adapter(name)}
    tensors = {
        f"base_model.model.{name.replace(f'.{NAME}.', '.')}": tensor.detach().cpu().contiguous()
        for name, tensor in inner.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(str(folder))


def is_adapter(name: str) -> bool:
    """Whether a tensor of this name is an adapter's own."""
    return ".lora_" in name


def _adapted_layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, layer in module.named_modules():
        if hasattr(layer, "lora_A") and hasattr(layer, "get_delta_weight"):
            yield name, layer


def merged_state(
    module: nn.Module, state: dict[str, Tensor], original: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """A module's tensors under the names that they have without adapters, the adapters added to what they adapt.

    Args:
        module: says which layers are adapted, and how.
        state: its state.
        original: the weights, by those names, of layers that are held in fewer bits.
    """
    layers = dict(_adapted_layers(module))
    merged: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if is_adapter(name):
            continue
        plain = name.replace(".base_layer.", ".")
        if original is not None and plain in original:
            merged[plain] = original[plain]
        elif tensor.is_floating_point():
            merged[plain] = tensor
    for name, layer in layers.items():
        down, up = (state[f"{name}.lora_{side}.{NAME}.weight"] for side in ("A", "B"))
        delta = (up.to(torch.float32) @ down.to(torch.float32)) if up.dtype != torch.float64 else up @ down
        weight = merged[f"{name}.weight"]
        exact = torch.promote_types(weight.dtype, delta.dtype)
        merged[f"{name}.weight"] = (weight.to(exact) + delta.to(weight.device, exact) * layer.scaling[NAME]).to(
            weight.dtype
        )
    return merged


def quantization(parts: Parts, dtype: torch.dtype, backbone_names: list[str]) -> Any:
    """How transformers is to hold the parts that are trained by ``qlora``: 4 bits (nf4), quantised twice.

    Args:
        parts: which ones.
        dtype: of the arithmetic.
        backbone_names: the names of the backbone's linear layers; those of other parts are left alone.

    Raises:
        MissingDependency: bitsandbytes is not installed.
    """
    if not parts.quantized():
        return None
    if find_spec("bitsandbytes") is None:  # in no extra of ours: it is for GPUs
        raise MissingDependency("QLoRA (4-bit weights) needs bitsandbytes: pip install bitsandbytes")
    from transformers import BitsAndBytesConfig

    skipped = [name for name in backbone_names if part_of(f"{name}.weight") not in parts.quantized()]
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=skipped,
    )
