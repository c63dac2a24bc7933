"""A model behind a server, as the verbs use one."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from vlreward.engines.remote import RemoteEngine
from vlreward.errors import EngineError, UnsupportedError

if TYPE_CHECKING:
    from vlreward.types import Group

KEY_VARIABLE = "VLREWARD_API_KEY"


@dataclass(frozen=True, kw_only=True)
class ServedSettings:
    """What a server says of its model."""

    model: str
    """Its name there."""
    calibrated: bool
    """Whether it has a calibration there."""
    served: Mapping[str, Any]
    """What its rewards depend on beside the weights."""
    device: str = "server"


class ServedModel:
    """What the command line uses of a `RewardModel`, from a server.

    Args:
        addresses: of one server, or of several with commas between.
    """

    def __init__(self, addresses: str) -> None:
        servers = [address.strip() for address in addresses.split(",") if address.strip()]
        self._engine = RemoteEngine(servers, api_key=os.environ.get(KEY_VARIABLE))
        self._addresses = addresses

    @functools.cached_property
    def settings(self) -> ServedSettings:
        """What the server says of its model.

        Raises:
            EngineError: it does not answer, or not as a vlreward server does.
        """
        try:
            model = self._engine.describe()["data"][0]
            return ServedSettings(
                model=str(model["id"]), calibrated=bool(model["calibrated"]), served=dict(model["settings"])
            )
        except (KeyError, IndexError, TypeError, ValueError):
            raise EngineError(f"{self._addresses}: /v1/models does not say what vlreward serve says there") from None

    def score_groups(
        self, groups: Sequence[Group], *, progress: Callable[[int], None] | None = None
    ) -> list[list[float]]:
        """The rewards of each group's responses, in order; errors as `RemoteEngine.score`."""
        rewards = [list(reward.rewards) for reward in self._engine.score(groups)]
        if progress is not None:
            progress(len(groups))
        return rewards

    @property
    def calibration(self) -> None:
        """None, as of a model that was not asked.

        Raises:
            UnsupportedError: the server has a calibration, which is not here.
        """
        self._check_uncalibrated()

    def probability(self, margin: float) -> float:
        """σ(margin); errors as `calibration`."""
        from vlreward.model.calibration import bradley_terry

        self._check_uncalibrated()
        return bradley_terry(margin)

    def trace(self, _messages: Any) -> NoReturn:
        """Not asked of a server by the command line.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(f"{self._addresses}: trace needs the model here (--model); or ask its /v1/trace")

    def _check_uncalibrated(self) -> None:
        if self.settings.calibrated:
            raise UnsupportedError(f"{self._addresses}: probabilities are by its calibration; ask its /v1/compare")
