"""What is declared of each backbone, and how it is loaded.

A backbone is a vision tower, a projector (the merger) and a causal language model. What it can do is declared in
`BackboneSpec`, never guessed: only plain causal full attention can be packed as a tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vlreward.errors import CheckpointError, UnsupportedError

if TYPE_CHECKING:
    import torch

    from .checkpoints.folder import CheckpointFolder
    from .media import Medium
    from .packing import IntArray, Trie
    from .prefix_cache import Past


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """One family of backbones."""

    model_type: str
    """``model_type`` in config.json."""
    packable: bool
    """Whether its text model is plain causal full attention, so that conversations can be packed into one tree."""
    text_prefix: str
    """Start of the language model's tensor names in published checkpoints; ``language_model.`` in memory."""
    vision_prefix: str
    """Start of the vision tower's tensor names in published checkpoints; ``visual.`` in memory."""
    lm_architecture: str
    """The transformers class with an LM head."""
    classification_architecture: str
    """The architecture name that serving engines expect of its sequence-classification form."""
    video_timestamps: bool = False
    """Whether the text spells the time of each video frame (Qwen3-VL) instead of the positions carrying it."""


QWEN2_5_VL = BackboneSpec(
    model_type="qwen2_5_vl",
    packable=True,
    text_prefix="model.",
    vision_prefix="visual.",
    lm_architecture="Qwen2_5_VLForConditionalGeneration",
    classification_architecture="Qwen2_5_VLForSequenceClassification",
)
QWEN2_VL = BackboneSpec(
    model_type="qwen2_vl",
    packable=True,
    text_prefix="model.",
    vision_prefix="visual.",
    lm_architecture="Qwen2VLForConditionalGeneration",
    classification_architecture="Qwen2VLForSequenceClassification",
)
QWEN3_VL = BackboneSpec(
    model_type="qwen3_vl",
    packable=True,
    text_prefix="model.language_model.",
    vision_prefix="model.visual.",
    lm_architecture="Qwen3VLForConditionalGeneration",
    classification_architecture="Qwen3VLForSequenceClassification",
    video_timestamps=True,
)
QWEN3_5 = BackboneSpec(
    model_type="qwen3_5",
    # Most of its layers are recurrent: a token's state depends on the order of all before it, not on a set of keys.
    packable=False,
    text_prefix="model.language_model.",
    vision_prefix="model.visual.",
    lm_architecture="Qwen3_5ForConditionalGeneration",
    classification_architecture="Qwen3_5ForSequenceClassification",
    video_timestamps=True,
)
SPECS = (QWEN2_5_VL, QWEN2_VL, QWEN3_VL, QWEN3_5)


def spec_for(config: Mapping[str, Any], where: str) -> BackboneSpec:
    """The declaration for a ``config.json``.

    Raises:
        CheckpointError: there is no ``model_type``.
        UnsupportedError: the backbone is not declared, or is set to an attention that a tree cannot stand for.
    """
    model_type = config.get("model_type")
    if not model_type:
        raise CheckpointError(f"{where}: config.json has no model_type")
    for spec in SPECS:
        if spec.model_type == model_type:
            text = config.get("text_config") or config
            if spec.packable and text.get("use_sliding_window"):
                raise UnsupportedError(f"{where}: use_sliding_window is true; only full attention is supported")
            return spec
    known = ", ".join(spec.model_type for spec in SPECS)
    raise UnsupportedError(f"{where}: backbone {model_type!r} is not supported; known: {known}")


TextAfterVideo: TypeAlias = Literal["last", "frame"]


def text_after_video(config: Mapping[str, Any]) -> TextAfterVideo:
    """Where the positions of the text behind a video go on, for the makers of a checkpoint.

    ``last``: after the last position of the video, on any axis. That is how Qwen2-VL and Qwen2.5-VL are defined, and
    what transformers did until 5.2. ``frame``: after the larger side of a frame, which transformers does since 5.3; a
    video that reaches farther in time than in space then overlaps the text behind it. Tools train by the rule of the
    transformers they run on, and ``transformers_version`` in config.json says which that was.
    """
    numbers = re.findall(r"\d+", str(config.get("transformers_version") or ""))[:2]
    version = tuple(int(number) for number in numbers)
    return "frame" if version >= (5, 3) else "last"


