"""Groups back into files, so that `read_groups` gives them again."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from vlreward.errors import InputError
from vlreward.types import Group, Message, Part, Response, Text, Video

from .images import load_image
from .sources import is_uri

_TABLE_BATCH = 64
WRITABLE = (".jsonl", ".ndjson", ".parquet")


def check_writable(path: Path) -> Path:
    """``path`` itself, when its suffix is one that we write and its folder is there.

    Raises:
        InputError: it is not.
    """
    if path.suffix.lower() not in WRITABLE:
        raise InputError(f"{path}: unknown kind of file to write; known: {', '.join(WRITABLE)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: its folder does not exist; create {path.parent}")
    return path


def is_table(path: Path) -> bool:
    """Whether ``path`` is written as Parquet rather than as JSON lines."""
    return path.suffix.lower() == ".parquet"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to, which takes its place when all went well."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def json_line(row: Mapping[str, Any], where: str) -> bytes:
    """One line of a JSON lines file, its end included.

    Raises:
        InputError: a value has no JSON form.
    """
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: cannot be written ({error})") from None


def write_groups(path: str | Path, groups: Iterable[Group]) -> int:
    """Write groups as JSON lines or Parquet; the file appears when it is complete.

    Args:
        path: a ``.jsonl``, ``.ndjson`` or ``.parquet`` file.
        groups: what to write; see `group_to_row`.

    Returns:
        How many there were.

    Raises:
        InputError: the file cannot be of that kind, or a group has no form on disk.
    """
    path = check_writable(Path(path))
    rows = (group_to_row(group, path.parent) for group in groups)
    with replacing(path) as part:
        return write_table(part, map(table_row, rows), table_schema()) if is_table(path) else write_lines(part, rows)


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as JSON lines; how many there were."""
    count = 0
    with path.open("wb") as file:
        for row in rows:
            file.write(json_line(row, f"group {row.get('id')!r}"))
            count += 1
    return count


def group_to_row(group: Group, folder: str | Path | None = None) -> dict[str, Any]:
    """A group as the row of a groups file, every source in its part.

    Args:
        group: what to write. Bytes become data URIs as they are, PIL images and arrays become PNG data URIs of what
            `load_image` makes of them.
        folder: where the file will be: paths under it become relative to it and others absolute. Without it, paths
            stay as they are.

    Raises:
        MediaError: a picture in memory cannot be encoded.
    """
    base = None if folder is None else Path(folder)
    where = f"group {group.id!r}"
    row: dict[str, Any] = {} if group.id is None else {"id": group.id}
    row["messages"] = [message_row(message, base, where) for message in group.messages]
    row["responses"] = [_response_row(response, base, where) for response in group.responses]
    if group.task is not None:
        row["task"] = group.task
    return row


def _response_row(response: Response, folder: Path | None, where: str) -> Any:
    rows = [message_row(message, folder, where) for message in response]
    # An empty list would not be read as an answer without parts.
    is_short = len(rows) == 1 and rows[0]["role"] == "assistant" and rows[0]["content"] != []
    return rows[0]["content"] if is_short else rows


def message_row(message: Message, folder: Path | None, where: str) -> dict[str, Any]:
    """A message as a row says it; see `group_to_row`."""
    if isinstance(message.content, str):
        return {"role": message.role, "content": message.content}
    return {"role": message.role, "content": [_part_row(part, folder, where) for part in message.content]}


def _part_row(part: Part, folder: Path | None, where: str) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    kind = "video" if isinstance(part, Video) else "image"
    row: dict[str, Any] = {"type": kind}
    if isinstance(part, Video) and part.is_frames:
        row[kind] = [source_text(frame, "image", folder, where) for frame in part.source]
    elif part.source is not None:
        row[kind] = source_text(part.source, kind, folder, where)
    for key in ("fps", "max_frames", "min_pixels", "max_pixels"):
        if getattr(part, key, None) is not None:
            row[key] = getattr(part, key)
    return row


