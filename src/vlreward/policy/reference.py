"""What the policy gave its answers before training, computed once and kept, so that no second model is held.

Shape suffixes: ``S`` conversations of a pack, ``A`` answer tokens.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from vlreward.data.writing import replacing
from vlreward.errors import InputError
from vlreward.train.packs import Pack, PackDataset, first_of

Key: TypeAlias = tuple[int, int]
"""A source and the number of a ranking there."""
FILE = "reference.npz"


def log_probs_of(nll_A: Tensor, pack: Pack) -> tuple[Tensor, Tensor]:
    """The log-probability of each conversation's answer, the sum over its tokens, and its tokens: ``(S,)`` each."""
    answer_A, count = pack["answer_A"], len(pack["ranking_S"])
    return nll_A.new_zeros(count).index_add(0, answer_A, -nll_A), torch.bincount(answer_A, minlength=count)


@dataclass(frozen=True, eq=False)
class Reference:
    """Log-probabilities of the answers of rankings, under the policy as it was."""

    values: dict[Key, list[float]]
    """Of each ranking, those of its answers in order."""

    def of(self, pack: Pack, like: Tensor) -> Tensor:
        """Those of a pack's conversations, ``(S,)``, on the device and of the dtype of ``like``.

        Raises:
            InputError: a ranking was left out when they were computed.
        """
        found: list[float] = []
        keys = dict(zip(pack["ranking_S"].tolist(), _keys(pack), strict=True))
        for ranking, name in enumerate(pack["names"]):
            if keys[ranking] not in self.values:
                raise InputError(f"{name}: could not be read when the reference was computed; begin again")
            found += self.values[keys[ranking]]
        return torch.tensor(found, dtype=like.dtype, device=like.device)

    def write(self, path: Path, fingerprint: str) -> None:
        """Write them; the file appears when it is complete."""
        path.parent.mkdir(parents=True, exist_ok=True)
        counts = np.asarray([len(values) for values in self.values.values()], dtype=np.int64)
        keys = np.asarray(list(self.values), dtype=np.int64).reshape(-1, 2)
        flat = np.asarray([value for values in self.values.values() for value in values])
        run = np.frombuffer(fingerprint.encode(), dtype=np.uint8)
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, keys=keys, counts=counts, log_probs=flat, run=run)

    @classmethod
    def read(cls, path: Path, fingerprint: str) -> Reference | None:
        """Those of a run; None where there is no such file, or one of another run."""
        try:
            with np.load(path, allow_pickle=False) as held:
                if held["run"].tobytes() != fingerprint.encode():
                    return None
                ends = np.cumsum(held["counts"])[:-1]
                pieces = np.split(held["log_probs"], ends)
                keys = [(int(source), int(number)) for source, number in held["keys"]]
                return cls({key: piece.tolist() for key, piece in zip(keys, pieces, strict=True)})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: broken; remove it, and it is made again") from error


def _keys(pack: Pack) -> Iterator[Key]:
    return zip(pack["source_S"].tolist(), pack["number_S"].tolist(), strict=True)


def compute_reference(
    dataset: PackDataset,
    run: Callable[[Pack], Tensor],
    *,
    share: tuple[int, int],
    gather: Callable[[list[Any]], list[Any]],
    workers: int = 0,
) -> Reference:
    """Go through a data set once.

    Args:
        dataset: of the training; each of its rankings is seen once, whatever the number of epochs.
        run: gives the log-probabilities ``(S,)`` of a pack; called equally often in all processes.
        share: which process this is, and how many there are.
        gather: puts together the lists of all processes.
        workers: processes that load packs.

    Raises:
        InputError: a ranking cannot be read, and the recipe says stop.
    """
    once = copy(dataset)
    once.plan = dataset.plan.once()
    mine = torch.utils.data.Subset(once, range(share[0], len(once), share[1]))
    found: list[tuple[Key, list[float]]] = []
    for pack in torch.utils.data.DataLoader(mine, batch_size=1, collate_fn=first_of, num_workers=workers):
        if pack["failure"] is not None:
            raise InputError(pack["failure"])
        found += _by_ranking(run(pack).double().tolist(), pack)
    return Reference(dict(sorted(gather(found))))


def _by_ranking(log_prob_S: Sequence[float], pack: Pack) -> list[tuple[Key, list[float]]]:
    keys = dict(zip(pack["ranking_S"].tolist(), _keys(pack), strict=True))
    values: dict[int, list[float]] = {ranking: [] for ranking in keys}
    for ranking, log_prob in zip(pack["ranking_S"].tolist(), log_prob_S, strict=True):
        values[ranking].append(log_prob)
    return [(keys[ranking], values[ranking]) for ranking in keys]
