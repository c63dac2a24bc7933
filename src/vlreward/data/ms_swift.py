"""Preference data of ms-swift: ``messages`` that end in the chosen answer, and ``rejected_response`` or
``rejected_messages``, with ``<image>`` and ``<video>`` marks.

Read as ms-swift 4.6 does: a rejected response takes the place of everything behind the last user message and sees the
same pictures unless ``rejected_images`` says others; rejected messages see ``rejected_images`` only; pictures that no
mark stands for go before the first message.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlreward.errors import InputError, UnsupportedError
from vlreward.types import Image, Message, Part, Ranking, Text, Video, parse_part

from .marks import fill_marks, join_marks, media_of, split_marks
from .parts import list_sources, resolve_paths
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
from .rows import Row, known_values
from .sides import same_media, split_pair
from .targets import Target

_NAME = "ms-swift"
_ROLES = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool", "tool_response": "tool"}
_MEDIA = ("images", "videos")
_UNREAD = ("tools", "objects", "audios", "rejected_tools", "rejected_objects", "rejected_audios")
_KEYS = (
    *("messages", "rejected_response", "rejected_messages", "images", "rejected_images", "videos", "rejected_videos"),
    *("image", "video", "system", "channel"),
    *_UNREAD,
    *COMMON_KEYS,
)


def _matches(keys: Collection[str]) -> bool:
    return "messages" in keys and bool({"rejected_response", "rejected_messages"} & set(keys))


def _read(row: Row, reading: Reading) -> Ranking:
    values, where = _values(row, reading), row.where
    system = [Message("system", values["system"])] if values.get("system") else []
    chosen = _conversation(values["messages"], system, f"{where}: messages")
    media = [values.get(key) for key in _MEDIA]
    if "rejected_messages" in values:
        rejected = _conversation(values["rejected_messages"], [], f"{where}: rejected_messages")
        other = [_own_media(values, key, where) for key in _MEDIA]
    else:
        answer = _answer(values["rejected_response"], f"{where}: rejected_response")
        rejected = [*_prompt(chosen, where), *answer]
        other = [values.get(f"rejected_{key}", values.get(key)) for key in _MEDIA]
    sides = (
        _fill(chosen, media, "images", "videos", f"{where}: chosen side"),
        _fill(rejected, other, "rejected_images", "rejected_videos", f"{where}: rejected side"),
    )
    prompt, *answers = split_pair(*sides)
    ranking = make_pair(prompt, answers[0], answers[1], values=values, id=reading.ids.distinct(row), where=where)
    return replace(ranking, group=resolve_paths(ranking.group, reading.folder, where))


def _values(row: Row, reading: Reading) -> dict[str, Any]:
    values = known_values(row, _KEYS, reading.ignore)
    for one, many in (("image", "images"), ("video", "videos")):
        if one in values:
            if many in values:
                raise InputError(f"{row.where}: both {one!r} and {many!r}; give one of them")
            values[many] = [values.pop(one)]
    for key in _UNREAD:
        if values.get(key):
            raise InputError(f"{row.where}: {key!r} holds something; tools, boxes and sound are not read")
    if "messages" not in values:
        raise InputError(f"{row.where}: no 'messages'; a comparison needs 'messages' and 'rejected_response'")
    given = [key for key in ("rejected_response", "rejected_messages") if key in values]
    if len(given) != 1:
        found = " and ".join(map(repr, given)) or "neither"
        raise InputError(f"{row.where}: {found} of 'rejected_response' and 'rejected_messages'; give one of them")
    if values.get("system") and "rejected_messages" in values:
        raise InputError(f"{row.where}: 'system' is of 'messages' only; say it as the first message of both sides")
    if not isinstance(values.get("system", ""), str):
        raise InputError(f"{row.where}: 'system' must be a string, got {values['system']!r:.60}")
    return values


def _own_media(values: Mapping[str, Any], key: str, where: str) -> Any:
    """What rejected messages see, which must be said when the chosen ones see something."""
    if values.get(key) and f"rejected_{key}" not in values:
        raise InputError(
            f"{where}: 'rejected_messages' with {key!r} but no 'rejected_{key}': ms-swift shows that side none; "
            f"repeat {key!r} there, or give an empty list"
        )
    return values.get(f"rejected_{key}")


def _conversation(value: Any, system: Sequence[Message], where: str) -> list[Message]:
    messages = _messages(value, where)
    if not messages or messages[-1].role != "assistant":
        raise InputError(f"{where}: must end in an assistant message")
    return messages if messages[0].role == "system" else [*system, *messages]


def _answer(value: Any, where: str) -> list[Message]:
    if isinstance(value, str):
        return [Message("assistant", split_marks(value, where))]
    messages = _messages(value, where)
    if any(message.role == "user" for message in messages):
        raise InputError(f"{where}: holds a user message; use 'rejected_messages'")
    return messages


def _prompt(chosen: Sequence[Message], where: str) -> Sequence[Message]:
    for i in range(len(chosen) - 1, -1, -1):
        if chosen[i].role == "user":
            return chosen[: i + 1]
    raise InputError(f"{where}: no user message, so nothing shows where the response begins; use 'rejected_messages'")


def _messages(value: Any, where: str) -> list[Message]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise InputError(f"{where}: expected a list of messages, got {type(value).__name__}")
    return [_message(item, f"{where}[{i}]") for i, item in enumerate(value)]


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: a message must be an object with 'role' and 'content', got {type(value).__name__}")
    role, content = value.get("role"), value.get("content")
    if not isinstance(role, str) or role not in _ROLES:
        raise InputError(f"{where}: unknown role {role!r}; known: {', '.join(_ROLES)} (calls of tools are not read)")
    if isinstance(content, str):
        return Message(_ROLES[role], split_marks(content, where))
    if not isinstance(content, list):
        raise InputError(f"{where}: 'content' must be a string or a list of parts, got {type(content).__name__}")
    parts: list[Part] = []
    for i, item in enumerate(content):
        part = parse_part(item, f"{where}, part {i}")
        marked = split_marks(part.text, where) if isinstance(part, Text) else (part,)
        parts += [part] if isinstance(marked, str) else marked
    return Message(_ROLES[role], tuple(parts))


def _fill(messages: list[Message], media: Sequence[Any], images: str, videos: str, where: str) -> tuple[Message, ...]:
    """Give marks their pictures, and pictures without a mark one before the first message behind the system's."""
    front: list[Part] = []
    for values, kind, cls, name in ((media[0], "image", Image, images), (media[1], "video", Video, videos)):
        marks = sum(isinstance(part, cls) for part in media_of(messages))
        front = [*(cls() for _ in range(len(list_sources(values, kind, name, where)) - marks)), *front]
    if front:
        at = 1 if messages[0].role == "system" and len(messages) > 1 else 0
        marked = Message(messages[at].role, (*front, *messages[at].parts))
        messages = [*messages[:at], marked, *messages[at + 1 :]]
    return fill_marks(messages, media[0], media[1], where, names=(images, videos))


