"""The trainer of policies: the pack trainer, with the losses of pairs of answers."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate.utils import gather_object
from torch import Tensor
from transformers import TrainerCallback, TrainerState

from vlreward.errors import CheckpointError
from vlreward.train.packs import Pack
from vlreward.train.run import Outcome, train
from vlreward.train.trainer import PackTrainer, Run

from .language_model import language_model
from .local_sampler import LocalSampler
from .losses import PairLogProbs, RewardShift, mpo, rewards_sum
from .objective import PolicyObjective
from .overoptimisation import COURSE, Point, course_of, parting, write_course
from .recipe import PolicyRecipe
from .reference import FILE, Reference, compute_reference, log_probs_of
from .watch import Watch

if TYPE_CHECKING:
    from vlreward.model.reward_model import RewardModel

logger = logging.getLogger("vlreward")

SHIFT = "shift.json"
_SAME = 0.01
"""How far log-probabilities of the same weights may be apart, of another kind of device too."""


class PolicyTrainer(PackTrainer):
    """Trains a policy on packs of pairs, both answers of a pair behind one prompt and its pictures.

    Before the first step, what the policy gives all answers is computed and kept beside the checkpoints: the reference.
    Evaluation, where it is asked for, shows the policy to a `Watch`.
    """

    objective: PolicyObjective

    def __init__(self, module: Any, args: Any, dataset: Any, run: Run, *, watch: Watch | None = None, **options: Any):
        self.watch = watch
        run = run if watch is None else replace(run, evaluate=self._show)
        super().__init__(module, args, dataset, run, **options)
        self.reference: Reference | None = None
        self.shift = RewardShift()
        """BCO's δ: the mean reward of the steps before."""
        self._pending = torch.zeros(2, dtype=torch.float64)
        self._mean_length: float | None = None
        self._terms = _Terms()
        self.add_callback(_Moments(self))

    # What comes before the first step and after each.

    def begin(self) -> None:
        """Compute the reference, or find it, and where the run goes on, the shift too.

        Raises:
            CheckpointError: the run goes on, and one of them is not there.
        """
        place, step = Path(self.args.output_dir), self.state.global_step
        if step:
            self.args.eval_on_start = False  # the policy as it was has been seen
        if not self.objective.compares:
            return
        self.reference = Reference.read(place / FILE, self.run.fingerprint)
        if step:
            if self.reference is None:
                raise CheckpointError(
                    f"{place / FILE}: gone, and the policy is no longer what it was; remove {place} and begin again"
                )
            self.shift = _read_shift(place / f"checkpoint-{step}" / SHIFT)
        elif not self._is_found():
            self.reference = self._compute_reference(place / FILE)

    def _is_found(self) -> bool:
        """Whether the reference is there, and of this policy: of weights that have changed since, it is not."""
        # Asked of all processes: with discs of their own, some may have found the file and others not.
        if not all(gather_object([self.reference is not None])):
            return False
        assert self.reference is not None
        once = copy(self.train_dataset)
        once.plan = once.plan.once()
        pack = once[self.args.process_index]
        with self._evaluating() as model:
            now_S = self._log_probs(model, pack)
        then_S = self.reference.of(pack, now_S)
        return all(gather_object([torch.allclose(now_S, then_S, rtol=_SAME, atol=_SAME)]))

    def _compute_reference(self, path: Path) -> Reference:
        logger.info("computing the reference of %d packs", len(self.train_dataset.plan.once()))
        with self._evaluating() as model:
            reference = compute_reference(
                self.train_dataset,
                lambda pack: self._log_probs(model, pack),
                share=(self.args.process_index, self.args.world_size),
                gather=gather_object,
                workers=self.args.dataloader_num_workers,
            )
        if self.args.should_save:
            reference.write(path, self.run.fingerprint)
        return reference

    @contextmanager
    def _evaluating(self) -> Iterator[Any]:
        self.model_wrapped.eval()
        try:
            yield self.model_wrapped
        finally:
            self.model_wrapped.train()

    def _log_probs(self, model: Any, pack: Pack) -> Tensor:
        pack = self._prepare_inputs(pack)
        with torch.no_grad(), self.compute_loss_context_manager():
            return log_probs_of(model(pack)["nll_A"], pack)[0]

    def step_is_over(self) -> None:
        """Let the shift know the rewards of the step's packs, in all processes."""
        total, count = self._sum(self._pending).tolist()
        self.shift.add(total, int(count))
        self._pending = torch.zeros(2, dtype=torch.float64)

    def get_batch_samples(self, *args: Any, **options: Any) -> tuple[list[Pack], Any]:
        """A step's packs; where each token counts alike, also how many tokens an answer of the step has on average."""
        packs, items = super().get_batch_samples(*args, **options)
        if self.objective.compares and self.objective.mix.mean_over == "tokens":
            counts = torch.zeros(2, dtype=torch.float64)
            for pack in packs:
                lengths_S = torch.bincount(pack["answer_A"].cpu(), minlength=len(pack["ranking_S"]))
                lengths_P = lengths_S[pack["chosen_P"].cpu()]
                counts += torch.tensor([float(lengths_P.sum()), float(len(lengths_P))], dtype=torch.float64)
            tokens, pairs = self._sum(counts).tolist()
            self._mean_length = tokens / max(pairs, 1.0)
        return packs, items

    # Being watched.

    def _show(self, model: RewardModel) -> Mapping[str, float]:
        """Have the watch ask the policy as it is, each process a share of the prompts."""
        assert self.watch is not None
        head = self._module.lm_head
        writer = language_model(model, None if head is None else head.weight, self.run.writer.source.path)
        share = (self.args.process_index, self.args.world_size)
        found = sorted(gather_object(self.watch.ask(LocalSampler(writer, model), share)), key=lambda entry: entry[0])
        return Point.of(self.state.global_step, [judged for _, judged in found]).figures()

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        """The figures of the policy as it is; training may end where the reward and the truth part.

        Raises:
            UnsupportedError: the model is sharded, or there is no evaluation.
        """
        figures = super().evaluate(*args, **options)
        if self.watch is None:
            return figures
        course = course_of(self.state.log_history)
        if self.args.should_save:
            write_course(Path(self.args.output_dir) / COURSE, course)
        found = parting(course)
        if found is not None and found.seen.step == self.state.global_step:
            self._has_parted(str(found))
        return figures

    def _has_parted(self, what: str) -> None:
        assert self.watch is not None
        logger.warning("%s%s", what, "; training stops here" if self.watch.stops else "")
        if self.watch.stops:
            self.control.should_training_stop = True
            # So that a run which is killed before the finished policy is written has stopped all the same.
            self.control.should_save = self.args.save_strategy != "no"

    def train(self, resume_from_checkpoint: str | None = None, **options: Any) -> Any:
        """Train, but not on from where a run has stopped because the reward and the truth had parted."""
        if resume_from_checkpoint is not None and self.watch is not None and self.watch.stops:
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / "trainer_state.json"))
            if parting(course_of(state.log_history)) is not None:
                self._load_from_checkpoint(resume_from_checkpoint)
                self.state = state
                return None
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **options)

    # The loss.

    def pack_loss(self, output: dict[str, Tensor], pack: Pack) -> Tensor:
        """The sum of the losses of a pack's pairs, or of its tokens where only the best answers are written."""
        if not self.objective.compares:
            return output["nll_A"].sum() + output["anchor"]
        assert self.reference is not None
        mix = self.objective.mix
        log_prob_S, length_S = log_probs_of(output["nll_A"], pack)
        reference_S = self.reference.of(pack, log_prob_S)
        chosen_P, rejected_P = pack["chosen_P"], pack["rejected_P"]
        log_probs = PairLogProbs(
            log_prob_S[chosen_P], log_prob_S[rejected_P], reference_S[chosen_P], reference_S[rejected_P]
        )
        self._pending += rewards_sum(log_probs, mix.beta).cpu()
        self.meter.add(mix.beta * (log_prob_S - reference_S), pack)
        self._terms.add(log_probs, length_S[chosen_P], mix.beta)
        loss_P = mpo(log_probs, length_S[chosen_P], mix, shift=self.shift.mean, mean_length=self._mean_length)
        return loss_P.sum() + output["anchor"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with what the chosen and the rejected answers have gained, and how likely the chosen ones are."""
        if "loss" in logs and self.objective.compares:
            logs |= self._terms.read(self._sum)
            if self.objective.mix.shifted and self.objective.mix.quality:
                logs["shift"] = self.shift.mean
        super().log(logs, start_time)

    def save_beside(self, folder: Path) -> None:
        """The shift, without which a run would go on another way."""
        if self.objective.compares:
            (folder / SHIFT).write_text(json.dumps(asdict(self.shift)) + "\n", encoding="utf-8")


def _read_shift(path: Path) -> RewardShift:
    try:
        return RewardShift.of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read, and a run cannot go on without it: {error}") from error


class _Moments(TrainerCallback):  # type: ignore[misc]
    """Tells the trainer of the moments that concern it."""

    def __init__(self, trainer: PolicyTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The model is wrapped, and what a checkpoint holds has been read."""
        del args, state, control
        self._trainer.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The weights have changed, and nothing of it has been saved yet."""
        del args
        self._trainer.step_is_over()
        if self._trainer.watch is not None and state.global_step >= state.max_steps:
            control.should_evaluate = True


class _Terms:
    """Sums over pairs since the last reading: the rewards of both answers, and the tokens of the chosen one."""

    def __init__(self) -> None:
        self._sums = torch.zeros(5, dtype=torch.float64)

    def add(self, log_probs: PairLogProbs, length_P: Tensor, beta: float) -> None:
        """Count the pairs of a pack."""
        chosen_P, rejected_P = log_probs.rewards(beta)
        columns = (chosen_P, rejected_P, -log_probs.chosen_P, length_P, torch.ones_like(chosen_P))
        self._sums += torch.stack([column_P.detach().double().sum().cpu() for column_P in columns])

    def read(self, reduce: Any) -> Mapping[str, float]:
        """The means since the last reading."""
        chosen, rejected, nll, tokens, pairs = reduce(self._sums).tolist()
        self._sums = torch.zeros(5, dtype=torch.float64)
        if not pairs:
            return {}
        return {"chosen_reward": chosen / pairs, "rejected_reward": rejected / pairs, "chosen_nll": nll / tokens}


def train_policy(recipe: PolicyRecipe, *, watch: Watch | None = None, **calls: Any) -> list[Outcome]:
    """Train a policy by a recipe. Run again, it goes on where it was stopped.

    Args:
        recipe: what is trained.
        watch: is shown the policy whenever ``trainer.eval_strategy`` says so, and behind the last step; what it finds
            is logged and kept in `COURSE`.
        calls: ``progress``, ``log`` and ``callbacks``; see `vlreward.train.run.train`.

    Returns:
        What each stage came to; the last one's folder holds the finished policy.

    Raises:
        VLRewardError: what is wrong, before a model is loaded wherever that can be known.
    """
    trainer = functools.partial(PolicyTrainer, watch=watch)
    return train(recipe, trainer=cast(type[PackTrainer], trainer), **calls)
