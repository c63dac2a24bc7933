"""``dataset_info.json``, in which LLaMA-Factory says what the columns and tags of its data files are.

Read as LLaMA-Factory 0.9.5 does: where ``columns`` (or ``tags``) are given, those that are not named are not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vlreward.errors import InputError, describe_unknown

from .writing import replacing

NAME = "dataset_info.json"

_COLUMNS = {
    *("prompt", "query", "response", "history", "messages", "system", "tools"),
    *("images", "videos", "audios", "chosen", "rejected", "kto_tag"),
}


@dataclass(frozen=True, kw_only=True)
class Tags:
    """What a sharegpt file calls the keys and roles of its messages; None for a role that it does not have."""

    role_tag: str | None = "from"
    content_tag: str | None = "value"
    user_tag: str | None = "human"
    assistant_tag: str | None = "gpt"
    observation_tag: str | None = "observation"
    function_tag: str | None = "function_call"
    system_tag: str | None = "system"


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """What a ``dataset_info.json`` says of one data file."""

    where: str
    """The file and the entry, as errors name them."""
    folder: Path
    """Its folder, where paths of pictures start."""
    formatting: str
    """``sharegpt`` or ``alpaca``."""
    columns: Mapping[str, str]
    """Names of the file's columns by what they hold, without those that are not there."""
    tags: Tags = Tags()
    """Keys and roles of a sharegpt file's messages."""


SHAREGPT_COLUMNS = {
    "messages": "conversations",
    "chosen": "chosen",
    "rejected": "rejected",
    "images": "images",
    "videos": "videos",
    "audios": "audios",
    "system": "system",
    "tools": "tools",
}
ALPACA_COLUMNS = {
    "prompt": "instruction",
    "query": "input",
    "chosen": "chosen",
    "rejected": "rejected",
    "history": "history",
    "images": "images",
    "videos": "videos",
    "audios": "audios",
    "system": "system",
    "tools": "tools",
}


def find_entry(path: Path) -> DatasetEntry | None:
    """What the ``dataset_info.json`` in a data file's folder, or in the folder above, says of the file.

    Returns:
        None when neither has an entry of a ranking data set with this file.

    Raises:
        InputError: one of them is broken, or its entry is.
    """
    for folder in dict.fromkeys((path.parent, path.parent / "..")):
        info = folder / NAME
        entries = [
            (name, entry)
            for name, entry in (read_info(info) if info.is_file() else {}).items()
            if isinstance(entry, Mapping) and entry.get("ranking") and _is_of(entry, folder, path)
        ]
        if len(entries) > 1:
            names = ", ".join(repr(name) for name, _ in entries)
            raise InputError(f"{info}: several entries for {path.name}: {names}; leave one of them")
        if entries:
            name, entry = entries[0]
            return _parse(f"{info}: {name!r}", folder, entry)
    return None


def read_info(path: Path) -> dict[str, Any]:
    """The entries of a ``dataset_info.json``; none when the file is somebody else's (a list, as ms-swift has it).

    Raises:
        InputError: it is not JSON.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    return entries if isinstance(entries, dict) else {}


def _is_of(entry: Mapping[str, Any], folder: Path, path: Path) -> bool:
    name = entry.get("file_name")
    if not isinstance(name, str):
        return False
    named, wanted = (folder / name).resolve(), path.resolve()
    return wanted == named or (named.is_dir() and wanted.parent == named)


def _parse(where: str, folder: Path, entry: Mapping[str, Any]) -> DatasetEntry:
    formatting = entry.get("formatting", "alpaca")
    if formatting not in ("alpaca", "sharegpt"):
        raise InputError(f"{where}: formatting {formatting!r} is not read; known: alpaca, sharegpt")
    columns = _names(entry, "columns", _COLUMNS, where)
    if columns is None:
        defaults = SHAREGPT_COLUMNS if formatting == "sharegpt" else ALPACA_COLUMNS
        columns = {key: defaults[key] for key in ("messages", "prompt", "query") if key in defaults}
    tags = _names(entry, "tags", [field.name for field in fields(Tags)], where)
    if tags is not None:
        tags = {field.name: None for field in fields(Tags)} | tags
    needed = ("messages", "chosen", "rejected") if formatting == "sharegpt" else ("prompt", "chosen", "rejected")
    for key in needed:
        if key not in columns:
            raise InputError(f"{where}: its columns do not name {key!r}; a ranking needs {', '.join(needed)}")
    return DatasetEntry(where=where, folder=folder, formatting=formatting, columns=columns, tags=Tags(**(tags or {})))


def _names(entry: Mapping[str, Any], key: str, known: Any, where: str) -> dict[str, Any] | None:
    names = entry.get(key)
    if names is None:
        return None
    if not isinstance(names, Mapping) or not all(isinstance(value, str) for value in names.values()):
        raise InputError(f"{where}: {key!r} must be an object of names")
    for name in names:
        if name not in known:
            raise InputError(f"{where}: {key}: {describe_unknown(name, known)}")
    return dict(names)


def check_entry(path: Path) -> dict[str, Any]:
    """The entries of the ``dataset_info.json`` in a data file's folder, to which one of the file's name can be added.

    Raises:
        InputError: it is broken, or describes something else under that name.
    """
    info = path.parent / NAME
    entries = read_info(info) if info.exists() else {}
    there = entries.get(path.stem, {"file_name": path.name})
    if not isinstance(there, Mapping) or there.get("file_name") != path.name:
        raise InputError(f"{info}: already has an entry {path.stem!r} of another file; give the output another name")
    return entries


def add_entry(path: Path, columns: Mapping[str, str]) -> Path:
    """Describe a sharegpt file of rankings in the ``dataset_info.json`` of its folder, under the file's name.

    Args:
        path: the data file.
        columns: names of its columns by what they hold.

    Returns:
        The ``dataset_info.json``, which keeps its other entries.

    Raises:
        InputError: as for `check_entry`.
    """
    entries, info = check_entry(path), path.parent / NAME
    entry = {"file_name": path.name, "formatting": "sharegpt", "ranking": True, "columns": dict(columns)}
    with replacing(info) as part:
        text = json.dumps(entries | {path.stem: entry}, indent=2, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")
    return info