def _write(ranking: Ranking, target: Target, where: str) -> dict[str, Any]:
    pair = pair_of(ranking, _NAME, where)
    refuse_limits(ranking.group, _NAME, where)
    chosen, rejected = (*pair.prompt, *pair.chosen), (*pair.prompt, *pair.rejected)
    if any(message.role == "system" for side in (chosen, rejected) for message in side[1:]):
        raise UnsupportedError(f"{where}: a system message behind the first, which {_NAME} has no place for")
    turns, other_turns = ([_turn(message, where) for message in side] for side in (chosen, rejected))
    # ms-swift looks for files where it is started.
    target = replace(target, absolute_paths=True)
    media, other_media = _media(chosen, target, where), _media(rejected, target, where)
    row: dict[str, Any] = {"messages": turns} | {key: value for key, value in media.items() if value}
    said = [key for key in _MEDIA if media[key] or other_media[key]]
    # It refuses a rejected response that is the chosen one.
    if _is_response(pair) and turns[-1] != other_turns[-1]:
        row["rejected_response"] = other_turns[-1]["content"]
        said = [] if same_media(chosen, rejected) else said
    else:
        row["rejected_messages"] = other_turns
    row |= {f"rejected_{key}": other_media[key] for key in said}
    return row | common_columns(ranking, margin=pair.margin)


def _is_response(pair: Pair) -> bool:
    """Whether the rejected side can be said by its answer alone."""
    return bool(pair.prompt) and pair.prompt[-1].role == "user" and len(pair.chosen) == len(pair.rejected) == 1


def _turn(message: Message, where: str) -> dict[str, str]:
    return {"role": message.role, "content": join_marks(message, _NAME, where)}


def _media(messages: Sequence[Message], target: Target, where: str) -> dict[str, list[Any]]:
    parts = media_of(messages)
    images = [target.image(part.source, where) for part in parts if isinstance(part, Image)]
    return {"images": images, "videos": [target.video(part, where) for part in parts if isinstance(part, Video)]}


def _schema() -> Any:
    import pyarrow as pa

    messages = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
    columns = {"id": pa.string(), "messages": messages}
    columns |= {"rejected_response": pa.string(), "rejected_messages": messages}
    columns |= {key: image_column() for key in ("images", "rejected_images")}
    columns |= {key: pa.list_(pa.string()) for key in ("videos", "rejected_videos")}
    return pa.schema(columns | common_fields())


MS_SWIFT = RankingFormat(
    name=_NAME,
    about="messages, rejected_response or rejected_messages, images?, rejected_images?, margin?, with <image> marks",
    matches=_matches,
    read=_read,
    write=_write,
    schema=_schema,
)
