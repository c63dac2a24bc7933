"""The known forms, and which of them a folder is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlreward.errors import CheckpointError, ConfigError, describe_unknown

from . import reward_head, sequence_classification, token_logit, value_head
from .folder import CheckpointFolder
from .form import Form
from .metadata import METADATA, read_metadata
from .question import Question

if TYPE_CHECKING:
    from vlreward.model.head import RewardHead

FORMS: tuple[Form, ...] = (sequence_classification, value_head, reward_head, token_logit)


def identify(folder: CheckpointFolder, question: Question | None = None) -> Form:
    """The form of the folder's reward head.

    Args:
        question: what a head asks that was read from the folder; another question than vlreward.json's can only have
            been asked of the LM head.

    Raises:
        CheckpointError: no form matches, several do, or another one than vlreward.json says.
    """
    if question is not None and question != read_metadata(folder).question:
        return token_logit
    found = [form for form in FORMS if form.matches(folder)]
    if not found:
        signs = ", ".join(form.SIGN for form in FORMS if form is not token_logit)
        raise CheckpointError(
            f"{folder.path}: no reward head found; known forms: {signs}; a model without one can be asked a question"
            " (token-logit)"
        )
    if len(found) > 1:
        names = " and ".join(f"{form.NAME} ({form.SIGN})" for form in found)
        raise CheckpointError(f"{folder.path}: {len(found)} reward heads found: {names}; remove all but one")
    said = read_metadata(folder).form
    if said not in (None, found[0].NAME):
        raise CheckpointError(
            f"{folder.path}: {METADATA} says that the head is {said}, found {found[0].NAME}; remove the stale one"
        )
    return found[0]


def form_named(name: str) -> Form:
    """The form of this name.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    forms = {form.NAME: form for form in FORMS}
    if name not in forms:
        raise ConfigError(f"form: {describe_unknown(name, forms)}")
    return forms[name]


def read_head(folder: CheckpointFolder, question: Question | None = None) -> RewardHead:
    """The folder's reward head.

    Args:
        question: read a token-logit head that asks this, whatever other head the folder holds.

    Raises:
        CheckpointError: there is no head, or more than one, or a tensor of it is missing, of another shape or not
            finite.
        ConfigError: a token of the question is not a single token.
    """
    if question is not None:
        return token_logit.ask(folder, question)
    head = identify(folder).read(folder)
    if head.question is None:
        # A question head that was written in a form of other tools: the question is in vlreward.json alone.
        head.question = read_metadata(folder).question
    return head
