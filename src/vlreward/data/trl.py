"""Comparisons in the form of TRL: rows of ``prompt``, ``chosen`` and ``rejected``.

Read as TRL 1.16 defines them: messages or plain text; without a ``prompt``, the messages that chosen and rejected have
in common at the start; pictures of an ``images`` (or ``image``) column go before the first user message's text when
there are no image parts for them. TRL itself shows pictures in the prompt only; here answers may hold them too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlreward.errors import InputError, UnsupportedError
from vlreward.types import Group, Image, Message, Ranking, Video

from .marks import media_of
from .parts import fill_sources, iter_parts, resolve_paths
from .ranking_format import (
    RankingFormat,
    Reading,
    common_columns,
    common_fields,
    image_column,
    margin_of,
    pair_of,
    refuse_limits,
)
from .rows import Row, known_values
from .targets import Target
from .writing import message_row

RANKING_KEYS = ("id", "prompt", "chosen", "rejected", "images", "image", "margin", "task")


def row_to_ranking(row: Row, id: str, folder: Path, ignore: Collection[str] = ()) -> Ranking:
    """One row as a ranking of two responses, the chosen one first.

    Args:
        row: holds ``chosen`` and ``rejected`` (text or messages), and may hold ``prompt`` (text or messages),
            ``images`` or ``image``, ``margin`` (a number) and ``task``.
        id: names the group.
        folder: where relative paths start.
        ignore: other keys that the row has and that are passed over.

    Raises:
        InputError: the row is not of this form; the message starts with its place.
    """
    if "responses" in row.data and "chosen" not in row.data:
        raise InputError(f"{row.where}: a group says no ranking; a comparison needs 'chosen' and 'rejected'")
    values = known_values(row, RANKING_KEYS, ignore)
    for key in ("chosen", "rejected"):
        if key not in values:
            raise InputError(f"{row.where}: no {key!r}; a comparison needs 'chosen' and 'rejected'")
    prompt, chosen, rejected = _split(values, row.where)
    group = Group(prompt, [chosen, rejected], id=id, task=values.get("task"), where=row.where)
    images = _images(values, row.where)
    if isinstance(images, list) and images and not any(isinstance(part, Image) for part in iter_parts(group)):
        group = _insert_images(group, len(images), row.where)
    group = resolve_paths(fill_sources(group, images, None, row.where), folder, row.where)
    return Ranking(group=group, ranks=(0, 1), margin=margin_of(values, row.where))


def _split(values: Mapping[str, Any], where: str) -> tuple[Any, Any, Any]:
    prompt, chosen, rejected = values.get("prompt"), values["chosen"], values["rejected"]
    if isinstance(chosen, list) and isinstance(rejected, list):
        # Some data sets repeat the question as text in "prompt" beside whole conversations.
        whole = not (_starts_with_answer(chosen) and _starts_with_answer(rejected))
        if prompt is None or (isinstance(prompt, str) and whole):
            return common_prompt(chosen, rejected)
        if isinstance(prompt, list) and prompt and _present(chosen[: len(prompt)]) == _present(prompt):
            raise InputError(f"{where}: 'chosen' begins with the whole prompt; drop 'prompt', or the repetition")
    if prompt is None:
        raise InputError(f"{where}: no 'prompt'; only lists of messages show where the prompt ends, text does not")
    return prompt, chosen, rejected


def _starts_with_answer(messages: list[Any]) -> bool:
    return bool(messages) and isinstance(messages[0], Mapping) and messages[0].get("role") == "assistant"


def common_prompt(chosen: list[Any], rejected: list[Any]) -> tuple[Any, Any, Any]:
    """What two conversations, as a row has them, begin with, and what each goes on with."""
    # The last message is always left to the response, even where one conversation begins with the other.
    most = max(min(len(chosen), len(rejected)) - 1, 0)
    shared = next((i for i in range(most) if _present(chosen[i]) != _present(rejected[i])), most)
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _present(value: Any) -> Any:
    """``value`` without the nulls that a table fills absent keys with."""
    if isinstance(value, Mapping):
        return {key: _present(item) for key, item in value.items() if item is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value


def _images(values: Mapping[str, Any], where: str) -> Any:
    if "image" not in values:
        return values.get("images")
    if "images" in values:
        raise InputError(f"{where}: both 'image' and 'images'; give one of them")
    return [values["image"]]


def _insert_images(group: Group, count: int, where: str) -> Group:
    for i, message in enumerate(group.messages):
        if message.role == "user":
            filled = Message("user", (*(Image() for _ in range(count)), *message.parts))
            return replace(group, messages=(*group.messages[:i], filled, *group.messages[i + 1 :]))
    raise InputError(f"{where}: {count} images, but the prompt has no user message to hold them")


_NAME = "trl"
# Each of these makes a row with chosen and rejected one of another format.
_OTHERS = {"conversations", "question", "instruction", "messages", "responses", "rejected_response"}


def _matches(keys: Collection[str]) -> bool:
    if not {"chosen", "rejected"} & set(keys) or _OTHERS & set(keys):
        return False
    return not ("source" in keys and "prompt" not in keys)


def _read(row: Row, reading: Reading) -> Ranking:
    return row_to_ranking(row, reading.ids.claim(row), reading.folder, reading.ignore)


def _write(ranking: Ranking, target: Target, where: str) -> dict[str, Any]:
    pair = pair_of(ranking, _NAME, where)
    if target.is_table:
        _check_table(pair.chosen + pair.rejected, ranking, where)
    # The column of pictures is the prompt's; answers keep theirs in their parts.
    images: list[Any] = []
    prompt = [_prompt_row(message, images, target, where) for message in pair.prompt]
    chosen = [message_row(message, target.folder, where) for message in pair.chosen]
    rejected = [message_row(message, target.folder, where) for message in pair.rejected]
    row: dict[str, Any] = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    if prompt and chosen[: len(prompt)] == prompt:  # would look as if the prompt were said twice
        row = {"chosen": prompt + chosen, "rejected": prompt + rejected}
    if target.is_table:
        row = {key: [_table_message(message) for message in messages] for key, messages in row.items()}
    if images:
        row["images"] = images
    return row | common_columns(ranking, margin=pair.margin)


def _prompt_row(message: Message, images: list[Any], target: Target, where: str) -> dict[str, Any]:
    """A message whose pictures go into ``images``."""
    if isinstance(message.content, str):
        return {"role": message.role, "content": message.content}
    images += [target.image(part.source, where) for part in message.content if isinstance(part, Image)]
    marked = (replace(part, source=None) if isinstance(part, Image) else part for part in message.content)
    return message_row(Message(message.role, tuple(marked)), target.folder, where)


def _check_table(answers: Sequence[Message], ranking: Ranking, where: str) -> None:
    # A part of a table has every key of every other part, and templates take a part that has the key "image" for a
    # picture: so the only keys are "type" and "text".
    refuse_limits(ranking.group, f"a table of {_NAME}", where)
    if any(isinstance(part, Video) for part in iter_parts(ranking.group)):
        raise UnsupportedError(f"{where}: a video, which a table of {_NAME} has no place for; write .jsonl")
    if media_of(answers):
        raise UnsupportedError(
            f"{where}: a picture in an answer, which a table of {_NAME} has no place for; write .jsonl"
        )


def _table_message(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    return message | {"content": [{"type": "text", "text": content}] if isinstance(content, str) else content}


def _schema() -> Any:
    import pyarrow as pa

    part = pa.struct({"type": pa.string(), "text": pa.string()})
    messages = pa.list_(pa.struct({"role": pa.string(), "content": pa.list_(part)}))
    sides = dict.fromkeys(("prompt", "chosen", "rejected"), messages)
    return pa.schema({"id": pa.string()} | sides | {"images": image_column()} | common_fields())


TRL = RankingFormat(
    name=_NAME,
    about="prompt, chosen, rejected, images?, margin?",
    matches=_matches,
    read=_read,
    write=_write,
    schema=_schema,
)
