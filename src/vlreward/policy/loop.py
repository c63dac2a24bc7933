"""The recipe of a whole loop: sample, score, make pairs, train, evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

from vlreward.engines.base import Engine
from vlreward.errors import ConfigError, InputError
from vlreward.train.config import build, plain, positive
from vlreward.train.recipe import read_recipe_as
from vlreward.train.worlds import WorldData
from vlreward.types import Group

from .answers import exact_match, math_match
from .gold import Gold, KeyGold, WorldGold, families_in_words
from .pairs import PairSettings
from .prompts import read_answer_keys, scan_prompts
from .recipe import PolicyRecipe
from .sampling import Prompt, SamplingSettings
from .watch import Watch, WatchSettings

STAGES = ("sample", "score", "pairs", "train", "evaluate")
"""In their order; each has a folder in the output."""
TRAINED = "mpo"
"""The name of the one stage of training."""
CONTROLS = ("random", "oracle")
"""What may stand in place of a reward model, to see what the reward does: chance, and the truth."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """A groups file of prompts, or the questions of a rendered world."""

    path: str | None = None
    """A groups file; its rows may do without responses, and may have an ``answer``."""
    world: WorldData | None = None
    """In place of a file: ``items``, ``start``, ``seed``, ``split``, ``families`` and ``size`` count."""
    keys: bool = False
    """Whether the rows of the file name right ``answer``s; a world always knows."""
    match: Literal["exact", "math"] = "exact"
    """How answers are compared with them."""

    def __post_init__(self) -> None:
        if (self.path is None) == (self.world is None):
            raise ConfigError("prompts have either a path or a world")
        if self.world is None:
            return
        if self.keys:
            raise ConfigError("keys are of a file; a world knows what is right")
        for name in self.world.families or ():
            if name not in families_in_words():
                raise ConfigError(f"the world's {name} is answered with pictures, which no policy here writes; drop it")

    @property
    def has_gold(self) -> bool:
        """Whether it is known which answers are right."""
        return self.keys or self.world is not None

    def in_words(self) -> WorldData:
        """The world, without families whose answers are pictures."""
        assert self.world is not None
        return self.world if self.world.families else replace(self.world, families=families_in_words())

    def groups(self) -> Iterator[Group]:
        """The prompts, each with one empty response.

        Raises:
            InputError: a row of the file cannot be read.
        """
        if self.path is None:
            data = self.in_words()
            for item in data.make().items(data.items, data.start):
                yield Group(item.messages, [""], id=item.id, task=item.task)
            return
        for row in scan_prompts(self.path):
            if isinstance(row.content, InputError):
                raise row.content
            yield row.content

    def gold(self) -> Gold | None:
        """Who knows which answers are right, None where nobody does.

        Raises:
            InputError: the file cannot be read, or names no answer.
        """
        if self.world is not None:
            return WorldGold(self.in_words().make())
        if not self.keys:
            return None
        assert self.path is not None
        return KeyGold(read_answer_keys(self.path), math_match if self.match == "math" else exact_match)

    def check(self, where: str) -> None:
        """See that the file is there and every row can be read: what is asked last is not to fail last.

        Raises:
            ConfigError: it is not there.
            InputError: a row cannot be read, or no row names a right answer, and they are asked for.
        """
        if self.path is None:
            return
        if not Path(self.path).is_file():
            raise ConfigError(f"{where}: {self.path}: no such file")
        for _ in self.groups():
            pass
        self.gold()


@dataclass(frozen=True, kw_only=True)
class LoopRecipe:
    """A whole loop. Paths start at the folder that it is run in."""

    policy: str
    """Folder or hub id of the policy to improve."""
    reward: str
    """Folder or hub id of the reward model; ``random`` or ``oracle`` for a control."""
    output: str
    """Folder for everything that is written."""
    prompts: Prompts
    """What answers are sampled for."""
    held_out: Prompts
    """What is asked before and after."""
    train: dict[str, Any]
    """A stage of a policy's recipe without its name and data: optimizer, objective, batch, parts, …"""
    revision: str | None = None
    """Commit of the policy's hub id. Pin it: a branch moves."""
    reward_revision: str | None = None
    """Commit of the reward model's."""
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    """How answers are drawn to make pairs of."""
    evaluation: SamplingSettings = field(default_factory=lambda: SamplingSettings(answers=1, temperature=0.0))
    """How answers to held-out prompts are drawn."""
    pairs: PairSettings = field(default_factory=PairSettings)
    """How pairs are made."""
    correctness: bool = False
    """Whether right answers are chosen and wrong ones rejected, and the reward only says which; else it says all."""
    watch: WatchSettings | None = None
    """How the policy is watched while it is trained; None: it is not, and checkpoints are evaluated afterwards."""
    min_pixels: int | None = None
    """Least pixels of a resized picture for the policy; None: what its checkpoint says."""
    max_pixels: int | None = None
    """Most pixels of one."""
    dtype: str = "float32"
    """Of the weights that are trained."""
    save_dtype: str = "same"
    """Of the finished policy's weights."""
    seed: int = 0
    """Of the order of pairs, adapters and dropout, and of the reward ``random``."""
    trainer: dict[str, Any] = field(default_factory=dict)
    """Any other of transformers' ``TrainingArguments``; with ``save_steps`` the checkpoints are evaluated too."""

    def __post_init__(self) -> None:
        positive("min_pixels", self.min_pixels)
        positive("max_pixels", self.max_pixels)
        self._check_answers()
        training = self.training()
        longest = training.stages[0].max_length
        if self.sampling.max_tokens >= longest:
            raise ConfigError(
                f"sampling.max_tokens {self.sampling.max_tokens} leaves no room for a prompt in "
                f"train.max_length {longest}"
            )
        if self.correctness and not self.prompts.has_gold:
            raise ConfigError(
                "correctness: nobody knows the right answers to the prompts; say prompts.keys, or drop it"
            )
        if self.reward == "oracle" and not (self.prompts.has_gold and self.held_out.has_gold):
            raise ConfigError("reward: an oracle needs right answers; say prompts.keys and held_out.keys")
        self._check_apart()
        self._check_watch()

    def _check_watch(self) -> None:
        """Whether a policy in training can be asked, and by whom."""
        asked = [name for name in self.trainer if name.startswith("eval_")]
        if asked:
            raise ConfigError(f"trainer: {', '.join(asked)}: when there is an evaluation is said by watch.every")
        if self.watch is None:
            return
        sharded = [name for name in ("fsdp", "deepspeed") if self.trainer.get(name)]
        if sharded:
            raise ConfigError(
                f"watch: weights that trainer.{sharded[0]} shards cannot be asked while training; drop watch, and the "
                "checkpoints are evaluated afterwards"
            )
        if self.watch.on_overoptimisation == "stop" and not self.held_out.has_gold:
            raise ConfigError(
                "watch: without right answers nobody sees a policy over-optimised, and training would never stop; say "
                "held_out.keys, or on_overoptimisation: warn"
            )

    def _check_answers(self) -> None:
        """Pairs need two different answers to a prompt."""
        if self.sampling.answers < 2 or not self.sampling.temperature:
            raise ConfigError("sampling: pairs are made of different answers; set answers above 1, temperature above 0")
        if max(self.pairs.top, self.pairs.bottom) >= self.sampling.answers:
            raise ConfigError(
                f"pairs: top {self.pairs.top} and bottom {self.pairs.bottom} have to be below "
                f"sampling.answers, {self.sampling.answers}"
            )

    def _check_apart(self) -> None:
        """What is learned from is not what is asked afterwards."""
        a, b = self.prompts, self.held_out
        if a.path is not None and b.path is not None:
            same = Path(a.path).absolute() == Path(b.path).absolute()
        elif a.world is not None and b.world is not None:
            first, second = a.in_words(), b.in_words()
            overlap = first.start < second.start + second.items and second.start < first.start + first.items
            same = overlap and (first.seed, first.split) == (second.seed, second.split)
        else:
            same = False
        if same:
            raise ConfigError("held_out: the same as prompts; name other prompts, or a world that starts elsewhere")

    def training(self) -> PolicyRecipe:
        """The recipe of the stage in which the policy is trained.

        Raises:
            ConfigError: ``train`` or ``trainer`` says something that cannot be.
        """
        for key in ("name", "data"):
            if key in self.train:
                raise ConfigError(f"train: {key} is the loop's own; drop it")
        stage = {"name": TRAINED, "data": [{"path": str(self.place("pairs") / "pairs.jsonl")}], **self.train}
        content = {
            "model": self.policy,
            "output": str(self.place("train")),
            "stages": [stage],
            **{name: getattr(self, name) for name in ("revision", "min_pixels", "max_pixels", "dtype", "save_dtype")},
            "seed": self.seed,
            "trainer": self.trainer | self._looks(),
        }
        return build(PolicyRecipe, content, "train")

    def _looks(self) -> dict[str, Any]:
        """When the policy is looked at, in the words of transformers' ``TrainingArguments``."""
        if self.watch is None:
            return {}
        return {"eval_strategy": "steps", "eval_steps": self.watch.every, "eval_on_start": True}

    def watched_by(self, engine: Engine) -> Watch | None:
        """Whom the policy in training is shown to; None: nobody.

        Args:
            engine: gives the rewards of answers to held-out prompts.

        Raises:
            InputError: the prompts cannot be read.
        """
        if self.watch is None:
            return None
        return Watch(
            prompts=[Prompt.of(group) for group in islice(self.held_out.groups(), self.watch.prompts)],
            sampling=self.evaluation,
            engine=engine,
            gold=self.held_out.gold(),
            stops=self.watch.on_overoptimisation == "stop",
        )

    def place(self, stage: str) -> Path:
        """The folder of a stage."""
        return Path(self.output) / f"{STAGES.index(stage) + 1}-{stage}"

    def check_files(self) -> None:
        """See that what is named on this machine is there, before a model is loaded.

        Raises:
            ConfigError: a file or folder is not.
            InputError: a row of the prompts cannot be read, or right answers are asked for and there are none.
        """
        self.prompts.check("prompts")
        self.held_out.check("held_out")
        for name, model in (("policy", self.policy), ("reward", self.reward)):
            local = model.startswith((".", "/", "~")) or model.count("/") > 1
            if local and not Path(model).expanduser().is_dir():
                raise ConfigError(f"{name}: {model}: no such folder")


def read_loop_recipe(path: str | Path, overrides: Sequence[str] = ()) -> LoopRecipe:
    """Read the recipe of a loop, with some of its values replaced; see `vlreward.train.recipe.read_recipe_as`."""
    return cast(LoopRecipe, cast(Any, read_recipe_as)(LoopRecipe, path, overrides))


def plain_loop_recipe(recipe: LoopRecipe) -> dict[str, Any]:
    """A recipe with every default spelled out, but for where its output is."""
    return {name: value for name, value in plain(recipe).items() if name != "output"}
