"""Answers of a policy in this process, by transformers' own generation.

A prompt and its pictures are run once, whatever the number of answers: what the layers keep of it is repeated for each
answer, and generation goes on from there.

Shape suffixes: ``B`` answers drawn together, ``T`` tokens of the prompt.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from vlreward.data.limits import MediaLimits
from vlreward.errors import ConfigError, LengthError
from vlreward.model.backbone import quiet_transformers
from vlreward.model.checkpoints import CheckpointFolder
from vlreward.model.head import RewardHead
from vlreward.model.loading import LoadOptions, choose_device, choose_dtype, load
from vlreward.model.media import Medium
from vlreward.model.packing import Column, IntArray
from vlreward.model.processing import MediaTable, Processor
from vlreward.model.reward_model import RewardModel, Settings

from .sampling import Prompt, Sampled, SamplingSettings

_AT_ONCE = 64


class LocalSampler:
    """A `Sampler` over a vision-language model that is loaded here.

    Args:
        model: transformers' model with its LM head, in evaluation mode. Its own settings of generation, but for the
            tokens that end an answer, are dropped.
        opened: the same checkpoint, opened for its processor; its weights are not used.
        at_once: most answers that are drawn together; more of a prompt are drawn in turns.
    """

    def __init__(self, model: Any, opened: RewardModel, *, at_once: int = _AT_ONCE) -> None:
        if at_once < 1:
            raise ConfigError(f"at_once must be at least 1, got {at_once}")
        from transformers import GenerationConfig

        self.model, self._opened, self._at_once = model, opened, at_once
        said = getattr(model.generation_config, "eos_token_id", None)
        ends = [*(said if isinstance(said, list) else [said]), opened.processor.tokenizer.eos_token_id]
        self._ends = [token for token in dict.fromkeys(ends) if token is not None]
        """The tokens that end an answer: the checkpoint's, and its tokenizer's."""
        # What a checkpoint says, a repetition penalty for one, would fill whatever is left open.
        model.generation_config = GenerationConfig()

    @classmethod
    def from_pretrained(  # noqa: PLR0913 - the names of `RewardModel.from_pretrained`
        cls,
        path_or_id: str | Path,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        media_limits: MediaLimits | None = None,
        at_once: int = _AT_ONCE,
    ) -> Self:
        """Load a policy from a folder or the hub; the arguments are those of `RewardModel.from_pretrained`.

        Raises:
            CheckpointError: the folder is incomplete, broken or ambiguous; the tensor or file is named.
            UnsupportedError: the backbone is not supported.
        """
        from transformers import AutoModelForImageTextToText

        options = LoadOptions(
            dtype=dtype,
            device=device,
            min_pixels=min_pixels,
            max_pixels=max_pixels,
            revision=revision,
            local_files_only=local_files_only,
            device_map=None,
            question=None,
            media_limits=media_limits or MediaLimits(),
            pack_tokens=None,
            head=_no_head,
            weights=False,
        )
        opened = load(RewardModel, path_or_id, options)
        folder = CheckpointFolder.open(path_or_id, revision, local_files_only)
        where = choose_device(device)
        with quiet_transformers():
            model = AutoModelForImageTextToText.from_pretrained(
                folder.path,
                dtype=choose_dtype(dtype, where, folder),
                device_map={"": where},
                attn_implementation="sdpa",
                local_files_only=True,
                trust_remote_code=False,
            )
        return cls(model.eval(), opened, at_once=at_once)

    @property
    def settings(self) -> Settings:
        """How it was loaded."""
        dtype = str(self.model.dtype).removeprefix("torch.")
        return replace(self._opened.settings, device=str(self.model.device), dtype=dtype)

    def sample(self, prompts: Sequence[Prompt], settings: SamplingSettings) -> list[Sampled]:
        """The answers to each prompt; a prompt's own do not depend on the others.

        Raises:
            LengthError: a prompt leaves no room for an answer.
            MediaError: a picture cannot be used.
        """
        return [Sampled.of(prompt, self._answers(prompt, settings)) for prompt in prompts]

    def close(self) -> None:
        """Nothing to free: the model is its owner's."""

    @torch.inference_mode()
    def _answers(self, prompt: Prompt, settings: SamplingSettings) -> list[tuple[str, bool]]:
        rows_TC, media = self._encoded(prompt, settings)
        ids_1T = torch.from_numpy(rows_TC[:, Column.ID].copy())[None].to(self.model.device)
        cache, offset = self._prefill(ids_1T, rows_TC, media)
        device = self.model.device
        # Without a device of its own, nothing but the CPU's generator is kept aside.
        aside = {"devices": []} if device.type == "cpu" else {"devices": [device], "device_type": device.type}
        answers: list[tuple[str, bool]] = []
        with torch.random.fork_rng(**aside):
            torch.manual_seed(prompt.seed(settings))
            while len(answers) < settings.answers:
                count = min(self._at_once, settings.answers - len(answers))
                answers += self._drawn(ids_1T, copy.deepcopy(cache), offset, count, settings)
        return answers

    def _encoded(self, prompt: Prompt, settings: SamplingSettings) -> tuple[IntArray, list[Medium]]:
        processor: Processor = self._opened.processor
        table = MediaTable()
        text = processor.render(prompt.messages, generate=True) + prompt.beginning
        conversation = processor.encode(text, prompt.messages, table, prompt.name)
        if len(conversation) + settings.max_tokens > processor.context:
            raise LengthError(
                f"{prompt.name}: {len(conversation)} tokens and an answer of {settings.max_tokens} are more than the "
                f"model's context of {processor.context}; lower max_tokens or shorten it"
            )
        return conversation.rows_TC, [table.media[index] for index in conversation.media()]

    def _prefill(self, ids_1T: Tensor, rows_TC: IntArray, media: Sequence[Medium]) -> tuple[Any, int]:
        """What the layers keep of a prompt but for its last token, and how far positions are from token counts."""
        from transformers import DynamicCache

        positions_T3 = torch.from_numpy(rows_TC[:, Column.TIME :].copy())
        length, device = ids_1T.shape[1], self.model.device
        cache = DynamicCache(config=self.model.config)
        kinds_1T = (ids_1T == self._opened.backbone.image_token_id).int()
        kinds_1T += 2 * (ids_1T == self._opened.backbone.video_token_id).int()
        self.model(
            input_ids=ids_1T[:, :-1],
            attention_mask=torch.ones_like(ids_1T[:, :-1]),
            mm_token_type_ids=kinds_1T[:, :-1],
            position_ids=positions_T3[:-1].T[:, None].to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **self._pixels(media),
        )
        return cache, int(positions_T3[-1].max()) + 1 - length

    def _pixels(self, media: Sequence[Medium]) -> dict[str, Tensor]:
        """Patches and grids, as transformers' models take them."""
        patches: dict[str, list[Tensor]] = defaultdict(list)
        grids: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for medium in media:
            patches[medium.kind].append(torch.from_numpy(self._opened.processor.media.patches(medium)))
            grids[medium.kind].append(medium.grid)
        pixels = {}
        for kind, name in (("image", "pixel_values"), ("video", "pixel_values_videos")):
            if patches[kind]:
                pixels[name] = torch.cat(patches[kind]).to(self.model.device)
                pixels[f"{kind}_grid_thw"] = torch.tensor(grids[kind], device=self.model.device)
        return pixels

    def _drawn(
        self, ids_1T: Tensor, cache: Any, offset: int, count: int, settings: SamplingSettings
    ) -> Iterator[tuple[str, bool]]:
        """Answers that are drawn together, each with whether it is finished."""
        tokenizer, length = self._opened.processor.tokenizer, ids_1T.shape[1]
        cache.batch_repeat_interleave(count)
        self.model.model.rope_deltas = torch.full((count, 1), offset, device=self.model.device)
        ids_BT = ids_1T.expand(count, -1)
        written = self.model.generate(
            input_ids=ids_BT,
            attention_mask=torch.ones_like(ids_BT),
            past_key_values=cache,
            generation_config=self._generation(settings),
            **({"tokenizer": tokenizer} if settings.stop else {}),
        )
        ends = set(self._ends)
        for row in written[:, length:].tolist():
            tokens = row[: next((i for i, token in enumerate(row) if token in ends), len(row))]
            text = tokenizer.decode(tokens, skip_special_tokens=True)
            stops = [place for place in (text.find(stop) for stop in settings.stop) if place >= 0]
            finished = len(tokens) < len(row) or bool(stops)
            yield text[: min(stops, default=len(text))], finished

    def _generation(self, settings: SamplingSettings) -> Any:
        from transformers import GenerationConfig

        drawn = {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
        pad = self._opened.processor.tokenizer.pad_token_id
        return GenerationConfig(
            **(drawn if settings.temperature else {"do_sample": False}),
            max_new_tokens=settings.max_tokens,
            eos_token_id=self._ends,
            pad_token_id=self._ends[0] if pad is None else pad,
            stop_strings=list(settings.stop) or None,
        )


def _no_head(folder: CheckpointFolder) -> RewardHead:
    """A head that is never asked."""
    return RewardHead.linear(torch.zeros(1, folder.hidden_size))
