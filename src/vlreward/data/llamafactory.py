"""Preference data of LLaMA-Factory: sharegpt (``conversations``, ``chosen``, ``rejected``) and alpaca
(``instruction``, ``input``, ``chosen``, ``rejected``), with ``<image>`` and ``<video>`` marks.

Read as LLaMA-Factory 0.9.5 does. A ``dataset_info.json`` that describes the file is found by itself; without one,
columns and tags have their usual names. The lists of pictures are those of each side's whole conversation, so that
pictures in the answers are the same on both sides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlreward.errors import InputError, UnsupportedError, describe_unknown
from vlreward.types import Image, Message, Ranking, Video

from .dataset_info import ALPACA_COLUMNS, SHAREGPT_COLUMNS, Tags
from .marks import fill_marks, join_marks, media_of, split_marks
from .parts import resolve_paths
from .ranking_format import (
    COMMON_KEYS,
    Pair,
    RankingFormat,
    Reading,
    common_columns,
    common_fields,
    image_column,
    make_pair,
    pair_of,
    refuse_limits,
)
from .rows import Row
from .sides import same_media
from .targets import Target, in_memory

_NAME = "llamafactory"
_ROLES = {"user_tag": "user", "assistant_tag": "assistant", "observation_tag": "tool", "system_tag": "system"}


def _matches(keys: Collection[str]) -> bool:
    compared = bool({"chosen", "rejected"} & set(keys))
    return compared and bool({"conversations", "instruction"} & set(keys)) and "responses" not in keys


def _read(row: Row, reading: Reading) -> Ranking:
    entry, where = reading.entry, row.where
    is_alpaca = entry.formatting == "alpaca" if entry else "conversations" not in row.data
    columns = entry.columns if entry else ALPACA_COLUMNS if is_alpaca else SHAREGPT_COLUMNS
    values = _values(row, columns, reading)
    for key in ("tools", "audios"):
        if values.get(key):
            raise InputError(f"{where}: {columns[key]!r} holds something; tools and sound are not read")
    if is_alpaca:
        prompt, chosen, rejected = _alpaca(values, columns, where)
    else:
        prompt, chosen, rejected = _sharegpt(values, columns, entry.tags if entry else Tags(), where)
    media = values.get("images"), values.get("videos")
    names = columns.get("images", "images"), columns.get("videos", "videos")
    filled = fill_marks((*prompt, chosen), *media, f"{where}: chosen side", names=names)
    other = fill_marks((*prompt, rejected), *media, f"{where}: rejected side", names=names)
    id = reading.ids.distinct(row)
    ranking = make_pair(filled[:-1], filled[-1:], other[-1:], values=values, id=id, where=where)
    return replace(ranking, group=resolve_paths(ranking.group, reading.folder, where))


def _values(row: Row, columns: Mapping[str, str], reading: Reading) -> dict[str, Any]:
    """The row's values by what they hold, those of `COMMON_KEYS` among them."""
    by_name = {key: key for key in COMMON_KEYS} | {name: key for key, name in columns.items()}
    values = {}
    for name, value in row.data.items():
        if name in by_name:
            values[by_name[name]] = value
        elif value is not None and name not in reading.ignore and reading.entry is None:
            raise InputError(f"{row.where}: {describe_unknown(name, by_name)}")
    for key in ("chosen", "rejected"):
        if values.get(key) is None:
            raise InputError(f"{row.where}: no {columns[key]!r}; a comparison needs chosen and rejected")
    return values


def _sharegpt(
    values: Mapping[str, Any], columns: Mapping[str, str], tags: Tags, where: str
) -> tuple[list[Message], Message, Message]:
    turns = values.get("messages")
    if not isinstance(turns, list):
        raise InputError(f"{where}: {columns['messages']!r} must be a list of messages, got {type(turns).__name__}")
    prompt = [_message(turn, tags, f"{where}: {columns['messages']}[{i}]") for i, turn in enumerate(turns)]
    if not prompt or prompt[0].role != "system":
        prompt = [*_system(values, where), *prompt]
    answers = [_message(values[key], tags, f"{where}: {columns[key]}") for key in ("chosen", "rejected")]
    for key, answer in zip(("chosen", "rejected"), answers, strict=True):
        if answer.role != "assistant":
            raise InputError(f"{where}: {columns[key]!r} must be a message of {tags.assistant_tag!r}")
    return prompt, answers[0], answers[1]


def _message(turn: Any, tags: Tags, where: str) -> Message:
    if not isinstance(turn, Mapping):
        raise InputError(
            f"{where}: expected an object with {tags.role_tag!r} and {tags.content_tag!r}, got {turn!r:.60}"
        )
    tag, content = turn.get(tags.role_tag), turn.get(tags.content_tag)
    roles = {getattr(tags, name): role for name, role in _ROLES.items() if getattr(tags, name) is not None}
    if isinstance(tag, str) and tag == tags.function_tag:
        raise InputError(f"{where}: a {tag!r} message; calls of tools are not read")
    if not isinstance(tag, str) or tag not in roles:
        raise InputError(f"{where}: unknown role {tag!r}; known: {', '.join(sorted(roles))}")
    if not isinstance(content, str):
        raise InputError(f"{where}: {tags.content_tag!r} must be a string, got {type(content).__name__}")
    return Message(roles[tag], split_marks(content, where))


