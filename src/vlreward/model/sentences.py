"""Where an answer can be cut."""

from __future__ import annotations

import re

# A sentence ends at closing punctuation that white space follows (so 3.5 does not), or at a line break.
_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’)\]*_]*(?=\s)|[。！？]+|\n+")


def sentence_ends(text: str) -> list[int]:
    """Where each sentence of ``text`` ends, in characters; the last is the end of the text."""
    ends: list[int] = []
    for match in _SENTENCE_END.finditer(text):
        start = ends[-1] if ends else 0
        if text[start : match.end()].strip() and text[match.end() :].strip():
            ends.append(match.end())
    return [*ends, len(text)]
