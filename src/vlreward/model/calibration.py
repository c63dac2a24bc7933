"""calibration.json: what a model's rewards mean, as probabilities and on a scale of its own.

A map takes a margin, the reward of one response minus that of another, to the probability that the first is better.
Every map keeps P(a better than b) = 1 - P(b better than a). Maps are fitted in `vlreward.evaluate.fit`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from vlreward.data.ranking_format import is_number
from vlreward.data.writing import replacing
from vlreward.errors import CheckpointError, ConfigError, describe_unknown
from vlreward.types import Reward

from .checkpoints.folder import read_json

if TYPE_CHECKING:
    from .head import RewardHead

CALIBRATION = "calibration.json"


def bradley_terry(margin: float) -> float:
    """σ(margin), the probability that the response with the larger reward is better (Bradley and Terry, 1952).

    Written so that it neither overflows nor loses the digits of a small probability.
    """
    return 1 / (1 + math.exp(-margin)) if margin >= 0 else math.exp(margin) / (1 + math.exp(margin))


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """σ(margin / temperature): how sure the model is changes, which response it prefers does not.

    Raises:
        ConfigError: the temperature is not a positive number.
    """

    KIND: ClassVar[str] = "temperature"
    temperature: float
    """In units of reward."""

    def __post_init__(self) -> None:
        if not is_number(self.temperature) or self.temperature <= 0:
            raise ConfigError(f"temperature must be a positive number, got {self.temperature!r:.40}")

    def probability(self, margin: float) -> float:
        """The probability that the first is better, of the first reward minus the second."""
        return bradley_terry(margin / self.temperature)


@dataclass(frozen=True, kw_only=True)
class Isotonic:
    """Any probability that does not fall as the margin grows: a line through (0, 0.5) and the points given, then level.

    Raises:
        ConfigError: there are no points, or they do not rise.
    """

    KIND: ClassVar[str] = "isotonic"
    margins: tuple[float, ...]
    """In units of reward, not negative, in ascending order; two equal ones are a step."""
    probabilities: tuple[float, ...]
    """From 0.5 to 1, one per margin, in ascending order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "margins", _ascending(self.margins, 0.0, math.inf, "margins"))
        object.__setattr__(self, "probabilities", _ascending(self.probabilities, 0.5, 1.0, "probabilities"))
        if len(self.margins) != len(self.probabilities):
            raise ConfigError(f"{len(self.probabilities)} probabilities for {len(self.margins)} margins")

    def probability(self, margin: float) -> float:
        """The probability that the first is better, of the first reward minus the second."""
        sure = self._of_size(abs(margin))
        return sure if margin >= 0 else 1 - sure

    def _of_size(self, margin: float) -> float:
        if margin == 0:
            return 0.5
        after = bisect_left(self.margins, margin)
        if after == len(self.margins):
            return self.probabilities[-1]
        low, below = (self.margins[after - 1], self.probabilities[after - 1]) if after else (0.0, 0.5)
        high, above = self.margins[after], self.probabilities[after]
        return below + (above - below) * (margin - low) / (high - low)


MAPS = (Temperature, Isotonic)


