"""``vlreward calibrate``: from margins of rewards to probabilities that can be believed."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError, InputError

from . import loading
from .options import ModelOptions, add_model_options, model_options

if TYPE_CHECKING:
    from vlreward.evaluate.benchmarks import Item
    from vlreward.evaluate.fit import CalibrationFit
    from vlreward.evaluate.scores import ItemScores
    from vlreward.model.calibration import Calibration
    from vlreward.model.checkpoints.folder import CheckpointFolder
    from vlreward.model.reward_model import RewardModel

NAME = "calibrate"
CHUNK = 32
_OF_THE_HEAD = ("question", "positive", "negative")


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="fit the probabilities that compare says",
        description="Fit a map from the margin of two rewards to the probability that the first response is better, on "
        "one half of some preferences; say what it is worth on the other half; and keep it, with mean and spread of "
        "the rewards, as calibration.json in the model's folder, where compare finds it.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    source = parser.add_argument_group("preferences (one of these)").add_mutually_exclusive_group(required=True)
    source.add_argument("--scores", type=Path, metavar="FILE", help="what vlreward eval -o wrote; nothing is scored")
    source.add_argument("--data", type=Path, metavar="FILE", help="preferences in any known format, scored now")
    how = parser.add_argument_group("the map")
    how.add_argument(
        "--map",
        choices=("temperature", "isotonic"),
        default="temperature",
        help="temperature (default): one number; isotonic: any curve that rises, for 200 preferences or more",
    )
    how.add_argument("--seed", type=int, default=0, metavar="S", help="of the two halves (default: %(default)s)")
    how.add_argument("--output", "-o", type=Path, metavar="OUT", help="write it here, not into the model's folder")
    how.add_argument("--overwrite", action="store_true", help="replace the one that is there")
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress display")
    add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Fit, write, and print the figures."""
    from vlreward.evaluate.fit import fit_calibration
    from vlreward.model.calibration import CALIBRATION
    from vlreward.model.checkpoints.folder import CheckpointFolder

    from .notes import show_notes
    from .tables import console, on_terminal

    show_notes()
    options = model_options(args)
    folder = CheckpointFolder.open(options.model, options.revision, options.offline)
    output: Path = args.output or folder.path / CALIBRATION
    _check_output(output, overwrite=args.overwrite)
    source = _from_scores(args.scores, options, folder) if args.scores else _from_data(args, options, folder)
    try:
        fit = fit_calibration(source.items, kind=args.map, seed=args.seed)
    except InputError as error:
        raise InputError(f"{args.scores or args.data}: {error}") from error
    calibration = _calibration(fit, source, args.seed)
    calibration.write(output)
    warnings = [*source.warnings, *_warnings(fit)]
    if args.json or not on_terminal():
        print(json.dumps(_plain(calibration, options.model, output, warnings), ensure_ascii=False))
    else:
        from .calibrate_table import calibration_table

        console().print(calibration_table(fit, options.model, output, warnings))
    return 0


def _check_output(output: Path, *, overwrite: bool) -> None:
    """Say now, rather than after all is scored, that a map could not be kept."""
    if output.exists() and not overwrite:
        raise ConfigError(f"{output}: is there already; write to another file, or replace it with --overwrite")
    if not os.access(output.parent, os.W_OK):
        raise ConfigError(f"{output}: cannot be written there; name another file with --output")


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What there is to fit on."""

    items: Sequence[ItemScores]
    head: str
    """The digest of the reward head."""
    checkpoint: str
    """The fingerprint of the model's folder."""
    about: Mapping[str, Any]
    """Where the items are from."""
    warnings: Sequence[str] = ()


def _from_scores(path: Path, options: ModelOptions, folder: CheckpointFolder) -> _Source:
    from vlreward.evaluate.scores import read_scores
    from vlreward.model.calibration import head_digest
    from vlreward.model.checkpoints import read_head

    from .fingerprint import checkpoint_fingerprint
    from .run_record import RunRecord

    unusable: list[str] = []
    items = list(read_scores(path, unusable))
    record = RunRecord.load(path.with_name(path.name + ".meta.json"))
    head = read_head(folder, question=loading.question_of(options))
    checkpoint = checkpoint_fingerprint(folder.path)
    about: dict[str, Any] = {"scores": str(path)}
    warnings = [f"left out: {len(unusable):,} items that say an error instead of scores"] if unusable else []
    if record is None:
        warnings.append("no record beside the scores says of which model they are")
    else:
        _check_record(path, record.config, record.about, options, checkpoint)
        about |= {"benchmark": record.config.get("benchmark"), "data": record.about.get("input")}
        about |= {"settings": dict(record.resolved)}
        if not record.complete:
            warnings.append(f"the run is not finished: {record.groups:,} items are there")
    return _Source(items=items, head=head_digest(head), checkpoint=checkpoint, about=about, warnings=warnings)


