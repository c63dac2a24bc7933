"""How the worker process comes to its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vlreward.errors import CheckpointError

from .worker_process import Held

# Where a model lies is nobody's business outside.
_PRIVATE = ("model",)


@dataclass(frozen=True, kw_only=True)
class ModelFactory:
    """Loads a reward model; called in the worker process."""

    path: str
    """A folder or a hub id."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `RewardModel.from_pretrained`."""
    normalise: bool = False
    """Whether its rewards are going to be normalised."""

    def __call__(self) -> Held:
        """The model, loaded.

        Raises:
            CheckpointError: as `RewardModel.from_pretrained`; or its calibration is broken, or missing where rewards
                are to be normalised.
        """
        from vlreward.engines.local import LocalEngine
        from vlreward.model.reward_model import RewardModel

        model = RewardModel.from_pretrained(self.path, **self.options)
        if self.normalise and model.calibration is None:
            raise CheckpointError(
                f"{self.path}: no calibration.json to normalise rewards by; make one with vlreward calibrate"
            )

        def counts() -> dict[str, int]:
            return asdict(model.counts) | {
                "vision_hits": model.vision.hits,
                "vision_misses": model.vision.misses,
                "prefix_hits": model.prefixes.hits,
                "prefix_misses": model.prefixes.misses,
            }

        settings = {name: value for name, value in asdict(model.settings).items() if name not in _PRIVATE}
        return Held(engine=LocalEngine(model), calibration=model.calibration, settings=settings, counts=counts)
