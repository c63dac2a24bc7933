"""The pairwise part of LLaVA-Critic-113k: both answers inside the human turn, the verdict in the other.

The human turn is an instruction, then ``Question: […]`` and two answers in brackets under one of a few pairs of labels;
the verdict is ``The better response: [1]`` or a like one, or says that the two are equally good. The answers are taken
apart and the verdict becomes the ranking. Ties, verdicts that say neither, and turns in which the two answers cannot be
told apart are dropped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vlreward.errors import InputError, UnsupportedError
from vlreward.types import Image, Message, Part, Ranking, Text

from .parts import list_sources, resolve_paths
from .ranking_format import (
    Dropped,
    RankingFormat,
    Reading,
    common_columns,
    image_type,
    make_pair,
    optional_text,
    pair_of,
    plain_text,
    refuse_limits,
)
from .rlaif_v import asked, picture_column
from .rows import Row, known_values
from .targets import Target

_NAME = "llava-critic"
_KEYS = ("id", "source", "conversations", "image", "margin")
_LABELS = (("The first response", "The second response"), ("Response 1", "Response 2"), ("Response A", "Response B"))
_SIDES = {"1": 0, "first": 0, "a": 0, "2": 1, "second": 1, "b": 1}
_NEITHER = {"tie", "equal", "equally", "both", "neither", "none"}
_IN_BRACKETS = re.compile(r"\bbetter response(?: is)?:?\s*\[\s*(?:the\s+)?(?:response\s+)?(\w+)[^\]]*\]", re.IGNORECASE)
# Without brackets a letter may be a word of the sentence.
_IN_WORDS = re.compile(r"\bbetter response(?: is|:)\s*(?:the\s+)?(?:response\s+)?(1|2|first|second)\b", re.IGNORECASE)
_TIE = re.compile(r"\bequally (?:good|bad)\b", re.IGNORECASE)
# Where an instruction behind the answers has brackets of its own, they may have been taken for the answer's.
_INSTRUCTION = re.compile(r"\bbetter response:\s*\[", re.IGNORECASE)

TIE = "tie"
NO_VERDICT = "malformed verdict"
NO_ANSWERS = "answers not told apart"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A human turn, taken apart."""

    question: str
    answers: tuple[str, str]


def _matches(keys: Collection[str]) -> bool:
    return "conversations" in keys and not {"chosen", "rejected"} & set(keys)


def _read(row: Row, reading: Reading) -> Ranking | Dropped:
    values, where = known_values(row, _KEYS, reading.ignore), row.where
    human, verdict = _turns(values.get("conversations"), where)
    id = reading.ids.distinct(row)
    comparison = take_apart(human)
    if comparison is None:
        return Dropped(reason=NO_ANSWERS)
    values["task"] = optional_text(values, "source", where)
    images = [Image(source=source) for source in list_sources(values.get("image"), "image", "image", where)]
    marks = human.count("<image>") - sum(answer.count("<image>") for answer in comparison.answers)
    if marks != len(images) and (marks or len(images) > 1):
        raise InputError(f"{where}: {len(images)} in 'image' but {marks} <image> in the human turn")
    content: tuple[Part, ...] = (*images, Text(text=comparison.question))
    asking = Message("user", content if images else comparison.question)
    better = better_of(verdict)
    chosen, rejected = comparison.answers[::-1] if better == 1 else comparison.answers
    ranking = make_pair([asking], chosen, rejected, values=values, id=id, where=where)
    ranking = replace(ranking, group=resolve_paths(ranking.group, reading.folder, where))
    if better is None:
        return Dropped(reason=TIE if is_tie(verdict) else NO_VERDICT, group=ranking.group)
    return ranking


def _turns(value: Any, where: str) -> tuple[str, str]:
    """The texts of the human turn and of the verdict."""
    if not isinstance(value, list) or len(value) != 2:
        raise InputError(f"{where}: 'conversations' must be a human and a gpt turn")
    texts = []
    for turn, role in zip(value, ("human", "gpt"), strict=True):
        if not isinstance(turn, Mapping) or turn.get("from") != role or not isinstance(turn.get("value"), str):
            raise InputError(f"{where}: expected a turn from {role!r} with a text as 'value', got {turn!r:.60}")
        texts.append(turn["value"])
    return texts[0], texts[1]


