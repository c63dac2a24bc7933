"""Where an answer can be cut."""

from __future__ import annotations

import re

# A sentence ends at closing punctuation that white space follows (so 3.5 does not), or at a line break. What is matched
# is not taken back: a million full stops are looked at once each.
_SENTENCE_END = re.compile(r"(?<![.!?…。！？])[.!?…。！？]++[\"'”’)\]*_]*+(?=\s)|[。！？]+|\n+")
_WORD = re.compile(r"\S")


def sentence_ends(text: str) -> list[int]:
    """Where each sentence of ``text`` ends, in characters; the last is the end of the text."""
    ends: list[int] = []
    last, first = len(text.rstrip()), _WORD.search(text)
    for match in _SENTENCE_END.finditer(text):
        if first is not None and first.start() < match.end() < last:
            ends.append(match.end())
            first = _WORD.search(text, match.end())
    return [*ends, len(text)]
