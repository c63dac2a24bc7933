"""Right or wrong by a key of correct answers."""

from __future__ import annotations

import functools
import re
import threading
import unicodedata
from collections.abc import Callable
from typing import TypeAlias

from vlreward.data.content import text_of
from vlreward.errors import require
from vlreward.types import Group

Match: TypeAlias = Callable[[str, str], bool]
"""Whether an answer, as it was written, says what the key says."""

_LEAD = re.compile(r"(?:final answer|answer is|answer)\s*[:=]?\s*", re.IGNORECASE)
_BOX = "\\boxed{"
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def tagged_answer(response: str) -> str:
    """What stands in the last ``<answer>…</answer>`` of a response; all of it where there is none."""
    found = _TAGGED.findall(response)
    return str(found[-1]).strip() if found else response


def final_answer(text: str) -> str:
    """What an answer comes down to: of its `tagged_answer` the last ``\\boxed{…}``, else the rest of the line behind
    the last "answer", else all of it."""
    text = tagged_answer(text)
    at = text.rfind(_BOX)
    if at >= 0:
        return _inside(text[at + len(_BOX) :])
    leads = list(_LEAD.finditer(text))
    return text[leads[-1].end() :].partition("\n")[0].strip() if leads else text.strip()


def _inside(text: str) -> str:
    """Up to the brace that closes the one before; all of it where none does."""
    depth = 1
    for i, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:i].strip()
    return text.strip()


def normal_form(text: str) -> str:
    """Without what says nothing: case, the width of letters, spaces, and quotes, brackets and stops around it."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip("\"'`*$()[] .,;:!").strip()


def exact_match(answer: str, key: str) -> bool:
    """Whether the `final_answer`, or all of the `tagged_answer`, is the key, but for what `normal_form` takes away."""
    wanted = normal_form(key)
    return wanted in (normal_form(final_answer(answer)), normal_form(tagged_answer(answer)))


def math_match(answer: str, key: str) -> bool:
    """Whether the `tagged_answer` and the key are one mathematical value, by math-verify; 0.5 and 1/2 are.

    Its limits of five seconds for each step hold in the main thread only.

    Raises:
        MissingDependency: math-verify is not installed.
    """
    math_verify = require("math_verify", extra="math", purpose="comparing mathematical answers")
    # It counts time by signals, which no other thread may set.
    elsewhere = threading.current_thread() is not threading.main_thread()
    parse = functools.partial(math_verify.parse, **({"parsing_timeout": None} if elsewhere else {}))
    # A key is a value alone; dollar signs make LaTeX of it, which its parser looks for.
    values = parse(key) or parse(f"${key}$")
    found = parse(tagged_answer(answer))
    return bool(math_verify.verify(values, found, **({"timeout_seconds": None} if elsewhere else {})))


def right_answers(group: Group, key: str, match: Match = exact_match) -> tuple[bool, ...]:
    """Which of a group's answers say what the key says."""
    return tuple(match(text_of(response), key) for response in group.responses)
