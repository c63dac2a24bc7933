"""Each distinct picture is encoded once: a bounded cache of visual tokens, across calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch

from .backbone import Backbone, Features
from .media import MediaProcessor, Medium

_PATCHES_PER_CALL = 65_536


class VisualCache:
    """Visual tokens by content, least recently used out first.

    Args:
        backbone: encodes what is not there.
        media: cuts it into patches.
        max_bytes: what the kept features may take; what one call needs is held in any case.
    """

    def __init__(self, backbone: Backbone, media: MediaProcessor, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = self.misses = 0
        self._backbone, self._media = backbone, media
        self._kept: OrderedDict[bytes, Features] = OrderedDict()
        self._bytes = 0

    def get(self, media: Sequence[Medium]) -> list[Features]:
        """The features of distinct media, in order."""
        found = {medium.key: self._kept[medium.key] for medium in media if medium.key in self._kept}
        wanted = [medium for medium in media if medium.key not in found]
        self.hits += len(media) - len(wanted)
        self.misses += len(wanted)
        for batch in self._batches(wanted):
            patches = torch.from_numpy(np.concatenate([self._media.patches(medium) for medium in batch]))
            encoded = self._backbone.encode(patches.to(self._backbone.device), batch)
            found.update(zip((medium.key for medium in batch), encoded, strict=True))
        for medium in media:
            self._keep(medium.key, found[medium.key])
        return [found[medium.key] for medium in media]

    def _batches(self, media: Sequence[Medium]) -> list[list[Medium]]:
        """Media that are encoded in one call. On the CPU each alone: nothing is lost, and features do not depend on
        what else is asked for, so that an interrupted run ends like an uninterrupted one to the last bit."""
        together = self._backbone.device.type != "cpu"
        batches: list[list[Medium]] = []
        size = 0
        for medium in media:
            patches = int(np.prod(medium.grid))
            fits = batches and batches[-1][0].kind == medium.kind and size + patches <= _PATCHES_PER_CALL
            if together and fits:
                batches[-1].append(medium)
                size += patches
            else:
                batches.append([medium])
                size = patches
        return batches

    def _keep(self, key: bytes, features: Features) -> None:
        if key in self._kept:
            self._kept.move_to_end(key)
            return
        if features.nbytes > self.max_bytes:
            return
        self._kept[key] = features
        self._bytes += features.nbytes
        while self._bytes > self.max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
