"""What a file of preferences holds, and what should be looked at before training on it."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from vlreward.errors import InputError
from vlreward.types import Image, Ranking

from .content import Looker, Medium, conversation_digest, digest_of, has_equal_answers, question_digests, text_of
from .length_bias import LengthBias, LengthBiasCount
from .marks import media_of
from .overlap import Benchmark, Overlap
from .ranking_format import Dropped
from .rankings import RankingRow

_MOST_TASKS = 100


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How numbers are spread."""

    median: float
    p95: float
    most: float
    mean: float


@dataclass(kw_only=True)
class DataCheck:
    """What was found in preference data."""

    files: list[str] = field(default_factory=list)
    """The files, in the order read."""
    formats: list[str] = field(default_factory=list)
    """Their formats, each once."""
    rows: int = 0
    """Rows, sound or not."""
    rankings: int = 0
    """Rows that are rankings."""
    responses: dict[int, int] = field(default_factory=dict)
    """How many rankings have so many responses."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows that say no preference, by reason."""
    errors: int = 0
    """Rows that are wrong, or show a picture or video that cannot be used."""
    problems: list[str] = field(default_factory=list)
    """What is wrong with the first of them."""
    tied: int = 0
    """Rankings in which all responses have one rank."""
    equal_answers: int = 0
    """Rankings of which a better and a worse response are the same, in text and in pictures."""
    duplicates: int = 0
    """Rankings that say what an earlier one says."""
    contradictions: int = 0
    """Rankings of the same conversations as an earlier one, but in another order."""
    repeated: list[str] = field(default_factory=list)
    """The first of each of the last three kinds."""
    several_turns: int = 0
    """Rankings whose prompt has more than one user message."""
    with_system: int = 0
    """Rankings whose prompt has a system message."""
    with_margin: int = 0
    """Rankings that say how much better the better response is."""
    tasks: dict[str, int] = field(default_factory=dict)
    """Rankings of each task or source, where the file says so; at most the first hundred names."""
    prompt_length: Spread | None = None
    """Characters of the prompt."""
    better_length: Spread | None = None
    """Characters of the best response."""
    worse_length: Spread | None = None
    """Characters of the other responses."""
    length_bias: LengthBias | None = None
    """How often the longer of two answers, in characters, is the better one."""
    with_pictures: int = 0
    """Rankings that show a picture anywhere."""
    with_videos: int = 0
    """Rankings that show a video anywhere."""
    with_pictures_in_answers: int = 0
    """Rankings that show a picture or video in a response."""
    different_pictures: int = 0
    """Rankings of which two responses are seen with different pictures or videos."""
    pictures: int = 0
    """Pictures and videos shown, each as often as it is shown; a prompt's once."""
    distinct_pictures: int = 0
    """Different ones among them."""
    picture_pixels: Spread | None = None
    """Width × height of the pictures that were opened."""
    overlaps: list[Overlap] = field(default_factory=list)
    """What the rows have in common with benchmarks."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


def check_rankings(
    files: Iterable[tuple[str, Iterable[RankingRow]]],
    *,
    looker: Looker | None = None,
    against: Sequence[Benchmark] = (),
    most_problems: int = 10,
) -> DataCheck:
    """Read preferences and say what they are. Memory holds a row at a time and a few hundred bytes for each row.

    Args:
        files: name and rows of each file, as `scan_rankings` reads them.
        looker: how pictures are looked at; otherwise each is opened.
        against: benchmarks to compare with.
        most_problems: how many rows that are wrong, and how many of each kind that repeat others, are named.

    Raises:
        InputError: a file itself is missing, empty or unreadable; or there is none.
    """
    checker = _Checker(looker or Looker(), against, most_problems)
    for name, rows in files:
        checker.found.files.append(name)
        for row in rows:
            checker.add(row)
    if not checker.found.files:
        raise InputError("no files to check")
    return checker.finish()


class _Checker:
    def __init__(self, looker: Looker, against: Sequence[Benchmark], most_problems: int) -> None:
        self.found = DataCheck()
        self._looker, self._against, self._most = looker, against, most_problems
        self._counts = {name: Counter[Any]() for name in ("responses", "dropped", "tasks")}
        self._lengths = {name: array("L") for name in ("prompt", "better", "worse")}
        self._pixels = array("L")
        self._pictures: set[int] = set()
        self._bias = LengthBiasCount()
        self._index = _Index()

    def add(self, row: RankingRow) -> None:
        """Count one row."""
        found = self.found
        found.rows += 1
        if row.format is not None and row.format not in found.formats:
            found.formats.append(row.format)
        if isinstance(row.content, InputError):
            self._problem(str(row.content))
        elif isinstance(row.content, Dropped):
            self._counts["dropped"][row.content.reason] += 1
        else:
            self._ranking(row, row.content)

    def _problem(self, message: str) -> None:
        self.found.errors += 1
        if len(self.found.problems) < self._most:
            self.found.problems.append(message)

    def _ranking(self, row: RankingRow, ranking: Ranking) -> None:
        found, group, where = self.found, ranking.group, row.where
        found.rankings += 1
        found.tied += len(group) > 1 and len(set(ranking.ranks)) == 1
        found.several_turns += sum(message.role == "user" for message in group.messages) > 1
        found.with_system += any(message.role == "system" for message in group.messages)
        found.with_margin += ranking.margin is not None
        self._counts["responses"][len(group)] += 1
        tasks = self._counts["tasks"]
        if group.task is not None and (group.task in tasks or len(tasks) < _MOST_TASKS):
            tasks[group.task] += 1
        self._measure(ranking)
        prompt = [self._looker.look(part) for part in media_of(group.messages)]
        answers = [[self._looker.look(part) for part in media_of(answer)] for answer in group.responses]
        self._media(where, ranking, prompt, answers)
        conversations = [
            conversation_digest(conversation, prompt + answer)
            for conversation, answer in zip(group.conversations(), answers, strict=True)
        ]
        self._compare(row, ranking, conversations)
        shown = [medium.digest for medium in [*prompt, *(medium for answer in answers for medium in answer)]]
        questions = question_digests(group.messages)
        for benchmark in self._against:
            benchmark.compare(where, questions, shown)

    def _measure(self, ranking: Ranking) -> None:
        lengths = [len(text_of(response)) for response in ranking.group.responses]
        self._lengths["prompt"].append(len(text_of(ranking.group.messages)))
        for length, rank in zip(lengths, ranking.ranks, strict=True):
            self._lengths["better" if rank == min(ranking.ranks) else "worse"].append(length)
        self._bias.add(lengths, ranking.ranks)

    def _media(self, where: str, ranking: Ranking, prompt: list[Medium], answers: list[list[Medium]]) -> None:
        found = self.found
        media = [*prompt, *(medium for answer in answers for medium in answer)]
        messages = [*ranking.group.messages, *(message for answer in ranking.group.responses for message in answer)]
        are_images = [isinstance(part, Image) for part in media_of(messages)]
        found.with_pictures += any(are_images)
        found.with_videos += not all(are_images)
        found.with_pictures_in_answers += any(answers)
        found.different_pictures += len({tuple(medium.digest for medium in answer) for answer in answers}) > 1
        found.pictures += len(media)
        self._pictures.update(medium.digest for medium in media)
        self._pixels.extend(medium.pixels for medium in media if medium.pixels is not None)
        problem = next((medium.problem for medium in media if medium.problem), None)
        if problem:
            self._problem(f"{where}: {problem}")

    def _compare(self, row: RankingRow, ranking: Ranking, conversations: list[int]) -> None:
        found, where = self.found, row.where
        by_rank = list(zip(ranking.ranks, conversations, strict=True))
        if has_equal_answers(ranking.ranks, conversations):
            found.equal_answers += 1
            self._repeated(f"{where}: a better and a worse response are the same", found.equal_answers)
        earlier = self._index.add(row, by_rank)
        if earlier is None:
            return
        place, is_same = earlier
        if is_same:
            found.duplicates += 1
            self._repeated(f"{where}: says what {place} says", found.duplicates)
        else:
            found.contradictions += 1
            self._repeated(f"{where}: ranks otherwise what {place} ranks", found.contradictions)

    def _repeated(self, message: str, count: int) -> None:
        if count <= self._most:
            self.found.repeated.append(message)

    def finish(self) -> DataCheck:
        """The counts as they came out."""
        found = self.found
        found.responses = dict(sorted(self._counts["responses"].items()))
        found.dropped, found.tasks = dict(self._counts["dropped"]), dict(self._counts["tasks"].most_common())
        found.prompt_length, found.better_length, found.worse_length = map(_spread, self._lengths.values())
        found.picture_pixels = _spread(self._pixels)
        found.distinct_pictures = len(self._pictures)
        found.length_bias = self._bias.result()
        found.overlaps = [benchmark.overlap for benchmark in self._against]
        return found


class _Index:
    """What rows have said so far, by the conversations that they compare: about 200 bytes for each."""

    def __init__(self) -> None:
        self._said: dict[int, int] = {}
        self._files: list[str] = []

    def add(self, row: RankingRow, by_rank: list[tuple[int, int]]) -> tuple[str, bool] | None:
        """Note a row.

        Args:
            row: the row.
            by_rank: rank and digest of each conversation.

        Returns:
            The place of the first row that compares the same conversations, and whether it ranks them the same; None
            when there is none.
        """
        compared = _digest(sorted(conversation for _, conversation in by_rank))
        said = _digest([number for pair in sorted(by_rank) for number in pair])
        file = row.where.removesuffix(str(row.number))
        if file not in self._files[-1:]:
            self._files.append(file)
        value = (len(self._files) - 1) << 128 | row.number << 64 | said
        earlier = self._said.setdefault(compared, value)
        if earlier is value:
            return None
        number = earlier >> 64 & 0xFFFF_FFFF_FFFF_FFFF
        return f"{self._files[earlier >> 128]}{number}", earlier & 0xFFFF_FFFF_FFFF_FFFF == said


def _digest(numbers: Iterable[int]) -> int:
    return digest_of(number.to_bytes(8, "big") for number in numbers)


def _spread(numbers: array[int]) -> Spread | None:
    if not numbers:
        return None
    values = np.sort(np.array(numbers))
    p95 = values[math.ceil(0.95 * len(values)) - 1]
    return Spread(median=float(np.median(values)), p95=float(p95), most=float(values[-1]), mean=float(values.mean()))
