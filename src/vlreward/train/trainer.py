"""The trainer: transformers' own, over packs, with the true mean over pairs and checkpoints that are whole."""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from vlreward.errors import ConfigError, InputError, ScoreError, UnsupportedError

from .hub import Hub
from .meter import Meter
from .module import PackModel
from .objective import Objective
from .pack_loss import pack_loss
from .packs import Pack, PackDataset, first_of
from .saving import (
    MODEL,
    ModelWriter,
    checkpoints,
    complete,
    has_adapters,
    read_weights,
    rotate,
    write_trained,
    written,
)

if TYPE_CHECKING:
    from vlreward.model.reward_model import RewardModel

logger = logging.getLogger("vlreward")

PARTIAL = ".partial"
Evaluate = Callable[["RewardModel"], Mapping[str, float]]
"""Scores something with the model as it is, in every process, and returns figures to log."""


Log = Callable[[dict[str, float]], None]
"""Called with the figures that are logged, ``step`` among them."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a trainer has to know of the run that it is part of."""

    fingerprint: str
    """Another text for another recipe or other data: a checkpoint is gone on from by its own run only."""
    epochs: int
    """The epochs that the packs go through; Trainer sees them as one."""
    writer: ModelWriter
    """Writes the model."""
    evaluate: Evaluate | None = None
    """What evaluation is; None: there is none."""