def _system(values: Mapping[str, Any], where: str) -> list[Message]:
    system = values.get("system")
    return [Message("system", split_marks(_text(system, "system", where), where))] if system else []


def _alpaca(
    values: Mapping[str, Any], columns: Mapping[str, str], where: str
) -> tuple[list[Message], Message, Message]:
    prompt = _system(values, where)
    history = values.get("history") or ()
    if not isinstance(history, Sequence) or isinstance(history, str):
        raise InputError(f"{where}: {columns['history']!r} must be a list, got {type(history).__name__}")
    for i, turn in enumerate(history):
        if not isinstance(turn, Sequence) or isinstance(turn, str) or len(turn) != 2:
            raise InputError(f"{where}: history[{i}] must be a question and an answer, got {turn!r:.60}")
        texts = [split_marks(_text(text, f"history[{i}]", where), where) for text in turn]
        prompt += [Message("user", texts[0]), Message("assistant", texts[1])]
    asked = [_text(values[key], columns[key], where) for key in ("prompt", "query") if values.get(key)]
    prompt.append(Message("user", split_marks("\n".join(asked), where)))
    answers = [
        Message("assistant", split_marks(_text(values[key], columns[key], where), where))
        for key in ("chosen", "rejected")
    ]
    return prompt, answers[0], answers[1]


def _text(value: Any, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: {name!r} must be a string, got {type(value).__name__}")
    return value


def _write(ranking: Ranking, target: Target, where: str) -> dict[str, Any]:
    pair = pair_of(ranking, _NAME, where)
    refuse_limits(ranking.group, _NAME, where)
    if not same_media((*pair.prompt, *pair.chosen), (*pair.prompt, *pair.rejected)):
        raise UnsupportedError(
            f"{where}: each side shows other pictures, but {_NAME} has one list for both; use ms-swift"
        )
    _check_turns(pair, where)
    tags = Tags()
    by_role = {role: getattr(tags, name) for name, role in _ROLES.items()}

    def turn(message: Message) -> dict[str, Any]:
        return {"from": by_role[message.role], "value": join_marks(message, _NAME, where)}

    row: dict[str, Any] = {"conversations": [turn(message) for message in pair.prompt]}
    row |= {"chosen": turn(pair.chosen[0]), "rejected": turn(pair.rejected[0])}
    media = media_of((*pair.prompt, *pair.chosen))
    images = [_image(part, target, where) for part in media if isinstance(part, Image)]
    videos = [_video(part, target, where) for part in media if isinstance(part, Video)]
    row |= {key: values for key, values in (("images", images), ("videos", videos)) if values}
    return row | common_columns(ranking, margin=pair.margin)


def _check_turns(pair: Pair, where: str) -> None:
    """LLaMA-Factory passes over rows in which the turns do not alternate; here they are refused."""
    roles = [message.role for message in pair.prompt]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    alternate = all(role in (("user", "tool"), ("assistant",))[i % 2] for i, role in enumerate(turns))
    if not alternate or len(turns) % 2 == 0:
        raise UnsupportedError(
            f"{where}: the turns are {', '.join(roles) or 'none'}, but {_NAME} wants them to alternate"
        )
    if any(len(side) != 1 for side in (pair.chosen, pair.rejected)):
        raise UnsupportedError(f"{where}: a response of several messages, but {_NAME} holds one answer")


def _image(image: Image, target: Target, where: str) -> Any:
    if not target.is_table and in_memory(image.source):
        raise UnsupportedError(
            f"{where}: a picture in memory, which {_NAME} reads from files or tables; extract it, or write .parquet"
        )
    return target.image(image.source, where)


def _video(video: Video, target: Target, where: str) -> Any:
    sources = video.source if video.is_frames else (video.source,)
    if any(in_memory(source) for source in sources):
        raise UnsupportedError(f"{where}: a video in memory, which {_NAME} reads from a file; extract it")
    return target.video(video, where)


def _schema() -> Any:
    import pyarrow as pa

    turn = pa.struct({"from": pa.string(), "value": pa.string()})
    columns = {"id": pa.string(), "conversations": pa.list_(turn), "chosen": turn, "rejected": turn}
    return pa.schema(columns | {"images": image_column(), "videos": pa.list_(pa.string())} | common_fields())


LLAMAFACTORY = RankingFormat(
    name=_NAME,
    about="conversations (or instruction, input), chosen, rejected, images?, with <image> marks",
    matches=_matches,
    read=_read,
    write=_write,
    schema=_schema,
)