def take_apart(human: str) -> Comparison | None:
    """The question and the two answers of a human turn, exactly as they stand in their brackets.

    Returns:
        None when there are no such brackets, or they can be read in more than one way.
    """
    found = [parts for labels in _LABELS if (parts := _split(human, *labels)) is not None]
    if len(found) != 1:
        return None
    question, *answers = found[0]
    if any(_INSTRUCTION.search(answer) for answer in answers):
        return None
    if "<image>" in question:
        question = question.replace("<image>", "").strip()
    return Comparison(question=question, answers=(answers[0], answers[1]))


def _split(human: str, first: str, second: str) -> tuple[str, str, str] | None:
    _, begun, rest = human.partition("Question: [")
    ends = [match.start() for match in re.finditer(r"\]\s*(?:\n|$)", rest)]
    if not begun or not ends:
        return None
    pieces = re.split(rf"\]\s*\n\s*{first}:\s*\[", rest[: ends[-1]])
    if len(pieces) != 2:
        return None
    answers = re.split(rf"\]\s*\n\s*{second}:\s*\[", pieces[1])
    if len(answers) != 2:
        return None
    return pieces[0], answers[0], answers[1]


def better_of(verdict: str) -> int | None:
    """The index of the answer that a verdict calls better; None when it calls neither so, or both."""
    sides = {_SIDES.get(word) for word in _named(verdict)}
    return sides.pop() if len(sides) == 1 else None


def is_tie(verdict: str) -> bool:
    """Whether a verdict says that neither answer is better."""
    named = _named(verdict)
    return named <= _NEITHER and bool(named or _TIE.search(verdict))


def _named(verdict: str) -> set[str]:
    """The words by which a verdict names the better response, lower-cased."""
    return {word.lower() for word in _IN_BRACKETS.findall(verdict) or _IN_WORDS.findall(verdict)}


def _write(ranking: Ranking, target: Target, where: str) -> dict[str, Any]:
    pair = pair_of(ranking, _NAME, where)
    refuse_limits(ranking.group, _NAME, where)
    source, question = asked(pair, _NAME, where)
    answers = plain_text(pair.chosen, _NAME, where), plain_text(pair.rejected, _NAME, where)
    # Which side the better answer is on is drawn from the row's content: a judge trained on the file must not learn it.
    swapped = hashlib.sha256("\0".join((question, *answers)).encode()).digest()[0] % 2
    shown = answers[::-1] if swapped else answers
    human = _human(question, shown, has_image=source is not None)
    if take_apart(human) != Comparison(question=question, answers=shown):
        raise UnsupportedError(
            f"{where}: its texts hold brackets or marks in which {_NAME} could not be taken apart again"
        )
    row: dict[str, Any] = {"image": picture_column(source, target, where)}
    verdict = f"The better response: [{2 if swapped else 1}]."
    row["conversations"] = [{"from": "human", "value": human}, {"from": "gpt", "value": verdict}]
    columns = common_columns(ranking, margin=pair.margin)
    if "task" in columns:
        columns["source"] = columns.pop("task")
    return columns | row


def _human(question: str, answers: tuple[str, ...], *, has_image: bool) -> str:
    first, second = _LABELS[0]
    lines = [
        "Which of two responses to a question about an image is better?",
        f"Question: [{question}]",
        f"{first}: [{answers[0]}]",
        f"{second}: [{answers[1]}]",
    ]
    return "\n".join((["<image>"] if has_image else []) + lines)


def _schema() -> Any:
    import pyarrow as pa

    turn = pa.struct({"from": pa.string(), "value": pa.string()})
    columns = {"id": pa.string(), "source": pa.string(), "conversations": pa.list_(turn), "image": image_type()}
    return pa.schema(columns | {"margin": pa.float64()})


LLAVA_CRITIC = RankingFormat(
    name=_NAME,
    about="conversations of a human turn that holds both answers and a gpt turn with the verdict, image",
    matches=_matches,
    read=_read,
    write=_write,
    schema=_schema,
)
