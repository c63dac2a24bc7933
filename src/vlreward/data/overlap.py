"""What a file of preferences has in common with a benchmark: questions, and pictures by what they show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlreward.errors import InputError
from vlreward.types import Group, Image, Message, Part, Text

from .content import Looker, question_digests
from .dataset_info import find_entry
from .groups import group_of
from .marks import media_of
from .parts import list_sources, resolve_paths
from .ranking_format import Reading
from .rows import Row, read_rows

# What benchmarks call the question and its pictures, where they are no groups or preferences that we read.
QUESTION_KEYS = ("query", "question", "prompt", "Text", "instruction", "input", "problem", "sentence")
PICTURE_KEYS = ("image", "images", "Image", "image_path")
_FIRST = 5


@dataclass(kw_only=True)
class Overlap:
    """What rows have in common with one benchmark."""

    benchmark: str
    """Its file."""
    items: int = 0
    """Its items."""
    pictures_not_there: int = 0
    """Pictures of it that cannot be opened, and so are not found in any row."""
    questions: int = 0
    """Rows that ask a question of it."""
    pictures: int = 0
    """Rows that show a picture of it."""
    both: int = 0
    """Rows that ask a question of it about the picture that it is asked about there."""
    items_hit: int = 0
    """Items of it whose question or picture is in some row."""
    first: list[str] = field(default_factory=list)
    """The first of these rows."""


class Benchmark:
    """The questions and pictures of a benchmark file.

    Args:
        path: groups or preferences in any form that we read, or rows with a question (``query``, ``question``,
            ``prompt``, …) and pictures (``image``, ``images``).
        looker: opens the pictures.
        media_dir: where relative paths start; otherwise the file's folder.

    Raises:
        InputError: the file cannot be read, or a row has no question.
    """

    def __init__(self, path: str | Path, looker: Looker, media_dir: str | Path | None = None) -> None:
        self.overlap = Overlap(benchmark=str(path))
        self._by_question: defaultdict[int, list[int]] = defaultdict(list)
        self._by_picture: defaultdict[int, list[int]] = defaultdict(list)
        self._places: list[str] = []
        self._hit: set[int] = set()
        for where, messages in _items(Path(path), media_dir):
            self._add(where, messages, looker)

    def _add(self, where: str, messages: Sequence[Message], looker: Looker) -> None:
        number = len(self._places)
        self._places.append(where)
        self.overlap.items += 1
        for question in question_digests(messages):
            self._by_question[question].append(number)
        for part in media_of(messages):
            medium = looker.look(part)
            if medium.problem:
                self.overlap.pictures_not_there += 1
            else:
                self._by_picture[medium.digest].append(number)

    def compare(self, where: str, questions: Sequence[int], pictures: Sequence[int]) -> None:
        """Count a row, given the digests of what it asks and shows."""
        asked = {item for question in questions for item in self._by_question.get(question, ())}
        shown = {item for picture in pictures for item in self._by_picture.get(picture, ())}
        if not asked and not shown:
            return
        found = self.overlap
        found.questions += bool(asked)
        found.pictures += bool(shown)
        found.both += bool(asked & shown)
        self._hit |= asked | shown
        found.items_hit = len(self._hit)
        if len(found.first) < _FIRST:
            what = "question and picture" if asked & shown else "question" if asked else "picture"
            found.first.append(f"{where}: the {what} of {self._places[min(asked & shown or asked or shown)]}")


def _items(path: Path, media_dir: str | Path | None) -> Iterator[tuple[str, tuple[Message, ...]]]:
    rows, entry = read_rows(path), find_entry(path)
    folder = Path(media_dir) if media_dir is not None else entry.folder if entry else path.parent
    reading = Reading(folder=folder, entry=entry)
    for row in rows:
        yield row.where, _prompt(row, reading)


def _prompt(row: Row, reading: Reading) -> tuple[Message, ...]:
    try:
        return group_of(row, reading).messages
    except InputError as error:
        found = _plain_question(row, reading.folder)
        if found is None:
            raise error
        return found


def _plain_question(row: Row, folder: Path) -> tuple[Message, ...] | None:
    values = {key: value for key, value in row.data.items() if value is not None}
    question = next((values[key] for key in QUESTION_KEYS if isinstance(values.get(key), str)), None)
    if question is None:
        return None
    listed: Any = next((values[key] for key in PICTURE_KEYS if key in values), None)
    sources = list_sources(None if isinstance(listed, Mapping) and not listed else listed, "image", "image", row.where)
    parts: tuple[Part, ...] = (*(Image(source=source) for source in sources), Text(text=question))
    return resolve_paths(Group([Message("user", parts)], [""]), folder, row.where).messages
