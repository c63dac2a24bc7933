"""The model that a benchmark or an audit is about: loaded as an engine, and where it and the data were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import EngineError, ScoreError

from . import loading

if TYPE_CHECKING:
    from vlreward.engines.base import Engine
    from vlreward.evaluate.benchmarks import Benchmark, Selection
    from vlreward.types import Group, Reward

    from .options import ModelOptions


@dataclass(kw_only=True)
class EvaluatedEngine:
    """An `Engine` whose faults are its own, never an item's."""

    engine: Engine
    resolved: Mapping[str, Any]
    """The model's settings as they came out."""

    def score(self, groups: Sequence[Group]) -> list[Reward]:
        """As the engine.

        Raises:
            EngineError: also for a reward that is no number: the model's fault, which --allow-missing must not pass
                over as if a picture were missing.
        """
        try:
            return self.engine.score(groups)
        except ScoreError as error:
            raise EngineError(str(error)) from error

    def close(self) -> None:
        """Free what the engine holds."""
        self.engine.close()


def load_engine(options: ModelOptions) -> EvaluatedEngine:
    """The model that the options name.

    Raises:
        CheckpointError: as `RewardModel.from_pretrained`.
    """
    from vlreward.engines.local import LocalEngine

    from .fingerprint import resolved_settings

    model = loading.load_model(options)
    return EvaluatedEngine(engine=LocalEngine(model), resolved=resolved_settings(model))


def about_run(options: ModelOptions, data: Path | None, source: str) -> dict[str, Any]:
    """What a record says for people: the model and the data as they were named, and the commits that stood for.

    Args:
        options: name the model.
        data: the file or folder of items; None where they are made here.
        source: what the data is called where there is no such file.

    Raises:
        CheckpointError: there is no such model.
    """
    return {
        "input": str(data or source),
        "data_commit": _commit_of(data) if data else None,
        "model": options.model,
        "model_commit": _model_commit(options),
    }


_NO_OPTIONS = ("data", "offline")
"""Fields of a selection that records name otherwise, or that decide no figure."""


def options_of(benchmark: Benchmark, selection: Selection) -> dict[str, Any]:
    """What decides which items of a benchmark are asked about and how they are read, as a record says it.

    Only what means something to the benchmark, defaults included: a report names all of it.
    """
    chosen = {name: getattr(selection, name) for name in benchmark.takes if name not in _NO_OPTIONS}
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in chosen.items()
    }


def _model_commit(options: ModelOptions) -> str | None:
    from vlreward.model.checkpoints.folder import locate

    if options.engine is not None:  # the server's model has a folder there
        return None
    return _commit_of(locate(options.model, options.revision, options.offline))


def _commit_of(folder: Path) -> str | None:
    """The commit that a folder of the hub's cache is a snapshot of; None: it is no such folder."""
    return folder.name if folder.parent.name == "snapshots" else None
