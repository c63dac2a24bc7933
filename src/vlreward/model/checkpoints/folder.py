"""A model folder, local or from the hub: its config, and what its weight files hold. No weights are loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import CheckpointError

from .headers import TensorInfo, read_header, read_tensor

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
_WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SMALL = ("*.json", "*.jinja", "*.txt", "*.model", "LICENSE*", "README*", "value_head.bin")


@dataclass(frozen=True, kw_only=True)
class CheckpointFolder:
    """A model folder whose files have been looked at, but whose weights have not been loaded."""

    name: str
    """What the user called it: a path or a hub id."""
    path: Path
    config: Mapping[str, Any]
    """config.json."""
    tensors: Mapping[str, TensorInfo]
    """The tensors of the model's own weight files, all shards; head files beside them are not among these."""

    @classmethod
    def open(
        cls,
        path_or_id: str | Path,
        revision: str | None = None,
        local_files_only: bool = False,
        *,
        weights: bool = True,
    ) -> CheckpointFolder:
        """Look at a local folder, or fetch one from the hub.

        Args:
            path_or_id: a folder, else a hub id such as ``Skywork/Skywork-VL-Reward-7B``.
            revision: a branch, tag or commit of the hub id.
            local_files_only: take a hub id from the local cache only.
            weights: whether there have to be weights; without, only small files are fetched and there are no tensors.

        Raises:
            CheckpointError: not found, no config.json, no weights, or a weight file that is missing, empty, truncated
                or damaged; the message names it.
        """
        path = locate(path_or_id, revision, local_files_only, weights=weights)
        config = _read_config(path)
        return cls(name=str(path_or_id), path=path, config=config, tensors=_read_weights(path) if weights else {})

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The language model's part of the config: a block of its own, or in old files the top level."""
        nested = self.config.get("text_config")
        return nested if isinstance(nested, Mapping) else self.config

    @property
    def hidden_size(self) -> int:
        """The hidden size that config.json gives.

        Raises:
            CheckpointError: there is none.
        """
        size = self.text_config.get("hidden_size")
        if not isinstance(size, int):
            raise CheckpointError(f"{self.path / CONFIG}: no hidden_size; is this a language model's config?")
        return size

    @property
    def files(self) -> tuple[Path, ...]:
        """The model's own weight files, in the order of their names."""
        return tuple(sorted({info.file for info in self.tensors.values()}))

    def read(self, name: str) -> Tensor:
        """One of the model's tensors, as it is on disk.

        Raises:
            CheckpointError: there is no such tensor, or its file cannot be read.
        """
        if name not in self.tensors:
            raise CheckpointError(f"{self.path}: no tensor named {name}")
        return read_tensor(self.tensors[name])

    def json(self, filename: str) -> dict[str, Any] | None:
        """A JSON file of the folder, None if there is none.

        Raises:
            CheckpointError: it is not a JSON object.
        """
        return read_json(self.path / filename) if (self.path / filename).is_file() else None


def locate(
    path_or_id: str | Path, revision: str | None = None, local_files_only: bool = False, *, weights: bool = True
) -> Path:
    """The local folder of a path or hub id; fetched when it has to be, without ``weights`` the small files alone.

    Raises:
        CheckpointError: nothing is there; the message says what was tried.
    """
    path = Path(path_or_id).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CheckpointError(f"{path_or_id}: a file; expected a model folder or a hub id")
    if isinstance(path_or_id, Path) or not _HUB_ID.fullmatch(path_or_id):
        raise CheckpointError(f"{path_or_id}: no such folder")
    return _fetch(path_or_id, revision, local_files_only, weights)


def _fetch(hub_id: str, revision: str | None, local_files_only: bool, weights: bool) -> Path:
    """Fetch what scoring needs of a hub id; torch files only where there are no safetensors."""
    from huggingface_hub import errors, snapshot_download

    at = f"{hub_id} at revision {revision}" if revision else hub_id
    options = {"revision": revision, "local_files_only": local_files_only}
    try:
        wanted = [*_SMALL, "*.safetensors"] if weights else _SMALL
        path = Path(snapshot_download(hub_id, allow_patterns=list(wanted), **options))
        if weights and not any(path.glob("*.safetensors")):
            path = Path(snapshot_download(hub_id, allow_patterns=[*_SMALL, "*.bin"], **options))
    except errors.GatedRepoError as error:
        raise CheckpointError(f"{at}: a gated model; accept its terms on its page, then run: hf auth login") from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{at}: the hub has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(f"{at}: no such folder here, and no such model on the hub that you may read") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        why = "offline was asked for" if local_files_only else "the hub cannot be reached"
        raise CheckpointError(f"{at}: no such folder here, it is not in the local cache, and {why}") from error
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{at}: no such folder here, and the hub did not give it: {reason}") from error
    return path


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        CheckpointError: the file is not one; the message names the line where reading failed.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def _read_config(path: Path) -> dict[str, Any]:
    has_adapter = (path / "adapter_config.json").is_file()
    if (path / CONFIG).is_file():
        # transformers puts such an adapter into the model without a word where peft is installed, and not elsewhere.
        if has_adapter:
            raise CheckpointError(
                f"{path}: adapter_config.json beside the model's own weights; merge the LoRA adapter into them, or"
                " move it to a folder of its own"
            )
        return read_json(path / CONFIG)
    if has_adapter:
        raise CheckpointError(f"{path}: a LoRA adapter without its model; merge the adapter into the model it adapts")
    raise CheckpointError(f"{path}: no config.json; expected a model folder as save_pretrained writes it")


def _read_weights(path: Path) -> dict[str, TensorInfo]:
    """The tensors of the first kind of weight file that is there, as transformers chooses."""
    for single, index in _WEIGHTS:
        has_single, has_index = (path / single).is_file(), (path / index).is_file()
        if has_single and has_index:
            raise CheckpointError(f"{path}: both {single} and {index}: two models in one folder; remove the stale one")
        if has_single:
            return read_header(path / single)
        if has_index:
            return _read_shards(path, index)
    names = ", ".join(name for pair in _WEIGHTS for name in pair)
    raise CheckpointError(f"{path}: no weights; expected one of {names}")


def _read_shards(path: Path, index: str) -> dict[str, TensorInfo]:
    """The tensors of all shards. What a shard holds beyond the index is kept too, so that it is named as left over."""
    places = read_json(path / index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise CheckpointError(f"{path / index}: no weight_map of tensor names to file names")
    found: dict[str, TensorInfo] = {}
    for file in sorted(set(places.values())):
        if Path(file).name != file:
            raise CheckpointError(f"{path / index}: {file!r} is not the name of a file beside it")
        if not (path / file).is_file():
            raise CheckpointError(f"{path}: shard {file} is missing; {index} names it")
        found.update({name: info for name, info in read_header(path / file).items() if places.get(name, file) == file})
    for name, file in places.items():
        if name not in found:
            raise CheckpointError(f"{path / file}: no tensor {name}, which {index} says is there")
    return found
