"""Edits of model folders, for tests of what is read from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]


def copy_folder(source: Path, target: Path) -> Path:
    """A writable copy."""
    target.mkdir(parents=True)
    for file in source.iterdir():
        shutil.copyfile(file, target / file.name)
    return target


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place; made if it is not there."""
    content = json.loads(path.read_text()) if path.exists() else {}
    change(content)
    path.write_text(json.dumps(content))


def edit_tensors(path: Path, change: Callable[[Tensors], object]) -> None:
    """Change a safetensors file in place."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def shard(folder: Path, count: int = 3, suffix: str = "safetensors") -> list[Path]:
    """Split model.safetensors into shards with an index, as safetensors or as torch files."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    names, places, files = sorted(tensors), {}, []
    for i in range(count):
        part = {name: tensors[name] for name in names[i::count]}
        file = folder / f"{stem}-{i + 1:05d}-of-{count:05d}.{suffix}"
        save_file(part, file, metadata={"format": "pt"}) if suffix == "safetensors" else torch.save(part, file)
        places.update(dict.fromkeys(part, file.name))
        files.append(file)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return files


def to_torch_file(folder: Path, name: str = "model.safetensors", target: str = "pytorch_model.bin") -> Path:
    """Turn a safetensors file into a torch file."""
    torch.save(load_file(folder / name), folder / target)
    (folder / name).unlink()
    return folder / target
