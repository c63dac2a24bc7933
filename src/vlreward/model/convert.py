"""From one form of reward-model checkpoint to another, with the proof that scores did not move."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlreward.errors import CheckpointError
from vlreward.types import Group

from .backbone import spec_for
from .checkpoints import (
    FORMS,
    CheckpointFolder,
    Question,
    check_tensors,
    identify,
    read_head,
    read_metadata,
    token_logit,
    write_checkpoint,
)
from .checkpoints.writing import check_out

TOLERANCE = 1e-5
"""Most that a probe's score may differ. Backbone and head are copied bit by bit: the measured difference is 0."""
_FLOAT32_PROOF = 8_000_000_000
"""Bytes of weights in float32 up to which the proof runs in float32; beyond, in the checkpoint's own dtype."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What `convert` did."""

    source: str
    """The path or hub id, as given."""
    out: str
    """The folder that was written."""
    form_before: str
    """The form of the source."""
    form: str
    """The form that was written."""
    head: str
    """The head in one phrase."""
    notes: tuple[str, ...]
    """What a user of other tools has to know, each a sentence."""
    probes: int
    """Number of conversations that were scored with both; 0 without the proof."""
    max_difference: float | None
    """Largest difference between the scores before and after; None without the proof."""
    proof_dtype: str | None
    """Dtype of the backbone in the proof; None without it."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {**asdict(self), "notes": list(self.notes)}


def convert(
    source: str | Path,
    form: str,
    out: str | Path,
    overwrite: bool = False,
    prove: bool = True,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    question: Question | None = None,
) -> Conversion:
    """Write a reward model in another form. The weights are copied file by file, never loaded for it.

    Args:
        source: a folder, else a hub id.
        form: ``sequence-classification``, ``value-head``, ``reward-head`` or ``token-logit``.
        out: the folder to make; it appears when all is well, or not at all.
        overwrite: replace ``out`` if it is a model folder.
        prove: score a few built-in conversations, with pictures, with both models and compare.
        revision: a branch, tag or commit of the hub id.
        local_files_only: take a hub id from the local cache only.
        question: read the source as a token-logit head that asks this.

    Raises:
        CheckpointError: the source is incomplete or broken, or scores moved.
        ConfigError: ``out`` is there and is not to be overwritten, or there is no such form.
        UnsupportedError: the form cannot hold the source's head, or the backbone is not a known one.
    """
    check_out(Path(out), overwrite=overwrite)
    folder = CheckpointFolder.open(source, revision, local_files_only)
    spec = spec_for(folder.config, folder.name)
    head = read_head(folder, question)
    check_tensors(folder)
    before = identify(folder, question).NAME
    replaced = _replaced_heads(folder) if before == token_logit.NAME else ()
    dtype = _proof_dtype(folder) if prove else None
    differences: list[float] = []

    def compare(partial: Path) -> None:
        if dtype is not None:
            differences.extend(_score_differences(folder, partial, dtype, question))

    notes = write_checkpoint(
        head=head,
        state=None,
        spec=spec,
        source=folder,
        out=out,
        form=form,
        metadata=read_metadata(folder),
        overwrite=overwrite,
        verify=compare,
    )
    return Conversion(
        source=str(source),
        out=str(out),
        form_before=before,
        form=form,
        head=head.describe(),
        notes=(*replaced, *notes),
        probes=len(differences),
        max_difference=max(differences, default=None),
        proof_dtype=dtype,
    )


def _replaced_heads(folder: CheckpointFolder) -> tuple[str, ...]:
    """Notes on heads of the source that a question was asked instead of."""
    names = [form.NAME for form in FORMS if form is not token_logit and form.matches(folder)]
    return tuple(f"the source's own head ({name}) is left out: the question was asked instead" for name in names)


def probe_groups() -> list[Group]:
    """Conversations that every model can score: text, pictures of several sizes, several turns, an empty answer."""
    picture = {"type": "image", "image": _gradient(112, 84, 0)}
    wide = {"type": "image", "image": _gradient(196, 56, 7)}
    ask = {"type": "text", "text": "What do you see?"}
    both = {"type": "text", "text": "Compare the two pictures."}
    turns: list[Mapping[str, Any]] = [
        {"role": "user", "content": [picture, ask]},
        {"role": "assistant", "content": "A gradient."},
        {"role": "user", "content": "In which direction does it grow brighter?"},
    ]
    return [
        Group("What is 17 + 25?", ["42.", "It is 41, because 17 + 25 = 41.", ""], id="text"),
        Group([{"role": "user", "content": [picture, ask]}], ["Colours.", "A cat on a mat."], id="picture"),
        Group([{"role": "user", "content": [picture, wide, both]}], ["One is wider.", "They are equal."], id="two"),
        Group(turns, ["To the right.", "Downwards.\nOr so."], id="turns"),
    ]


def _gradient(width: int, height: int, shift: int) -> Any:
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[:height, :width]
    pixels = np.stack([2 * x + shift, 3 * y, x * y // 8 + 16 * shift], axis=-1) % 256
    return Image.fromarray(pixels.astype(np.uint8))


def _score_differences(folder: CheckpointFolder, written: Path, dtype: str, question: Question | None) -> list[float]:
    """How much each probe's score moved; the models are loaded one after the other.

    Raises:
        CheckpointError: a score moved by more than the tolerance.
    """
    before, after = _scores(folder.path, dtype, question), _scores(written, dtype, None)
    differences = [abs(a - b) for a, b in zip(before, after, strict=True)]
    # max() alone would pass over a difference that is not a number.
    worst = max(differences, key=lambda difference: (math.isnan(difference), difference))
    if not worst <= TOLERANCE:
        raise CheckpointError(
            f"{folder.name}: converted scores differ by up to {worst:.3g}, more than {TOLERANCE:g};"
            " nothing was written; please report this"
        )
    return differences


def _scores(path: Path, dtype: str, question: Question | None) -> list[float]:
    from .reward_model import RewardModel

    model = RewardModel.from_pretrained(path, dtype=dtype, device="cpu", question=question)
    scores = [score for group in model.score_groups(probe_groups()) for score in group]
    del model
    gc.collect()
    return scores


def _proof_dtype(folder: CheckpointFolder) -> str:
    in_float32 = 4 * sum(info.count for info in folder.tensors.values())
    return "float32" if in_float32 <= _FLOAT32_PROOF else "auto"
