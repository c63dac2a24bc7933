"""Models and checkpoints pushed to the hub, as transformers' ``push_to_hub`` and ``hub_strategy`` have it.

Only what is whole is pushed: a model folder, as it is scored with, to the root of the repository, and where the
strategy says so checkpoints to go on from beside it. Trainer's own pushes would upload what is still being written, and
neither the reward head nor the tokenizer.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.trainer_utils import HubStrategy

from vlreward.errors import CheckpointError

from .saving import MODEL

if TYPE_CHECKING:
    from transformers import TrainingArguments

logger = logging.getLogger("vlreward")


class Hub:
    """A repository that a run is pushed to, in the background while training goes on.

    Args:
        repo: its id.
        args: the token, the revision and when to push.
    """

    def __init__(self, repo: str, args: TrainingArguments) -> None:
        self.repo, self._args = repo, args
        self._pushes: list[Future[Any]] = []

    def push_checkpoint(self, folder: Path) -> None:
        """Push a whole checkpoint, unless only the finished model is wanted or an earlier push still runs."""
        strategy = self._args.hub_strategy
        busy = any(not push.done() for push in self._pushes)
        if strategy == HubStrategy.END or (busy and not self._args.hub_always_push):
            return
        # With adapters, a checkpoint holds what is trained and no model.
        if (folder / MODEL).is_dir():
            self._pushes.append(self._upload(folder / MODEL, f"{folder.name}, on the way"))
        if strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            place = "last-checkpoint" if strategy == HubStrategy.CHECKPOINT else folder.name
            self._pushes.append(self._upload(folder, f"{folder.name}, to go on from", path_in_repo=place))

    def wait(self) -> None:
        """Wait for what is being pushed. What failed is said and no more: a later push has all that it had."""
        for push in self._pushes:
            error = push.exception()
            if error is not None:
                logger.warning("%s: a checkpoint could not be pushed: %s", self.repo, _one_line(error))
        self._pushes.clear()

    def push_finished(self, folder: Path, stage: str) -> None:
        """Push a stage's finished model.

        Raises:
            CheckpointError: it could not be pushed; it is whole on disk.
        """
        self.wait()
        try:
            self._upload(folder, f"The finished model of stage {stage}").result()
        except Exception as error:  # whatever the network or the hub has to say
            raise CheckpointError(
                f"{folder}: is finished, but could not be pushed to {self.repo}: {_one_line(error)}; "
                f"push it with: hf upload {self.repo} {folder}"
            ) from error

    def _upload(self, folder: Path, message: str, path_in_repo: str | None = None) -> Future[Any]:
        from huggingface_hub import HfApi

        pushed: Future[Any] = HfApi(token=self._args.hub_token).upload_folder(
            repo_id=self.repo,
            folder_path=folder,
            path_in_repo=path_in_repo,
            commit_message=message,
            revision=self._args.hub_revision,
            run_as_future=True,
        )
        return pushed


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
