"""What a checkpoint is, from its config and the headers of its files; no weights are loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlreward.errors import VLRewardError

from .backbone import spec_for
from .checkpoints import CheckpointFolder, Question, identify, read_head, read_pixel_limits
from .checkpoints.headers import TensorInfo
from .checkpoints.names import TensorReport, compare_tensors, memory_name
from .checkpoints.token_logit import LM_HEAD
from .checkpoints.tokenizer import read_chat_template, read_tokenizer

PHOTOS = ((1920, 1080), (1024, 1024))
"""Width and height in pixels of what stands for a typical photo."""
PARTS = ("vision", "projector", "language", "lm_head", "reward_head", "left_over")
_PROJECTORS = ("visual.merger.", "visual.deepstack_merger_list.")


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What `inspect` found."""

    model: str
    """The path or hub id, as given."""
    path: str
    """The local folder."""
    form: str | None
    """The form of the reward head; None: there is none, or not one alone."""
    head: str | None
    """The head in one phrase: ``linear 3584 -> 1, with bias``."""
    backbone: str
    """``model_type`` of the config."""
    packable: bool
    """Whether conversations can be packed into one tree."""
    dtypes: Mapping[str, int]
    """Number of parameters by dtype, the reward head included."""
    parameters: Mapping[str, int]
    """Number of parameters by part, the keys of `PARTS`; tied embeddings count once, as language."""
    size_on_disk: int
    """Bytes of all weight files, the head's included."""
    min_pixels: int
    """Smallest picture after the resize, pixels."""
    max_pixels: int
    """Largest picture after the resize, pixels."""
    pixel_limits_from: str
    """The file that gives the limits, or ``default``."""
    visual_tokens: Mapping[str, int]
    """Visual tokens of photos by their size, ``1920x1080``, under these limits."""
    context_length: int | None
    """Tokens of the longest conversation, by the config."""
    chat_template: str | None
    """The file that holds the chat template; None: there is none."""
    missing: tuple[str, ...]
    """Tensors of the backbone that are not there, by their names in memory."""
    left_over: tuple[str, ...]
    """Tensors that belong to no part of the model."""
    misshapen: tuple[str, ...]
    """Tensors of another shape than the config asks for."""
    problems: tuple[str, ...]
    """What keeps the checkpoint from being scored with, one line each; empty: nothing found."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


def inspect(
    path_or_id: str | Path,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    question: Question | None = None,
) -> Inspection:
    """Say what a checkpoint is.

    Args:
        path_or_id: a folder, else a hub id.
        revision: a branch, tag or commit of the hub id.
        local_files_only: take a hub id from the local cache only.
        question: look at the folder as a token-logit head that asks this.

    Returns:
        What was found. A folder that can be read but not scored with (no head, two heads, a tensor missing) is no
        error here: it is among the problems.

    Raises:
        CheckpointError: the folder or one of its files cannot be read.
        UnsupportedError: the backbone is not a known one.
    """
    folder = CheckpointFolder.open(path_or_id, revision, local_files_only)
    spec = spec_for(folder.config, folder.name)
    problems: list[str] = []
    form, head_tensors, head = _look_at_head(folder, question, problems)
    report = compare_tensors(folder)
    problems += _tensor_problems(report)
    template = _look_at_small_files(folder, problems)
    limits = read_pixel_limits(folder)
    counted = {info.name: info for info in (*folder.tensors.values(), *head_tensors.values())}
    files = {info.file for info in counted.values()}
    return Inspection(
        model=str(path_or_id),
        path=str(folder.path),
        form=form,
        head=head,
        backbone=spec.model_type,
        packable=spec.packable,
        dtypes=_count_by_dtype(counted),
        parameters=_count_by_part(counted, head_tensors, report),
        size_on_disk=sum(file.stat().st_size for file in files),
        min_pixels=limits.min_pixels,
        max_pixels=limits.max_pixels,
        pixel_limits_from=limits.source,
        visual_tokens={f"{w}x{h}": visual_tokens(folder, w, h) for w, h in PHOTOS},
        context_length=_context_length(folder),
        chat_template=template,
        missing=report.missing,
        left_over=tuple(info.name for info in report.left_over),
        misshapen=tuple(info.name for info, _ in report.misshapen),
        problems=tuple(problems),
    )


def _look_at_head(
    folder: CheckpointFolder, question: Question | None, problems: list[str]
) -> tuple[str | None, dict[str, TensorInfo], str | None]:
    """Name of the form, the head's own tensors, and the head in one phrase; what is wrong joins ``problems``."""
    try:
        form = identify(folder, question)
        found = form.find(folder)
        # Heads are a few thousand numbers: reading one is how its values are checked.
        head = read_head(folder, question)
    except VLRewardError as error:
        problems.append(str(error))
        return None, {}, None
    return form.NAME, found, head.describe()


def _look_at_small_files(folder: CheckpointFolder, problems: list[str]) -> str | None:
    """The file of the chat template; what keeps it, tokenizer or picture processor from being used joins
    ``problems``."""
    from .loading import check_resize, read_image_processor

    found: dict[Any, Any] = {}
    for read in (check_resize, read_tokenizer, read_chat_template, read_image_processor):
        try:
            found[read] = read(folder)
        except VLRewardError as error:
            problems.append(str(error))
    return found[read_chat_template][0] if read_chat_template in found else None


def _tensor_problems(report: TensorReport) -> list[str]:
    problems = [f"tensor {name} is missing" for name in report.missing]
    problems += [f"{info.file}: tensor {info.name} is left over" for info in report.left_over]
    problems += [
        f"{info.file}: {info.name} has shape {info.shape}, config.json asks for {shape}"
        for info, shape in report.misshapen
    ]
    return problems


def _count_by_dtype(tensors: Mapping[str, TensorInfo]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for info in tensors.values():
        counts[info.dtype] = counts.get(info.dtype, 0) + info.count
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _count_by_part(
    tensors: Mapping[str, TensorInfo], head: Mapping[str, TensorInfo], report: TensorReport
) -> dict[str, int]:
    left_over = {info.name for info in report.left_over}
    counts = dict.fromkeys(PARTS, 0)
    for name, info in tensors.items():
        counts["reward_head" if name in head else _part(name, left_over)] += info.count
    return counts


def _part(name: str, left_over: AbstractSet[str]) -> str:
    if name == LM_HEAD:
        return "lm_head"
    inner = memory_name(name)
    if name in left_over or inner is None:
        return "left_over"
    if inner.startswith(_PROJECTORS):
        return "projector"
    return "vision" if inner.startswith("visual.") else "language"


def visual_tokens(folder: CheckpointFolder, width: int, height: int) -> int:
    """How many visual tokens a picture of ``width`` by ``height`` pixels takes, under the folder's pixel limits.

    Raises:
        CheckpointError: a pixel limit, or the patch size, is no positive whole number.
    """
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    limits = read_pixel_limits(folder)
    vision = folder.config.get("vision_config") or {}
    factor = vision.get("patch_size", 14) * vision.get("spatial_merge_size", 2)
    rows, columns = smart_resize(height, width, factor, limits.min_pixels, limits.max_pixels)
    return int(rows // factor) * int(columns // factor)


def _context_length(folder: CheckpointFolder) -> int | None:
    length = folder.text_config.get("max_position_embeddings")
    return length if isinstance(length, int) else None