def _ends_of_runs(marked_T: Any) -> list[int]:
    """Where runs of true values end, but for one that ends the array."""
    import numpy as np

    return (np.flatnonzero(marked_T[:-1] & ~marked_T[1:]) + 1).tolist()


class Backbone:
    """A loaded vision tower, projector and language model, without an LM head.

    Shape suffixes: ``T`` tokens, ``N`` patches, ``P`` values of a patch, ``V`` visual tokens, ``S`` scored positions,
    ``D`` hidden size.
    """

    def __init__(self, model: Any, spec: BackboneSpec, *, text_after_video: TextAfterVideo = "last") -> None:
        self.model, self.spec, self.text_after_video = model, spec, text_after_video
        self.config = model.config
        self.scored_last_layer = True
        """Whether scoring computes the last layer at scored positions only."""
        self.image_token_id, self.video_token_id = int(self.config.image_token_id), int(self.config.video_token_id)

    @classmethod
    def load(
        cls,
        folder: CheckpointFolder,
        *,
        dtype: torch.dtype,
        device: torch.device,
        device_map: Any,
        quantization: Any = None,
    ) -> Backbone:
        """Load the weights of a checkpoint folder, every one of them accounted for.

        Args:
            quantization: handed to transformers, for weights of fewer bits than are on disk.

        Raises:
            CheckpointError: a tensor is missing, left over, of another shape, or not finite; it is named.
        """
        import torch
        from transformers import AutoModel

        from . import attention, last_layer, windows
        from .checkpoints import check_tensors

        check_tensors(folder)
        spec = spec_for(folder.config, folder.name)
        with quiet_transformers():
            model, info = AutoModel.from_pretrained(
                folder.path,
                dtype=dtype,
                device_map=device_map if device_map is not None else {"": device},
                attn_implementation={
                    "text_config": attention.NAME if spec.packable else "sdpa",
                    "vision_config": "sdpa",
                },
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **({} if quantization is None else {"quantization_config": quantization}),
            )
        _check_loading(info, folder.name)
        for name, parameter in model.named_parameters():
            # A sum is not finite if any of its terms is not, and needs no memory beside the tensor.
            if not torch.isfinite(parameter.detach().sum(dtype=torch.float32)):
                raise CheckpointError(f"{folder.name}: tensor {name} holds NaN or infinite values")
        # Set behind the loading, which would look for a package to go with the name.
        model.visual.config._attn_implementation = windows.NAME
        _embed_patches_by_product(model.visual.patch_embed)
        if spec.packable:
            last_layer.install(model.language_model)
        return cls(model.eval(), spec, text_after_video=text_after_video(folder.config))

    @classmethod
    def without_weights(cls, folder: CheckpointFolder) -> Backbone:
        """A backbone that renders and measures but computes nothing: its tensors have shapes and no memory."""
        import torch
        from transformers import AutoConfig, AutoModel

        spec = spec_for(folder.config, folder.name)
        with quiet_transformers(), torch.device("meta"):
            config = AutoConfig.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
            model = AutoModel.from_config(config)
        return cls(model.eval(), spec, text_after_video=text_after_video(folder.config))

    @property
    def device(self) -> torch.device:
        """Where the token embeddings are, and so where inputs go."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    @property
    def output_device(self) -> torch.device:
        """Where hidden states come out; another than `device` when a device map spreads the layers."""
        device: torch.device = self.model.language_model.norm.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' dtype."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    def positions(self, ids_T: IntArray, media: Sequence[Medium]) -> IntArray:
        """M-RoPE positions ``(T, 3)`` of one conversation.

        They are those of the backbone's own ``get_rope_index``, but for the text behind a video; see
        `text_after_video`.
        """
        positions_31T, _ = self.model.get_rope_index(**self._layout(ids_T, media))
        positions_T3: IntArray = positions_31T[:, 0].numpy().T
        if self.text_after_video == "last":
            positions_T3 = positions_T3.copy()
            for end in _ends_of_runs(ids_T == self.video_token_id):
                positions_T3[end:] += positions_T3[:end].max() + 1 - positions_T3[end, 0]
        return positions_T3

    def _layout(self, ids_T: IntArray, media: Sequence[Medium]) -> dict[str, Any]:
        """What transformers wants to know of one conversation beside its pixels, on the CPU."""
        import torch

        ids_1T = torch.from_numpy(ids_T)[None]
        frames = int(self.config.vision_config.temporal_patch_size)
        layout: dict[str, Any] = {
            "input_ids": ids_1T,
            "mm_token_type_ids": (ids_1T == self.image_token_id).int() + 2 * (ids_1T == self.video_token_id).int(),
        }
        for kind in ("image", "video"):
            grids = [medium.grid for medium in media if medium.kind == kind]
            if grids:
                layout[f"{kind}_grid_thw"] = torch.tensor(grids)
        seconds = [frames / medium.fps for medium in media if medium.fps is not None]
        if seconds and not self.spec.video_timestamps:
            layout["second_per_grid_ts"] = seconds
        return layout

    def plain_hidden(self, ids_T: IntArray, media: Sequence[Medium], patches: Sequence[torch.Tensor]) -> torch.Tensor:
        """Last hidden states ``(T, D)`` of one conversation, by transformers' own forward and attention.

        Args:
            media: what the placeholders stand for, in order, repeats included.
            patches: the patches ``(N, P)`` of each.
        """
        import torch

        inputs = self._layout(ids_T, media)
        inputs["position_ids"] = torch.from_numpy(self.positions(ids_T, media).T[:, None].copy())
        for kind, name in (("image", "pixel_values"), ("video", "pixel_values_videos")):
            found = [p for medium, p in zip(media, patches, strict=True) if medium.kind == kind]
            if found:
                inputs[name] = torch.cat(found)
        device = self.device
        inputs = {key: value.to(device) if hasattr(value, "to") else value for key, value in inputs.items()}
        hidden_TD: torch.Tensor = self.model(**inputs, use_cache=False).last_hidden_state[0]
        return hidden_TD

    def see(self, patches_NP: torch.Tensor, media: Sequence[Medium]) -> list[Sight]:
        """What the vision tower says of media, before the projector; their patches are concatenated.

        `project` makes visual tokens of it. The two apart are for training, where the tower may be frozen while the
        projector is not.
        """
        import torch

        grid = torch.tensor([medium.grid for medium in media], device=patches_NP.device)
        with _without_projector(self.model.visual):
            output = self.model.visual(patches_NP, grid_thw=grid)
        counts = [medium.tokens for medium in media]
        levels = getattr(output, "deepstack_features", None) or ()
        parts = [states.split(counts) for states in (output.pooler_output, *levels)]
        return [Sight(states_VM, tuple(deeper)) for states_VM, *deeper in zip(*parts, strict=True)]

    def project(self, sights: Sequence[Sight]) -> list[Features]:
        """Visual tokens of what `see` gave, of one or several of its calls."""
        import torch

        visual = self.model.visual
        mergers = (visual.merger, *(getattr(visual, "deepstack_merger_list", None) or ()))
        patches = int(self.config.vision_config.spatial_merge_size) ** 2
        counts = [len(sight.states_VM) for sight in sights]
        parts = []
        for merger, states in zip(mergers, zip(*(sight.levels for sight in sights), strict=True), strict=True):
            states_VM = torch.cat(states)
            parts.append(merger(states_VM.view(-1, states_VM.shape[1] // patches)).split(counts))
        return [Features(tokens_VD, tuple(deeper)) for tokens_VD, *deeper in zip(*parts, strict=True)]

    def encode(self, patches_NP: torch.Tensor, media: Sequence[Medium]) -> list[Features]:
        """Visual tokens of media of one kind, whose patches are concatenated."""
        import torch

        grid = torch.tensor([medium.grid for medium in media], device=patches_NP.device)
        encode = self.model.get_image_features if media[0].kind == "image" else self.model.get_video_features
        output = encode(patches_NP, grid, return_dict=True)
        levels = getattr(output, "deepstack_features", None) or ()
        # Copies, so that keeping one does not keep the whole call's.
        return [
            Features(tokens_VD.clone(), tuple(level[i].clone() for level in levels))
            for i, tokens_VD in enumerate(output.pooler_output)
        ]

    def hidden(
        self, trie: Trie, features: Mapping[int, Features], *, method: Any = None, past: Past | None = None
    ) -> torch.Tensor:
        """Last hidden states ``(S, D)`` at each conversation's last token; for scoring, without gradients.

        Args:
            trie: the pack.
            features: the visual tokens of each medium that the pack's rows name.
            method: an attention method of `attention.Method`; None lets the device and length choose.
            past: what is known of tokens before these; see `vlreward.model.prefix_cache`.
        """
        import torch

        if self._last_layer_reads_scored(features):
            return self._forward(trie, features, method, trie.last_S, past)
        hidden_TD = self._forward(trie, features, method, None, past)
        return hidden_TD[torch.from_numpy(trie.last_S).to(hidden_TD.device)]

    def packed_hidden(self, trie: Trie, features: Mapping[int, Features], *, method: Any = None) -> torch.Tensor:
        """Last hidden states ``(T, D)`` of all tokens of a pack; arguments as of `hidden`."""
        return self._forward(trie, features, method, None, None)[: len(trie)]

    def _last_layer_reads_scored(self, features: Mapping[int, Features]) -> bool:
        """Whether the last layer may be narrowed: not while training, nor where a deepstack level is added after it."""
        import torch

        levels = max((len(feature.deepstack) for feature in features.values()), default=0)
        return self.scored_last_layer and not torch.is_grad_enabled() and levels < len(self.model.language_model.layers)

    def _forward(
        self, trie: Trie, features: Mapping[int, Features], method: Any, scored_S: IntArray | None, past: Past | None
    ) -> torch.Tensor:
        """The language model's last states, at all tokens or the scored ones."""
        import torch

        from .attention import Tree, packed_length
        from .packing import Column, pad_trie

        device = self.device
        if method is None and not past:
            trie = pad_trie(trie, packed_length(device, len(trie)))
        rows_TC = torch.from_numpy(trie.rows_TC).to(device)
        embeds_TD = self.model.get_input_embeddings()(rows_TC[:, Column.ID])
        visual_T, gathered = self._gather(rows_TC, features)
        extra: dict[str, Any] = {}
        if gathered is not None:
            embeds_TD[visual_T] = gathered.tokens_VD.to(embeds_TD.dtype)
            if gathered.deepstack:
                extra = {"visual_pos_masks": visual_T[None], "deepstack_visual_embeds": list(gathered.deepstack)}
        output = self.model.language_model(
            inputs_embeds=embeds_TD[None],
            position_ids=rows_TC[:, Column.TIME :].T[:, None],
            use_cache=False,
            tree=Tree.build(trie.exit_T, device, method, scored_S, past),
            **extra,
        )
        hidden: torch.Tensor = output.last_hidden_state[0]
        return hidden

    def _gather(self, rows_TC: torch.Tensor, features: Mapping[int, Features]) -> tuple[torch.Tensor, Features | None]:
        """Which tokens are visual, and their visual tokens in packed order."""
        import torch

        from .packing import Column

        visual_T = rows_TC[:, Column.MEDIUM] >= 0
        used = torch.unique(rows_TC[visual_T, Column.MEDIUM]).tolist()
        if not used:
            return visual_T, None
        begin = torch.zeros(max(used) + 1, dtype=torch.long, device=rows_TC.device)
        count = 0
        for index in used:
            begin[index] = count
            count += len(features[index].tokens_VD)
        take = begin[rows_TC[visual_T, Column.MEDIUM]] + rows_TC[visual_T, Column.FEATURE]
        tokens_VD = torch.cat([features[index].tokens_VD for index in used])[take]
        levels = zip(*(features[index].deepstack for index in used), strict=True)
        return visual_T, Features(tokens_VD, tuple(torch.cat(level)[take] for level in levels))