class PackTrainer(Trainer):  # type: ignore[misc]
    """Trains a `PackModel` on a `PackDataset`, a pack at a time.

    The loss is the sum over the items of all packs of a step, in all processes, divided by their number: packs hold
    different numbers of pairs, and a mean of means would weigh them by the company they keep.
    """

    control: Any

    def __init__(
        self, module: PackModel, args: TrainingArguments, dataset: PackDataset, run: Run, *, callbacks: Any = None
    ) -> None:
        # Trainer wants a data set wherever evaluation is asked for; ours has its own.
        super().__init__(
            module, args, first_of, dataset, dataset if args.eval_strategy != "no" else None, callbacks=callbacks
        )
        self.run, self.objective = run, module.objective
        self.meter = Meter([source.label for source in dataset.sources])
        self._skipped = 0
        self._module = module
        self._names: list[str] = []
        self._saving_to: str | None = None
        self.hub: Hub | None = None
        if args.push_to_hub and self.is_world_process_zero():
            self.hub = Hub(self.hub_model_id, args)

    @property
    def is_sharding(self) -> bool:
        """Whether accelerate will shard the weights: on the CPU it leaves FSDP out without a word."""
        return str(self.accelerator.distributed_type).endswith("FSDP")

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The plan has shuffled already."""
        return torch.utils.data.SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

    def compute_loss(
        self, model: Any, inputs: Pack, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The pack's part in the step's loss.

        Raises:
            InputError: a ranking of the pack cannot be read, and the recipe says stop.
            ScoreError: the loss is not finite; the pack's rankings are named.
        """
        if inputs["failure"] is not None:
            raise InputError(inputs["failure"])
        self._count_skipped(inputs["skipped"])
        self._names.extend(inputs["names"])
        output = model(inputs)
        loss = self.pack_loss(output, inputs)
        if not torch.isfinite(loss.detach()):
            raise ScoreError(self._not_finite("loss", inputs["names"]))
        # Gradients are averaged over the processes, and the loss is for logging: both want the sum.
        items = inputs["labels"].numel() if num_items_in_batch is None else num_items_in_batch
        loss = loss * self.accelerator.num_processes / max(float(items), 1.0)
        return (loss, output) if return_outputs else loss

    def pack_loss(self, output: dict[str, Tensor], pack: Pack) -> Tensor:
        """The sum of a pack's losses, one for each of its ``labels``; what is to be logged of them goes to the meter.

        A subclass has another loss.
        """
        assert isinstance(self.objective, Objective)
        if self.objective.rewards:
            self.meter.add(output["rewards_S"], pack)
        return pack_loss(output, pack, self.objective)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The gradients' norm; weights are not changed by one that is not finite."""
        norm = super()._get_grad_norm(model, grad_norm)
        # Under float16 the scaler meets infinite gradients as a matter of course, and leaves the step out.
        if norm is not None and self.accelerator.scaler is None and not math.isfinite(float(norm)):
            raise ScoreError(self._not_finite("gradient", self._names))
        self._names.clear()
        return norm

    def _not_finite(self, what: str, names: Sequence[str]) -> str:
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        found = checkpoints(Path(self.args.output_dir))
        kept = f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        return (
            f"step {self.state.global_step + 1}: the {what} is not finite; its batch: {shown or 'empty'}; {kept};"
            " lower the learning rate or look at these rankings"
        )

    def _count_skipped(self, reasons: Sequence[str]) -> None:
        for reason in reasons:
            self._skipped += 1
            logger.warning("left out: %s", reason)

    def skipped(self) -> int:
        """How often a ranking was left out of a pack, in all processes, each of which has to ask."""
        return int(self._sum(torch.tensor([self._skipped])).item())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with what the meter says, and epochs of the data in place of Trainer's one."""
        if "loss" in logs:
            logs |= self.meter.read(self._sum)
            skipped = self.skipped()
            if skipped:
                logs["skipped"] = float(skipped)
        epoch, self.state.epoch = self.state.epoch, (self.state.epoch or 0.0) * self.run.epochs
        super().log(logs, start_time)
        self.state.epoch = epoch

    def _sum(self, tensor: Tensor) -> Tensor:
        summed: Tensor = self.accelerator.reduce(tensor.to(self.args.device), reduction="sum")
        return summed

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Call the run's own evaluation on the model as it is.

        Raises:
            UnsupportedError: the model is sharded, or there is no evaluation.
        """
        if self.run.evaluate is None:
            raise UnsupportedError("trainer: eval_strategy asks for an evaluation, and the run has none")
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UnsupportedError("evaluation while training needs a whole model; evaluate the checkpoints instead")
        from vlreward.model.vision import VisualCache

        model = self.run.writer.model
        # What it knows of pictures and prompts is of other weights.
        model.prefixes.clear()
        model.vision = VisualCache(model.backbone, model.processor.media, max_bytes=model.vision.max_bytes)
        self._module.eval()
        try:
            figures = {f"{metric_key_prefix}_{name}": float(v) for name, v in self.run.evaluate(model).items()}
        finally:
            self._module.train()
        self.log(figures)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        return figures

    # Saving and going on.

    def _get_output_dir(self, trial: Any) -> str:
        output: str = super()._get_output_dir(trial)
        return output if self._saving_to is None else os.path.join(output, self._saving_to)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint beside its place and rename it when it is whole.

        Raises:
            CheckpointError: it could not be written; the ones before it are as they were.
        """
        output = Path(self.args.output_dir)
        name = f"checkpoint-{self.state.global_step}"
        self._clear_partial()  # of what was being written when the run was killed
        self.accelerator.wait_for_everyone()
        self._saving_to = PARTIAL
        try:
            with written(output / name, output):
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    self.save_beside(output / PARTIAL / name)
                    complete(output / PARTIAL / name, self.run.fingerprint, self.state.global_step)
                    shutil.rmtree(output / name, ignore_errors=True)
                    (output / PARTIAL / name).rename(output / name)
                    if self.hub is not None and self.args.save_total_limit is not None:
                        self.hub.wait()  # what is being pushed may have to go
                    rotate(output, self.args.save_total_limit)
        finally:
            self._saving_to = None
            self._clear_partial()
        if self.hub is not None:
            self.hub.push_checkpoint(output / name)
        self.accelerator.wait_for_everyone()

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Make the repository that is pushed to, unless there is one.

        Raises:
            ConfigError: there can be none: no token, no network, or a name that is not allowed.
        """
        try:
            super().init_hf_repo(token, private)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ConfigError(f"trainer: push_to_hub: {self.args.hub_model_id} cannot be had: {reason}") from error

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Nothing: Trainer calls this for a checkpoint that is not whole yet."""

    def _finish_current_push(self) -> None:
        if self.hub is not None:
            self.hub.wait()

    def save_beside(self, folder: Path) -> None:
        """Write what a subclass has to know of a checkpoint when it goes on from it."""

    def _clear_partial(self) -> None:
        if self.args.should_save:
            shutil.rmtree(Path(self.args.output_dir) / PARTIAL, ignore_errors=True)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write what `read_weights` reads: a reward model, or with adapters what is trained."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        if has_adapters(self._module):
            write_trained(self._module, folder, state_dict)
        else:
            self.run.writer.write(self._module, folder / MODEL, state=state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            read_weights(self._module, Path(resume_from_checkpoint))

    def finished_state(self) -> dict[str, Tensor] | None:
        """The module's tensors in one piece, gathered from all processes; None where they are whole anyway."""
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            return None
        state: dict[str, Tensor] = self.accelerator.get_state_dict(self.model_wrapped)
        return state


class _LogTo(TrainerCallback):  # type: ignore[misc]
    def __init__(self, log: Log) -> None:
        self._log = log

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Hand on the figures."""
        del args, control
        self._log({"step": state.global_step, **logs})


def log_to(trainer: PackTrainer, log: Log) -> None:
    """Hand what is logged to a function, in place of Trainer's own printing on standard output."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(_LogTo(log))