@dataclass(frozen=True, kw_only=True)
class RewardScale:
    """Rewards with mean 0 and spread 1 on a reference set: what rewards of another kind can be added to.

    Raises:
        ConfigError: the spread is not a positive number.
    """

    mean: float
    """Of the reference set's rewards."""
    spread: float
    """Their standard deviation."""
    n: int
    """How many rewards the reference set has."""

    def __post_init__(self) -> None:
        if not is_number(self.mean):
            raise ConfigError(f"mean must be a number, got {self.mean!r:.40}")
        if not is_number(self.spread) or self.spread <= 0:
            raise ConfigError(f"spread must be a positive number, got {self.spread!r:.40}")

    def normalise(self, reward: float) -> float:
        """A reward in units of the spread from the mean. The order of rewards stays, and their differences in ratio."""
        return (reward - self.mean) / self.spread

    def __call__(self, reward: Reward) -> Reward:
        """The same responses with their rewards normalised; of any engine's `Reward`."""
        return Reward(id=reward.id, rewards=tuple(map(self.normalise, reward.rewards)))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The content of calibration.json."""

    map: Temperature | Isotonic
    scale: RewardScale
    head: str
    """The `head_digest` of the model whose rewards these are about."""
    checkpoint: str
    """The fingerprint of the checkpoint folder, as the command line records it."""
    fitted_on: Mapping[str, Any]
    """Which items, how many, and how they were split."""
    before: Mapping[str, Any]
    """The figures of σ(margin) on the items that the map was not fitted on."""
    after: Mapping[str, Any]
    """The figures of the map on the same items."""
    vlreward_version: str | None = None
    """The version that wrote the file."""

    def probability(self, margin: float) -> float:
        """The probability that the first response is better, of the first reward minus the second."""
        return self.map.probability(margin)

    def to_dict(self) -> dict[str, Any]:
        """As the file has it."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {
            "map": {"kind": self.map.KIND, **asdict(self.map)},
            "scale": asdict(self.scale),
        }

    def write(self, path: str | Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            ConfigError: it cannot be written there.
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with replacing(Path(path)) as part:
                part.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another file") from error

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read the file.

        Raises:
            CheckpointError: it cannot be read, or something in it cannot be; the message names the key.
        """
        values = read_json(Path(path))
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                raise CheckpointError(f"{path}: {describe_unknown(key, known)}")
        try:
            for key, kind in _KINDS.items():
                if not isinstance(values.get(key), kind):
                    raise ConfigError(f"must be {_WORDS[kind]}, got {values.get(key)!r:.40}")
            key = "map"
            values["map"] = _map(values["map"])
            key = "scale"
            values["scale"] = RewardScale(**values["scale"])
        except (ConfigError, TypeError) as error:
            raise CheckpointError(f"{path}: {key}: {error}; fit it again with vlreward calibrate") from error
        return cls(**values)


_KINDS = {
    "map": dict,
    "scale": dict,
    "head": str,
    "checkpoint": str,
    "fitted_on": dict,
    "before": dict,
    "after": dict,
}
_WORDS = {dict: "an object", str: "text"}


def _map(values: Mapping[str, Any]) -> Temperature | Isotonic:
    for form in MAPS:
        if values.get("kind") == form.KIND:
            return form(**{name: value for name, value in values.items() if name != "kind"})
    raise ConfigError(f"unknown kind {values.get('kind')!r}; known: {', '.join(form.KIND for form in MAPS)}")


def head_digest(head: RewardHead) -> str:
    """A digest of a reward head, the same in every form that holds it: whether a map is of this model.

    Training a reward model changes its head, whatever else it leaves as it was.
    """
    digest = hashlib.blake2b(repr((head.activation, head.question)).encode(), digest_size=16)
    for name, tensor in sorted(head.tensors().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def read_calibration(folder: Path, head: RewardHead) -> Calibration | None:
    """calibration.json of a model folder, None if there is none.

    Raises:
        CheckpointError: it cannot be read, or was fitted for another head.
    """
    path = folder / CALIBRATION
    if not path.is_file():
        return None
    calibration = Calibration.read(path)
    if calibration.head != head_digest(head):
        raise CheckpointError(
            f"{path}: fitted for another reward head than the one here; fit it again with vlreward calibrate, or"
            " remove the file"
        )
    return calibration


def _ascending(values: Any, low: float, high: float, name: str) -> tuple[float, ...]:
    numbers = isinstance(values, (list, tuple)) and len(values) > 0 and all(map(is_number, values))
    if not numbers or any(a > b for a, b in itertools.pairwise(values)) or not low <= values[0] <= values[-1] <= high:
        raise ConfigError(f"{name} must be numbers from {low:g} to {high:g} in ascending order, got {values!r:.40}")
    return tuple(map(float, values))