@dataclass(frozen=True, eq=False)
class Features:
    """Visual tokens of one medium."""

    tokens_VD: torch.Tensor
    """What replaces the placeholders' embeddings."""
    deepstack: tuple[torch.Tensor, ...] = ()
    """For Qwen3-VL, what is added to the hidden states after each of the first layers, ``(V, D)`` each."""

    @property
    def nbytes(self) -> int:
        """Memory of all tensors, bytes."""
        return sum(tensor.nbytes for tensor in (self.tokens_VD, *self.deepstack))


@dataclass(frozen=True, eq=False)
class Sight:
    """What the vision tower says of one medium, before the projector. ``M``: the states of one visual token's patches,
    one behind another."""

    states_VM: torch.Tensor
    """The last layer's."""
    deepstack: tuple[torch.Tensor, ...] = ()
    """For Qwen3-VL, those of the layers from which its deepstack levels come, ``(V, M)`` each."""

    @property
    def levels(self) -> tuple[torch.Tensor, ...]:
        """All states, the last layer's first."""
        return (self.states_VM, *self.deepstack)


@contextmanager
def _without_projector(visual: Any) -> Iterator[None]:
    """Let a vision tower hand out, in place of each visual token, the states of the patches behind it."""
    import torch

    class Gather(torch.nn.Module):
        """As many patches to a row as the merger takes."""

        def forward(self, states_NH: torch.Tensor) -> torch.Tensor:
            return states_NH.reshape(-1, visual.spatial_merge_size**2 * states_NH.shape[-1])

    merger, levels = visual.merger, getattr(visual, "deepstack_merger_list", None)
    visual.merger = Gather()
    if levels is not None:
        visual.deepstack_merger_list = torch.nn.ModuleList(Gather() for _ in levels)
    try:
        yield
    finally:
        visual.merger = merger
        if levels is not None:
            visual.deepstack_merger_list = levels


