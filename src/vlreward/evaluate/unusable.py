"""Items that cannot be used, said in the same words by errors, warnings and reports."""

from __future__ import annotations

from collections.abc import Sequence

from vlreward.errors import InputError

LISTED = 10
"""Items that a line names; the record beside the scores names all."""


def unusable_words(reasons: Sequence[str], good: int, unit: str, advice: str = "") -> str:
    """``2 of 24 pairs cannot be used: …``, with what is wrong with the first of them.

    Args:
        reasons: what is wrong with each.
        good: how many others there are.
        unit: what they are, in the plural.
        advice: what to do about it, for brackets.
    """
    number = len(reasons)
    brackets = f" ({advice})" if advice else ""
    more = f"; and {number - LISTED:,} more" if number > LISTED else ""
    return f"{number:,} of {number + good:,} {unit} cannot be used{brackets}: {'; '.join(reasons[:LISTED])}{more}"


def refusal(errors: Sequence[InputError], good: int, unit: str, *, allowed: bool) -> InputError:
    """Why nothing is scored, in one line.

    Args:
        errors: what is wrong with each that cannot be used; not empty.
        good: how many others there are.
        unit: what they are, in the plural.
        allowed: whether to go on without them was asked for.

    Returns:
        The error of the only one, where there is no other, so that it keeps its kind.
    """
    if len(errors) == 1 and not allowed:
        return type(errors[0])(f"{errors[0]}; --allow-missing goes on without such {unit}")
    advice = "--allow-missing goes on without them" if good else "none is left"
    return InputError(unusable_words([str(error) for error in errors], good, unit, advice))
