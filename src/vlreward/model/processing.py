"""From messages to token rows: chat template, tokens, placeholders, positions.

Every conversation is rendered and tokenised whole, so that what two of them share is found on ids and tokenisation at
the seam cannot differ. Pictures stand in the text as one placeholder, which is a special token and so never merges
with its neighbours; it is repeated on ids, which equals repeating it in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlreward.errors import CheckpointError, InputError, LengthError
from vlreward.types import Image, Message, Text, Video

from .backbone import Backbone
from .media import MediaProcessor, Medium
from .packing import Column, IntArray


@dataclass(frozen=True, eq=False)
class Conversation:
    """A conversation ready to be packed."""

    rows_TC: IntArray
    """Token rows, see `packing.Column`."""
    where: str
    """What to call it in an error."""
    prompt: int = 0
    """How many tokens from the front may be kept in the prefix cache: those that do not depend on the response."""

    def __len__(self) -> int:
        return len(self.rows_TC)

    def media(self) -> list[int]:
        """Indices of the media in the order in which the conversation holds them, repeats included."""
        first = self.rows_TC[:, Column.FEATURE] == 0
        indices: list[int] = self.rows_TC[first, Column.MEDIUM].tolist()
        return indices


class MediaTable:
    """The distinct media of one call. Equal content has one index, whoever holds it."""

    def __init__(self) -> None:
        self.media: list[Medium] = []
        self._index: dict[bytes, int] = {}
        self._parts: dict[int, tuple[Image | Video, int]] = {}

    def look(self, part: Image | Video, processor: MediaProcessor, where: str) -> Medium:
        """What is known of a part: all of it. A table of sizes knows less."""
        return processor.load(part, where)

    def add(self, part: Image | Video, processor: MediaProcessor, where: str) -> int:
        """The index of a part's content; a part object is decoded once."""
        known = self._parts.get(id(part))
        if known is None:
            medium = self.look(part, processor, where)
            index = self._index.setdefault(medium.key, len(self.media))
            if index == len(self.media):
                self.media.append(medium)
            # The part is kept beside its index, so that its id cannot be given to another object.
            self._parts[id(part)] = known = (part, index)
        return known[1]