def _check_record(
    path: Path,
    config: Mapping[str, Any],
    about: Mapping[str, Any],
    options: ModelOptions,
    checkpoint: str,
) -> None:
    """See that scores are of this verb's kind, of this model, and of this reading of its head.

    Raises:
        InputError: they are not.
    """
    if config.get("verb") != "eval":
        raise InputError(f"{path}: rows of vlreward {config.get('verb')}, not scores of vlreward eval")
    if config.get("checkpoint") != checkpoint:
        raise InputError(
            f"{path}: scores of another model: {about.get('model')} with fingerprint {config.get('checkpoint')}, while "
            f"{options.model} has {checkpoint}; score with this one by vlreward eval"
        )
    for name in _OF_THE_HEAD:
        if config.get(name) != getattr(options, name):
            raise InputError(
                f"{path}: scored with --{name} {config.get(name)!r}, here it is {getattr(options, name)!r}; "
                "give the same options"
            )


def _from_data(args: argparse.Namespace, options: ModelOptions, folder: CheckpointFolder) -> _Source:
    from vlreward.data.limits import MediaLimits
    from vlreward.evaluate.benchmarks import Item
    from vlreward.evaluate.benchmarks.own_pairs import OWN_PAIRS
    from vlreward.evaluate.check import check_media
    from vlreward.model.calibration import head_digest

    from .fingerprint import checkpoint_fingerprint

    left_out: Counter[str] = Counter()
    read = []
    for item in OWN_PAIRS.read(OWN_PAIRS.select(data=args.data), left_out):
        if not isinstance(item, Item):
            raise item.error
        check_media(item.ranking.group, item.where, MediaLimits(allow_urls=options.allow_urls))
        read.append(item)
    model = loading.load_model(options)
    return _Source(
        items=_score(model, read, quiet=args.quiet),
        head=head_digest(model.head),
        checkpoint=checkpoint_fingerprint(folder.path),
        about={"data": str(args.data), "settings": asdict(model.settings)},
        warnings=[f"left out: {number:,} {reason}" for reason, number in left_out.items()],
    )


def _score(model: RewardModel, read: Sequence[Item], *, quiet: bool) -> list[ItemScores]:
    from vlreward.evaluate.benchmarks.own_pairs import OWN_PAIRS
    from vlreward.evaluate.scores import ItemScores, facts_of

    from .progress import Progress

    scored = []
    with Progress(quiet=quiet) as progress:
        progress.start(0, len(read))
        for start in range(0, len(read), CHUNK):
            chunk = read[start : start + CHUNK]
            rewards = model.score_groups([item.ranking.group for item in chunk])
            for item, row in zip(chunk, rewards, strict=True):
                scored.append(ItemScores(**facts_of(item, OWN_PAIRS.shared), rewards=tuple(row), blank=None))
            progress.advance(len(chunk))
    return scored


def _calibration(fit: CalibrationFit, source: _Source, seed: int) -> Calibration:
    import vlreward
    from vlreward.model.calibration import Calibration

    counts = {"items": fit.items, "clusters": fit.clusters, "fitted": fit.fitted_on, "tested": fit.after.n}
    return Calibration(
        map=fit.map,
        scale=fit.scale,
        head=source.head,
        checkpoint=source.checkpoint,
        fitted_on={**source.about, **counts, "seed": seed},
        before=asdict(fit.before),
        after=asdict(fit.after) | {"brier_change": fit.brier_change, "brier_interval": fit.brier_interval},
        vlreward_version=vlreward.__version__,
    )


def _plain(calibration: Calibration, model: str, output: Path, warnings: Sequence[str]) -> dict[str, Any]:
    """As the command line prints it: the file without what only programs compare."""
    values = calibration.to_dict()
    shown = {name: values[name] for name in ("map", "scale", "fitted_on", "before", "after")}
    return {"output": str(output), "model": model, **shown, "warnings": list(warnings)}


def _warnings(fit: CalibrationFit) -> list[str]:
    if not fit.harms:
        return []
    return ["the map makes probabilities worse on the half that it was not fitted on; remove it, or fit on more"]
