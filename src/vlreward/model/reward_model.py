"""The reward model: conversations in, one number each out.

`RewardModel.score_groups` packs what is asked of it into tries and is what everything else calls.
`RewardModel.score_plain` runs one conversation at a time through transformers' own forward: the slow definition.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, overload

import torch

from vlreward.data.images import MediaLimits
from vlreward.errors import InputError, ScoreError, UnsupportedError
from vlreward.types import Group, Message, Reward, parse_messages

from .backbone import Backbone, Features
from .calibration import Calibration, bradley_terry, read_calibration
from .checkpoints.question import Question
from .counts import Counts
from .head import RewardHead
from .packing import Column, Trie, build_trie, plan_packs, shared_length
from .prefix_cache import PrefixCache
from .processing import Conversation, MediaTable, Processor
from .sentences import sentence_ends
from .vision import VisualCache

logger = logging.getLogger("vlreward")

MANY_VISUAL_TOKENS = 4096
_WINDOW_PACKS = 4
_CACHE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class RankedResponse:
    """A response of a group and its reward."""

    index: int
    """Its place in the group."""
    reward: float
    """Its reward."""


@dataclass(frozen=True)
class TracePoint:
    """The reward if the answer had stopped after one of its sentences."""

    end: int
    """Where the sentence ends, in characters of the answer."""
    text: str
    """The sentence."""
    reward: float
    """The reward of the answer up to ``end``."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a score depends on beside the weights; saved with every result."""

    model: str
    """The path or hub id, as given."""
    revision: str | None
    """The hub revision, where one was asked for."""
    dtype: str
    """Dtype of the backbone; the head is float32."""
    device: str
    """Device of the token embeddings."""
    min_pixels: int
    """Smallest picture, in pixels after the resize."""
    max_pixels: int
    """Largest picture, in pixels after the resize."""
    resize: str
    """The resize backend."""
    pack_tokens: int
    """Token budget of a pack."""
    text_after_video: str
    """Where positions go on behind a video; see `vlreward.model.backbone.text_after_video`."""


