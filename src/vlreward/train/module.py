"""The reward model as one module whose forward pass is a pack: what is wrapped, sharded and trained.

Everything with weights is called inside `PackModel.forward`, and always in the same order, so that processes that train
together cross no collective operations: a pack without a picture runs the vision tower on an empty one.

Shape suffixes: ``T`` packed tokens, ``S`` conversations, ``A`` answer tokens, ``K`` judged tokens, ``D`` hidden size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vlreward.model.backbone import Backbone, Features, Sight
from vlreward.model.media import Medium

from .losses import language
from .objective import BaseObjective
from .packs import Pack, PackMedia
from .parts import part_of

if TYPE_CHECKING:
    from vlreward.model.reward_model import RewardModel

    from .features import FeatureCache


class PackModel(nn.Module):
    """A reward model in training.

    Args:
        model: its backbone and head become this module's own.
        objective: decides what is computed.
        lm_head: ``(V, D)``, for an objective that writes; None where it is tied to the embeddings, or not needed.
        cache: of a frozen vision tower's output.
    """

    accepts_loss_kwargs = True
    facade: Backbone
    """The backbone's own way to run a pack. No submodule: it holds the backbone once more."""

    def __init__(
        self,
        model: RewardModel,
        objective: BaseObjective,
        *,
        lm_head: Tensor | None = None,
        cache: FeatureCache | None = None,
    ) -> None:
        super().__init__()
        self.backbone: Any = model.backbone.model
        self.head = model.head
        self.lm_head: nn.Linear | None = None
        if lm_head is not None:
            self.lm_head = nn.Linear(lm_head.shape[1], lm_head.shape[0], bias=False, device="meta")
            self.lm_head.weight = nn.Parameter(lm_head.to(model.backbone.device, model.backbone.dtype))
        self.facade = model.backbone
        self.objective, self.cache = objective, cache
        self.adapters: Any = None
        """peft's settings of the adapters, where there are any."""

    def freeze(self, trained: Iterable[str]) -> None:
        """Train the parts of these names and no others."""
        parts = set(trained)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(part_of(name) in parts)

    @property
    def trains_vision(self) -> bool:
        """Whether any weight of the vision tower is trained."""
        return any(p.requires_grad for name, p in self.named_parameters() if part_of(name) == "vision")

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Keep only the inputs of layers and compute the rest again when gradients are; Trainer calls this."""
        kwargs = activation_checkpointing_kwargs or {"use_reentrant": False}
        self.backbone.activation_checkpointing_enable(activation_checkpointing_kwargs=kwargs, **options)
        if not kwargs.get("use_reentrant", False):
            # It makes leaves of frozen embeddings, into which no picture can be written; only reentrant ones need that.
            self.backbone.disable_input_require_grads()

    def forward(self, pack: Pack) -> dict[str, Tensor]:
        """Run a pack.

        Returns:
            ``rewards_S``: the reward of each conversation, float32 or wider; ``rewards_K``: that of all that is written
            up to each judged token; ``nll_A``: minus the log-likelihood of each token that is to be written;
            ``anchor``: a zero that every trained weight has a part in.
        """
        features, zero = self._features(pack["media"])
        trie = pack["trie"]
        with self._fed(zero):
            hidden_TD = self.facade.packed_hidden(trie, features)
        last_S = torch.from_numpy(trie.last_S).to(hidden_TD.device)
        # One position more, so that the head also runs in a pack of nothing.
        rewards = self.head(torch.cat([hidden_TD[last_S], hidden_TD[:1]]))
        output = {"rewards_S": rewards[:-1].clone()}  # no view: FSDP puts hooks on what comes out
        anchor = 0 * rewards[-1]
        if self.objective.judges:
            output["rewards_K"] = self.head(hidden_TD[pack["judged_K"].to(hidden_TD.device)])
        if self.objective.writes:
            output["nll_A"] = self._write(hidden_TD, pack)
        if len(pack["parents_A"]) == 0:
            anchor = anchor + 0 * self._logits(hidden_TD[:1]).sum() if self.objective.writes else anchor
        return output | {"anchor": anchor}

    @contextmanager
    def _fed(self, zero: Tensor) -> Iterator[None]:
        """Add a zero to the embeddings, so that the layers' input has a gradient in every process or in none.

        Where it has one with pictures and none without (frozen embeddings, a trained projector), FSDP reduces the first
        layer's gradients at another time in each, and the processes wait for one another, or worse.
        """
        if not zero.requires_grad:
            yield
            return
        embeddings = self.backbone.get_input_embeddings()
        hook = embeddings.register_forward_hook(lambda _, __, embeds_TD: embeds_TD + zero.to(embeds_TD.dtype))
        try:
            yield
        finally:
            hook.remove()

    def _write(self, hidden_TD: Tensor, pack: Pack) -> Tensor:
        return language(self._logits(hidden_TD[pack["parents_A"].to(hidden_TD.device)]), pack["targets_A"])

    def _logits(self, hidden_AD: Tensor) -> Tensor:
        if self.lm_head is not None:
            logits: Tensor = self.lm_head(hidden_AD)
            return logits
        return nn.functional.linear(hidden_AD, self.backbone.get_input_embeddings().weight)

    def _features(self, held: PackMedia) -> tuple[dict[int, Features], Tensor]:
        """The visual tokens of a pack's media, and a zero in which every weight that makes them has a part."""
        *features, nothing = self.facade.project([self._as_weights(sight) for sight in self._see(held)])
        zero = sum(0 * tokens.sum() for tokens in (nothing.tokens_VD, *nothing.deepstack))
        return dict(zip(held.indices, features, strict=True)), torch.as_tensor(zero)

    def _as_weights(self, sight: Sight) -> Sight:
        """In the projector's own dtype: the cache may keep a narrower one."""
        weight = next(self.backbone.visual.merger.parameters())
        dtype = weight.dtype if weight.is_floating_point() else self.facade.dtype
        states, *levels = (level.to(weight.device, dtype) for level in sight.levels)
        return Sight(states, tuple(levels))

    def _see(self, held: PackMedia) -> list[Sight]:
        """The vision tower's output for each medium, from the cache or now, and then for an empty picture."""
        found = {i: sight for i, sight in enumerate(held.sights) if sight is not None}
        wanted = [i for i in range(len(held.media)) if i not in found]
        patches = {i: patches.to(self.facade.device) for i, patches in enumerate(held.patches) if patches is not None}
        if self.trains_vision or self._sharded:
            # One run in any case: processes that share a tower have to run it equally often.
            media, nothing = [held.media[i] for i in wanted], self._empty_picture()
            *seen, empty = self._run_tower(
                torch.cat([*(patches[i] for i in wanted), nothing]), [*media, self._empty_medium()]
            )
            found.update(zip(wanted, self._keep(seen, media), strict=True))
            return [*(found[i] for i in range(len(held.media))), empty]
        # With a cache on the CPU each picture is seen alone, so that what is kept does not depend on what it was seen
        # with, and a run that goes on from a checkpoint ends like one that was not stopped.
        alone = self.cache is not None and self.facade.device.type == "cpu"
        for batch in [[i] for i in wanted] if alone else [wanted] if wanted else []:
            media = [held.media[i] for i in batch]
            seen = self._run_tower(torch.cat([patches[i] for i in batch]), media)
            found.update(zip(batch, self._keep(seen, media), strict=True))
        return [*(found[i] for i in range(len(held.media))), self._empty_sight()]

    def _keep(self, sights: list[Sight], media: list[Medium]) -> list[Sight]:
        """Put them into the cache, and give what it would give."""
        if self.cache is None:
            return sights
        rounded = [self.cache.rounded(sight) for sight in sights]
        for medium, sight in zip(media, rounded, strict=True):
            self.cache.put(medium, sight)
        return rounded

    @property
    def _sharded(self) -> bool:
        from torch.distributed.tensor import DTensor

        return any(isinstance(parameter, DTensor) for parameter in self.parameters())

    def _empty_medium(self) -> Medium:
        merge = int(self.facade.config.vision_config.spatial_merge_size)
        return Medium(b"", "image", (1, merge, merge), 1, None, ())

    def _empty_picture(self) -> Tensor:
        """The patches of the smallest picture, black."""
        config = self.facade.config.vision_config
        values = int(getattr(config, "in_channels", 3)) * int(config.temporal_patch_size) * int(config.patch_size) ** 2
        return torch.zeros((int(config.spatial_merge_size) ** 2, values), device=self.facade.device)

    def _empty_sight(self) -> Sight:
        """What stands for the output of a tower that need not run for an empty picture."""
        config = self.facade.config.vision_config
        width = int(getattr(config, "embed_dim", config.hidden_size)) * int(config.spatial_merge_size) ** 2
        levels = getattr(self.backbone.visual, "deepstack_merger_list", None) or ()
        nothing = torch.zeros((1, width), device=self.facade.device)
        return Sight(nothing, tuple(nothing for _ in levels))

    def _run_tower(self, patches_NP: Tensor, media: list[Medium]) -> list[Sight]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains_vision):
            return self.facade.see(patches_NP, media)
