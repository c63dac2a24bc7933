"""Random Qwen2.5-VL reward models of any size on disk, in the forms that the tools read.

Tensors are drawn and written shard by shard, so that a model larger than the memory can be made.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from safetensors.torch import save_file

from .sizes import ModelSize
from .tokenizer import borrow_tokenizer, write_preprocessor, write_tokenizer

Form: TypeAlias = Literal["value-head", "sequence-classification"]
LM_HEAD = Path("published", "lm_head.safetensors")
WEIGHT_GAIN = 1.5
"""Weights are this over the root of the fan-in, so that another answer or another picture is another score."""
HEAD_GAIN = 2.0
"""Spread of the scores over random input: the head's weights are this over the root of the hidden size."""


def tensor_shapes(size: ModelSize) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of all tensors in the published naming, the LM head last."""
    from transformers import AutoConfig, Qwen2_5_VLModel

    settings = size.config()
    with torch.device("meta"):
        model = Qwen2_5_VLModel(AutoConfig.for_model(**settings))
    for name, tensor in model.state_dict().items():
        published = name.replace("language_model.", "model.")
        yield published, tuple(tensor.shape)
    yield "lm_head.weight", (size.lm_head_rows, size.hidden)


def random_tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Float32 weights by their fan-in, norms around one, small biases."""
    noise = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        is_scale = name.endswith("weight")
        return noise.mul_(0.05).add_(1.0 if is_scale else 0.0)
    if "embed_tokens" in name:
        return noise
    return noise.mul_(WEIGHT_GAIN / math.sqrt(math.prod(shape[1:])))


def write_model(
    folder: Path,
    size: ModelSize,
    *,
    form: Form,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = 4_000_000_000,
    tokenizer: Path | None = None,
) -> Path:
    """Write a whole checkpoint: weights in shards, head, configuration, tokenizer, template, preprocessor.

    ``value-head`` is the published form: the LM head is among the weights, the reward head in a file beside them.
    ``sequence-classification`` has ``score.weight`` instead, and the LM head that the published procedure computes is
    in a folder of its own, `LM_HEAD`, where only that contestant looks. ``tokenizer`` is a folder whose tokenizer is
    used instead of one made here. Returns the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    shards = _Shards(folder, shard_bytes)
    for name, shape in tensor_shapes(size):
        tensor = random_tensor(name, shape, generator).to(dtype)
        if name == "lm_head.weight" and form == "sequence-classification":
            (folder / LM_HEAD).parent.mkdir(exist_ok=True)
            save_file({name: tensor}, folder / LM_HEAD, metadata={"format": "pt"})
        else:
            shards.add(name, tensor)
        del tensor
    weight = torch.randn((1, size.hidden), generator=generator).mul_(HEAD_GAIN / math.sqrt(size.hidden))
    if form == "sequence-classification":
        shards.add("score.weight", weight.to(dtype))
    else:
        head = {"v_head.summary.weight": weight, "v_head.summary.bias": torch.full((1,), 0.25)}
        save_file(head, folder / "value_head.safetensors", metadata={"format": "pt"})
    shards.close()
    _write_config(folder, size, form, dtype)
    if tokenizer is None:
        write_tokenizer(folder, size.first_special_id)
    else:
        borrow_tokenizer(tokenizer, folder)
    write_preprocessor(folder)
    return folder


class _Shards:
    """Tensors to numbered files of about ``limit`` bytes, with the index that names them."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._pending: dict[str, torch.Tensor] = {}
        self._bytes = self._total = 0
        self._files: list[list[str]] = []

    def add(self, name: str, tensor: torch.Tensor) -> None:
        size = tensor.numel() * tensor.element_size()
        if self._pending and self._bytes + size > self._limit:
            self._flush()
        self._pending[name] = tensor
        self._bytes += size
        self._total += size

    def _flush(self) -> None:
        path = self._folder / f"part-{len(self._files):05d}.safetensors"
        save_file(self._pending, path, metadata={"format": "pt"})
        self._files.append(list(self._pending))
        self._pending, self._bytes = {}, 0

    def close(self) -> None:
        """Write what is left, name the files and write the index."""
        self._flush()
        if len(self._files) == 1:
            (self._folder / "part-00000.safetensors").rename(self._folder / "model.safetensors")
            return
        weight_map: dict[str, str] = {}
        for i, names in enumerate(self._files):
            final = f"model-{i + 1:05d}-of-{len(self._files):05d}.safetensors"
            (self._folder / f"part-{i:05d}.safetensors").rename(self._folder / final)
            weight_map |= dict.fromkeys(names, final)
        index = {"metadata": {"total_size": self._total}, "weight_map": weight_map}
        (self._folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def _write_config(folder: Path, size: ModelSize, form: Form, dtype: torch.dtype) -> None:
    config = size.config() | {"torch_dtype": str(dtype).removeprefix("torch.")}
    if form == "sequence-classification":
        config["architectures"] = ["Qwen2_5_VLForSequenceClassification"]
        config |= {"num_labels": 1, "problem_type": "regression"}
        config |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    else:
        config["architectures"] = ["Qwen2_5_VLForConditionalGeneration"]
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def bytes_on_disk(folder: Path) -> int:
    """Bytes of all weight files."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