class RewardModel:
    """A multimodal reward model. Load one with `from_pretrained`."""

    def __init__(
        self, backbone: Backbone, head: RewardHead, processor: Processor, *, settings: Settings, source: Any
    ) -> None:
        self.backbone, self.head, self.processor, self.settings = backbone, head, processor, settings
        self.vision = VisualCache(backbone, processor.media, max_bytes=_CACHE_BYTES)
        self.counts = Counts()
        self.prefixes = PrefixCache(backbone)
        """States of prompts across calls; off until its `max_bytes` are set."""
        self._source = source

    @classmethod
    def from_pretrained(  # noqa: PLR0913 - the names that users know from transformers, and ours
        cls,
        path_or_id: str | Path,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        device_map: Any = None,
        question: Question | None = None,
        media_limits: MediaLimits | None = None,
        pack_tokens: int | None = None,
        prefix_cache_bytes: int = 0,
    ) -> Self:
        """Load a reward model from a folder or the hub.

        Args:
            path_or_id: a local folder, else a hub id.
            dtype: of the backbone; ``auto``: bfloat16 on an accelerator; on the CPU what the checkpoint says, or
                float32 where that is narrower and the CPU has no arithmetic for it.
            device: ``auto``: the first accelerator, else the CPU.
            min_pixels, max_pixels: of a picture after the resize; None: what the checkpoint says.
            revision: branch, tag or commit on the hub.
            local_files_only: never ask the hub.
            device_map: handed to transformers, for a model that does not fit one device.
            question: read a plain vision-language model as a reward model, by the logits of two answers.
            media_limits: what pictures and videos may be; see `vlreward.data.images.MediaLimits`.
            pack_tokens: token budget of a pack; None: by device.
            prefix_cache_bytes: memory for the states of prompts, with which later calls skip those prompts; 0: none.
                Rewards are then the same to rounding, no longer to the last bit.

        Raises:
            CheckpointError: the folder is incomplete, broken or ambiguous; the tensor or file is named.
            UnsupportedError: the backbone is not supported.
            ConfigError: an option is out of its range.
        """
        from .loading import LoadOptions, load

        options = LoadOptions(
            dtype=dtype,
            device=device,
            min_pixels=min_pixels,
            max_pixels=max_pixels,
            revision=revision,
            local_files_only=local_files_only,
            device_map=device_map,
            question=question,
            media_limits=media_limits or MediaLimits(),
            pack_tokens=pack_tokens,
        )
        model = load(cls, path_or_id, options)
        model.prefixes.max_bytes = prefix_cache_bytes
        return model

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return self.backbone.device

    @overload
    def score(self, messages: Sequence[Mapping[str, Any] | Message]) -> float: ...

    @overload
    def score(self, messages: Sequence[Sequence[Mapping[str, Any] | Message]]) -> list[float]: ...

    def score(self, messages: Sequence[Any]) -> float | list[float]:
        """The reward of one conversation that ends in the answer, or of each of several.

        Raises:
            InputError: a conversation does not end in an assistant message.
        """
        several = not isinstance(messages, Mapping) and len(messages) > 0
        if several and not isinstance(messages[0], (Mapping, Message)):
            groups = [_as_group(item, f"conversations[{i}]") for i, item in enumerate(messages)]
            return [rewards[0] for rewards in self.score_groups(groups)]
        return self.score_groups([_as_group(messages, "messages")])[0][0]

    def score_groups(
        self, groups: Sequence[Group], *, progress: Callable[[int], None] | None = None
    ) -> list[list[float]]:
        """The rewards of each group's responses, in order.

        What conversations share from the front, in a group or across groups, is computed once.

        Args:
            groups: prompts with their responses.
            progress: called with the number of groups done since the last call.

        Raises:
            VLRewardError: the message names the group, and the response where it is one response's fault.
        """
        rewards: list[list[float]] = []
        for window in self._windows(groups):
            values = iter(self._score(window.conversations, window.table))
            rewards += [[next(values) for _ in group.responses] for group in window.groups]
            if progress is not None:
                progress(len(window.groups))
        return rewards

    def rank(self, group: Group) -> list[RankedResponse]:
        """The responses from best to worst; ties keep their order."""
        rewards = self.score_groups([group])[0]
        return [RankedResponse(i, rewards[i]) for i in Reward(id=group.id, rewards=tuple(rewards)).order]

    def best_of(self, group: Group) -> RankedResponse:
        """The best response."""
        return self.rank(group)[0]

    def compare(self, group: Group) -> float:
        """The probability that the first of two responses is better; see `probability`."""
        if len(group) != 2:
            raise InputError(f"compare needs a group of two responses, got {len(group)}")
        first, second = self.score_groups([group])[0]
        return self.probability(first - second)

    def probability(self, margin: float) -> float:
        """The probability that a response is better than one whose reward is smaller by ``margin``.

        By the checkpoint's `calibration`; without one σ(margin), the Bradley-Terry model that reward models train with.

        Raises:
            CheckpointError: as `calibration`.
        """
        return bradley_terry(margin) if self.calibration is None else self.calibration.probability(margin)

    @functools.cached_property
    def calibration(self) -> Calibration | None:
        """What ``vlreward calibrate`` has found of this model, None if it has not been asked; may be set to another.

        Raises:
            CheckpointError: calibration.json in the model's folder is broken, or was fitted for another head.
        """
        return read_calibration(self._source.path, self.head)

    def trace(self, messages: Sequence[Mapping[str, Any] | Message]) -> list[TracePoint]:
        """The reward if the answer had stopped after each sentence, all in one pass.

        Each stop is the conversation with the answer cut there, closed as the chat template closes it; the trie shares
        what they have in common. The last point is the score of the whole answer.
        """
        parsed = _ending_in_answer(messages, "messages")
        answer = parsed[-1]
        if not isinstance(answer.content, str):
            raise UnsupportedError("trace cuts an answer that is plain text; this one has parts")
        ends = sentence_ends(answer.content)
        cuts = [Message(answer.role, answer.content[:end]) for end in ends]
        rewards = self.score_groups([Group(parsed[:-1], [(cut,) for cut in cuts])])[0]
        starts = [0, *ends[:-1]]
        return [
            TracePoint(end, answer.content[start:end], reward)
            for start, end, reward in zip(starts, ends, rewards, strict=True)
        ]

    def save_pretrained(self, folder: str | Path, form: str | None = None, *, overwrite: bool = False) -> None:
        """Write the model in one of the known forms; None: the form that the head was read from.

        Raises:
            UnsupportedError: the form cannot hold this head.
        """
        from .loading import save

        save(self, folder, form=form, source=self._source, overwrite=overwrite)

    def conversation(
        self, group: Group, index: int, table: MediaTable, where: str, *, place: bool = True
    ) -> Conversation:
        """The token rows of one response of a group, as the head reads it; ``place``: see `Processor.encode`."""
        messages, question = group.messages + group.responses[index], self.head.question
        try:
            if question is not None:
                messages = question.apply(messages, len(group.messages))
            text = self.processor.render(messages, generate=question is not None)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        text += question.prefill if question else ""
        return self.processor.encode(text, messages, table, where, place=place)

    @torch.inference_mode()
    def score_plain(self, messages: Sequence[Any]) -> float:
        """One conversation, alone, through transformers' own forward with its pixels: the definition of a score."""
        table = MediaTable()
        return self._plain(self.conversation(_as_group(messages, "messages"), 0, table, "messages"), table)

    def _plain(self, conversation: Conversation, table: MediaTable) -> float:
        media = [table.media[index] for index in conversation.media()]
        patches = [torch.from_numpy(self.processor.media.patches(medium)) for medium in media]
        hidden_TD = self.backbone.plain_hidden(conversation.rows_TC[:, Column.ID], media, patches)
        return float(self.head(hidden_TD[-1:])[0])

    def _windows(self, groups: Sequence[Group]) -> Iterator[_Window]:
        """Groups in pieces of a few packs, so that pictures of a long list are not all held at once."""
        limit = _WINDOW_PACKS * self.settings.pack_tokens
        window, size = _Window([], [], MediaTable()), 0
        many = 0
        for number, group in enumerate(groups):
            name = f"group {group.id!r}" if group.id is not None else f"groups[{number}]"
            fresh = [self.conversation(group, i, window.table, f"{name}: responses[{i}]") for i in range(len(group))]
            if self.prefixes.max_bytes and self.backbone.spec.packable:
                fresh = self._with_prompt(fresh, group, window.table)
            window.groups.append(group)
            window.conversations.extend(fresh)
            size += sum(map(len, fresh))
            if size >= limit:
                many = max(many, window.most_visual_tokens())
                yield window
                window, size = _Window([], [], MediaTable()), 0
        many = max(many, window.most_visual_tokens())
        if many > MANY_VISUAL_TOKENS:
            logger.warning(
                "a picture takes %d visual tokens; a smaller max_pixels (--max-pixels) is faster and may serve", many
            )
        if window.groups:
            yield window

    def _with_prompt(self, fresh: list[Conversation], group: Group, table: MediaTable) -> list[Conversation]:
        """A group's conversations, knowing what they share with one whose response is empty: their prompt."""
        try:
            empty = self.conversation(Group(group.messages, [""]), 0, table, "prompt", place=False)
        except InputError:  # a template may refuse it
            return fresh
        known = slice(Column.TIME)  # that one has no positions
        lengths = [shared_length(empty.rows_TC[:, known], each.rows_TC[:, known]) for each in fresh]
        return [replace(each, prompt=length) for each, length in zip(fresh, lengths, strict=True)]

    @torch.inference_mode()
    def _score(self, conversations: Sequence[Conversation], table: MediaTable) -> list[float]:
        """The reward of each conversation, equal ones scored once: each its own rounding would break their tie."""
        keys = [conversation.rows_TC.tobytes() for conversation in conversations]
        distinct: dict[bytes, Conversation] = {}
        for key, conversation in zip(keys, conversations, strict=True):
            distinct.setdefault(key, conversation)
        self.counts.conversations += len(keys)
        self.counts.tokens += sum(map(len, conversations))
        rewards = dict(zip(distinct, self._score_distinct(list(distinct.values()), table), strict=True))
        for key, reward in rewards.items():
            if not math.isfinite(reward):
                raise ScoreError(f"{distinct[key].where}: the reward is {reward}, not a finite number")
        return [rewards[key] for key in keys]

    def _score_distinct(self, conversations: Sequence[Conversation], table: MediaTable) -> list[float]:
        if not self.backbone.spec.packable:
            self.counts.computed_tokens += sum(map(len, conversations))
            return [self._plain(conversation, table) for conversation in conversations]
        rewards = [math.nan] * len(conversations)
        for pack in plan_packs([c.rows_TC for c in conversations], self.settings.pack_tokens):
            for index, reward in self._score_pack(pack, conversations, table):
                rewards[index] = reward
        return rewards

    def _score_pack(
        self, pack: list[int], conversations: Sequence[Conversation], table: MediaTable
    ) -> Iterator[tuple[int, float]]:
        """The rewards of one pack; a pack that does not fit the memory is halved."""
        trie = build_trie([conversations[i].rows_TC for i in pack])
        try:
            rewards = self.head(self._hidden(trie, [conversations[i] for i in pack], table)).tolist()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(pack) == 1:
                where = conversations[pack[0]].where
                raise ScoreError(f"{where}: {len(trie)} tokens do not fit the memory; lower max_pixels") from error
            rewards = None
        if rewards is not None:
            yield from zip(pack, rewards, strict=True)
            return
        logger.warning("out of memory on a pack of %d tokens; going on with halves", len(trie))
        _free_memory(self.device)
        middle = len(pack) // 2
        for half in (pack[:middle], pack[middle:]):
            yield from self._score_pack(half, conversations, table)

    def _hidden(self, trie: Trie, conversations: Sequence[Conversation], table: MediaTable) -> torch.Tensor:
        """Last hidden states of a pack at its scored tokens."""
        if not self.prefixes.max_bytes:
            self.counts.computed_tokens += len(trie)
            return self.backbone.hidden(trie, self._features(trie, table))
        recall = self.prefixes.recall(trie, conversations, table.media)
        hidden_SD = self.backbone.hidden(recall.trie, self._features(recall.trie, table), past=recall.past)
        self.prefixes.keep(recall)
        self.counts.computed_tokens += len(recall.trie)
        return hidden_SD

    def _features(self, trie: Trie, table: MediaTable) -> dict[int, Features]:
        """The visual tokens of the media in a pack."""
        used = sorted(set(trie.rows_TC[:, Column.MEDIUM].tolist()) - {-1})
        return dict(zip(used, self.vision.get([table.media[i] for i in used]), strict=True))


@dataclass
class _Window:
    groups: list[Group]
    conversations: list[Conversation]
    table: MediaTable

    def most_visual_tokens(self) -> int:
        return max((medium.tokens for medium in self.table.media if medium.kind == "image"), default=0)


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _free_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _ending_in_answer(messages: Sequence[Any], where: str) -> tuple[Message, ...]:
    parsed = parse_messages(messages, where)
    if not parsed or parsed[-1].role != "assistant":
        last = f"ends in a {parsed[-1].role} message" if parsed else "is empty"
        raise InputError(f"{where}: a conversation to score must end in an assistant message; this one {last}")
    return parsed


def _as_group(messages: Sequence[Any], where: str) -> Group:
    parsed = _ending_in_answer(messages, where)
    return Group(parsed[:-1], [parsed[-1:]], where=where)
