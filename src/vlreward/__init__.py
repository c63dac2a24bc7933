"""Multimodal reward models: score, rank, compare and trace the answers of vision-language models.

Importing the package imports neither torch nor transformers; each public name brings what it needs when it is first
used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engines.base import Engine
    from .engines.local import LocalEngine
    from .engines.remote import RemoteEngine
    from .errors import VLRewardError
    from .model.reward_model import RewardModel
    from .types import Group, Image, Message, Ranking, Reward, Text, Video

__version__ = "0.1.0"

_HOMES = {
    "Engine": "engines.base",
    "Group": "types",
    "Image": "types",
    "LocalEngine": "engines.local",
    "Message": "types",
    "Ranking": "types",
    "RemoteEngine": "engines.remote",
    "Reward": "types",
    "RewardModel": "model.reward_model",
    "Text": "types",
    "VLRewardError": "errors",
    "Video": "types",
}

__all__ = [
    "Engine",
    "Group",
    "Image",
    "LocalEngine",
    "Message",
    "Ranking",
    "RemoteEngine",
    "Reward",
    "RewardModel",
    "Text",
    "VLRewardError",
    "Video",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vlreward' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