def source_text(source: Any, kind: str, folder: Path | None, where: str) -> str:
    """A source as a path or URI; see `group_to_row`. ``kind`` is "image" or "video"."""
    if isinstance(source, Mapping):
        source = next((source[key] for key in ("bytes", "path", "url") if source.get(key) is not None), None)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"data:{media_type(bytes(source[:12]), kind)};base64,{base64.b64encode(source).decode()}"
    if isinstance(source, (PILImage.Image, np.ndarray)):
        return f"data:image/png;base64,{base64.b64encode(encode_png(source, where)).decode()}"
    if isinstance(source, str) and is_uri(source):
        return source
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(f"{where}: {kind} source of type {type(source).__name__} cannot be written")
    text = os.fsdecode(source)
    if folder is None:
        return text
    absolute, base = os.path.abspath(text), os.path.abspath(folder)
    return Path(absolute).relative_to(base).as_posix() if Path(absolute).is_relative_to(base) else absolute


def encode_png(source: Any, where: str) -> bytes:
    """What `load_image` makes of a picture in memory, as PNG."""
    buffer = io.BytesIO()
    load_image(source, where=where).save(buffer, "PNG")
    return buffer.getvalue()


def media_type(start: bytes, kind: str) -> str:
    """What a file is by its first 12 bytes, else ``kind``: other readers of data URIs want to be told."""
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return "image/webp"
    if start[4:8] == b"ftyp" and kind == "video":
        return "video/mp4"
    known = {
        b"\x89PNG": "image/png",
        b"\xff\xd8\xff": "image/jpeg",
        b"GIF8": "image/gif",
        b"\x1aE\xdf\xa3": "video/webm",
    }
    return next((name for magic, name in known.items() if start.startswith(magic)), kind)


def write_table(path: Path, rows: Iterable[dict[str, Any]], schema: Any) -> int:
    """Write rows as Parquet with an Arrow ``schema``; how many there were.

    Raises:
        InputError: a value does not fit its column; the message names the row's id.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, rows = 0, iter(rows)
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(itertools.islice(rows, _TABLE_BATCH)):
            try:
                table = pa.Table.from_pylist(batch, schema=schema)
            except (TypeError, ValueError, OverflowError):
                _name_bad_row(pa, batch, schema)
                raise
            writer.write_table(table)
            count += len(batch)
    return count


def _name_bad_row(pa: Any, batch: list[dict[str, Any]], schema: Any) -> None:
    for row in batch:
        try:
            pa.Table.from_pylist([row], schema=schema)
        except (TypeError, ValueError, OverflowError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"group {row.get('id')!r}: cannot be written ({reason})") from None


def table_schema() -> Any:
    """The Arrow schema of a table of groups."""
    import pyarrow as pa

    part = {"type": pa.string(), "text": pa.string(), "image": pa.string(), "video": pa.list_(pa.string())}
    part |= {"path": pa.string(), "url": pa.string(), "fps": pa.float64(), "max_frames": pa.int64()}
    part |= {"min_pixels": pa.int64(), "max_pixels": pa.int64()}
    fields = {"role": pa.string(), "content": pa.list_(_struct(pa, part)), "plain": pa.bool_()}
    message = _struct(pa, fields)
    columns = {"id": pa.string(), "messages": pa.list_(message), "responses": pa.list_(pa.list_(message))}
    return pa.schema(columns | {"task": pa.string()})


def _struct(pa: Any, fields: Mapping[str, Any]) -> Any:
    return pa.struct(list(fields.items()))


def table_row(row: dict[str, Any]) -> dict[str, Any]:
    """A groups file's row as a table has it, where a column has one type: every response is a list of messages, every
    content a list of parts."""
    responses = [
        response
        if isinstance(response, list) and response and "role" in response[0]
        else [{"role": "assistant", "content": response}]
        for response in row["responses"]
    ]
    return row | {
        "messages": [_table_message(message) for message in row["messages"]],
        "responses": [[_table_message(message) for message in response] for response in responses],
    }


def _table_message(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return message | {"content": [{"type": "text", "text": content}], "plain": True}
    return message | {"content": [_table_part(part) for part in content], "plain": False}


def _table_part(part: dict[str, Any]) -> dict[str, Any]:
    video = part.get("video")
    if not isinstance(video, str):
        return part
    rest = {key: value for key, value in part.items() if key != "video"}
    return rest | {"url" if is_uri(video) else "path": video}