class Processor:
    """Renders, tokenises and places conversations for one backbone.

    Args:
        tokenizer: the checkpoint's tokenizer.
        chat_template: the checkpoint's template, Jinja.
        context: the longest conversation in tokens.
    """

    def __init__(
        self, tokenizer: Any, chat_template: str, media: MediaProcessor, backbone: Backbone, context: int
    ) -> None:
        self.tokenizer, self.media, self.context = tokenizer, media, context
        self.template, self._backbone = chat_template, backbone
        self._image_id, self._video_id = backbone.image_token_id, backbone.video_token_id
        self._image_mark = _mark(tokenizer, "image_token_id", self._image_id)
        self._video_mark = _mark(tokenizer, "video_token_id", self._video_id)

    def render(self, messages: Sequence[Message], *, generate: bool = False) -> str:
        """The text of a conversation, one placeholder per picture; ``generate`` opens the next assistant turn."""
        plain = [{"role": m.role, "content": _plain(m)} for m in messages]
        try:
            text: str = self.tokenizer.apply_chat_template(
                plain, chat_template=self.template, tokenize=False, add_generation_prompt=generate
            )
        except Exception as error:  # a template is a program of its own, and may divide by zero
            raise InputError(f"the chat template refuses these messages: {error}") from error
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{text[error.start]!r} in a text is half of a pair and no character; mend it") from None
        return text

    def encode(
        self, text: str, messages: Sequence[Message], table: MediaTable, where: str, *, place: bool = True
    ) -> Conversation:
        """Token rows of a rendered conversation; without ``place`` their positions are left at 0, which is quicker.

        Raises:
            InputError: the text has another number of placeholders than the messages have pictures.
            LengthError: the conversation is longer than the context.
            MediaError: a picture cannot be used.
        """
        parts = [part for message in messages for part in message.parts if not isinstance(part, Text)]
        self._check_marks(text, parts, where)
        indices = [table.add(part, self.media, where) for part in parts]
        media = [table.media[index] for index in indices]
        if self._backbone.spec.video_timestamps:
            text = self._spell_times(text, media)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        runs = self._runs(list(zip(indices, media, strict=True)))
        length = len(ids) + sum(count - 1 for _, _, count in runs)
        if length > self.context:
            raise LengthError(f"{where}: {length} tokens, the model's context is {self.context}; shorten it")
        rows_TC = self._expand(np.asarray(ids, dtype=np.int64), runs)
        if place:
            rows_TC[:, Column.TIME :] = self._backbone.positions(rows_TC[:, Column.ID], media)
        return Conversation(rows_TC, where)

    def _check_marks(self, text: str, parts: Sequence[Image | Video], where: str) -> None:
        for kind, mark, name in ((Image, self._image_mark, "picture"), (Video, self._video_mark, "video")):
            wanted, found = sum(isinstance(part, kind) for part in parts), text.count(mark)
            if wanted != found:
                raise InputError(
                    f"{where}: {wanted} {name}s but {found} {mark} in the rendered text; the mark must not be "
                    f"written in a message, and the chat template must take {name}s in every role used"
                )

    def _spell_times(self, text: str, media: Sequence[Medium]) -> str:
        """Put the time before each frame, with a placeholder run of its own, in place of a video's one mark."""
        start = self.tokenizer.convert_ids_to_tokens(self._backbone.config.vision_start_token_id)
        end = self.tokenizer.convert_ids_to_tokens(self._backbone.config.vision_end_token_id)
        whole = f"{start}{self._video_mark}{end}"
        pieces = text.split(whole)
        videos = [medium for medium in media if medium.kind == "video"]
        spelled = pieces[0]
        for medium, piece in zip(videos, pieces[1:], strict=True):
            times = self.media.frame_times(medium)
            spelled += "".join(f"<{time:.1f} seconds>{whole}" for time in times) + piece
        return spelled

    def _runs(self, media: Sequence[tuple[int, Medium]]) -> list[tuple[int, int, int]]:
        """For each placeholder in the text: the medium's index, its first visual token, and how many."""
        runs = []
        for index, medium in media:
            steps = medium.grid[0] if self._backbone.spec.video_timestamps else 1
            count = medium.tokens // steps
            runs += [(index, step * count, count) for step in range(steps)]
        return runs

    def _expand(self, ids: IntArray, runs: Sequence[tuple[int, int, int]]) -> IntArray:
        """Repeat each placeholder and say what stands behind each copy."""
        at = np.flatnonzero((ids == self._image_id) | (ids == self._video_id))
        repeats = np.ones(len(ids), dtype=np.int64)
        repeats[at] = [count for _, _, count in runs]
        rows_TC = np.zeros((int(repeats.sum()), len(Column)), dtype=np.int64)
        rows_TC[:, Column.ID] = np.repeat(ids, repeats)
        rows_TC[:, [Column.MEDIUM, Column.FEATURE]] = -1
        begins = np.cumsum(repeats) - repeats
        for begin, (index, first, count) in zip(begins[at].tolist(), runs, strict=True):
            span = rows_TC[begin : begin + count]
            span[:, Column.MEDIUM] = index
            span[:, Column.OFFSET] = np.arange(count)
            span[:, Column.FEATURE] = first + span[:, Column.OFFSET]
        return rows_TC


def _mark(tokenizer: Any, name: str, token: int) -> str:
    """The text that stands for a picture or a video, from its id in config.json."""
    mark = tokenizer.convert_ids_to_tokens(token)
    if not isinstance(mark, str):
        raise CheckpointError(
            f"{tokenizer.name_or_path}: {name} {token} of config.json is no token of the tokenizer; they are of "
            "different models"
        )
    return mark


def _plain(message: Message) -> str | list[dict[str, str]]:
    """A message's content as templates take it, with pictures as bare marks."""
    if isinstance(message.content, str):
        return message.content
    marks = {Image: "image", Video: "video"}
    return [
        {"type": "text", "text": part.text} if isinstance(part, Text) else {"type": marks[type(part)]}
        for part in message.content
    ]
