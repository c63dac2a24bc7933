"""What a reward model has done since it was loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """Sums over all calls; only ever grow."""

    conversations: int = 0
    """Scored, equal ones counted each."""
    tokens: int = 0
    """Of each conversation by itself, media included."""
    computed_tokens: int = 0
    """That went through the language model: shared ones once."""