def _embed_patches_by_product(patch_embed: Any) -> None:
    """Embed patches with one matrix product: the convolution's kernel covers exactly one patch, so the two are equal.

    Measured on two cores: 3 to 5 times faster than the convolution, in float32 and bfloat16.
    """
    import torch

    if hasattr(patch_embed, "_hf_hook"):  # accelerate moves this module's weights around its own forward
        return

    def forward(patches_NP: torch.Tensor) -> torch.Tensor:
        kernel, bias = patch_embed.proj.weight, patch_embed.proj.bias
        return torch.nn.functional.linear(patches_NP.to(kernel.dtype), kernel.flatten(1), bias)

    patch_embed.forward = forward


def _check_loading(info: Mapping[str, Any], where: str) -> None:
    """What transformers made of the tensors, which were all there by name and shape: none initialised, none dropped."""
    heads = ("lm_head.", "score.", "v_head.")
    dropped = [name for name in info["unexpected_keys"] if not name.startswith(heads)]
    wrong = sorted({*info["missing_keys"], *map(str, info["mismatched_keys"]), *dropped})
    if wrong:
        names = ", ".join(wrong[:3]) + (" …" if len(wrong) > 3 else "")
        raise CheckpointError(f"{where}: transformers did not load {names}; is its version one that was tested?")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and load report to itself: what it would report is checked and raised."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
