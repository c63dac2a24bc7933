"""Options that several verbs share, and what they stand for once parsed."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlreward.types import Group

MODEL_VARIABLE = "VLREWARD_MODEL"
TINY = "tiny"
"""The name of the bundled reward model."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and how it is loaded. ``None`` means what the checkpoint says."""

    model: str
    """A folder or a hub id; with ``engine`` its address."""
    engine: str | None = None
    """Ask the server there, or the servers with commas between, instead of loading a model."""
    revision: str | None = None
    """A branch, tag or commit of a hub id."""
    offline: bool = False
    """Use only what is on this machine."""
    dtype: str = "auto"
    """``auto``: bfloat16 on an accelerator, else what the checkpoint has and the CPU computes in."""
    device: str = "auto"
    """``auto``: the accelerator if there is one, else the CPU."""
    min_pixels: int | None = None
    max_pixels: int | None = None
    pack_tokens: int | None = None
    """Token budget of a pack."""
    allow_urls: bool = False
    """Whether pictures may be fetched from URLs."""
    question: str | None = None
    """The question of a token-logit head."""
    positive: str | None = None
    negative: str | None = None


class _AddResponse(argparse.Action):
    """Texts and pictures as responses, in the order in which they are written."""

    def __call__(self, _parser: Any, namespace: argparse.Namespace, values: Any, _option: Any = None) -> None:
        response = values if self.const is None else [{"type": self.const, self.const: values}]
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or []), response])


def positive_integer(text: str) -> int:
    """An argparse type: a positive integer, with or without thousands separators."""
    try:
        number = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        number = 0
    if number <= 0:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return number


def positive_number(text: str) -> float:
    """An argparse type: a positive number."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return number


_MODEL_HELP = f"folder or hub id, or {TINY} for the bundled one; needed, unless {MODEL_VARIABLE} is set"


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """``--model`` and where it may come from."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", "-m", metavar="M", help=_MODEL_HELP)
    add_hub_options(group)


def add_hub_options(group: argparse._ArgumentGroup) -> None:
    """Which version of a hub id, and whether the network may be used."""
    group.add_argument("--revision", metavar="R", help="branch, tag or commit of a hub id")
    group.add_argument("--offline", action="store_true", help="use only what is on this machine")


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """``--set`` of a verb that takes a recipe, as ``overrides``; ``example`` is one for the help."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help=f"replace a value of the recipe, e.g. {example}; repeatable",
    )


def add_model_options(parser: argparse.ArgumentParser, *, urls: bool = True) -> None:
    """``--model`` and how it is loaded and run; ``urls``: with ``--allow-urls``."""
    add_checkpoint_options(parser)
    group = parser.add_argument_group("running it")
    group.add_argument(
        "--dtype", default="auto", metavar="D", help="auto, float32, bfloat16 or float16 (default: auto)"
    )
    group.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, … (default: auto)")
    group.add_argument("--min-pixels", type=positive_integer, metavar="N", help="enlarge smaller pictures to this")
    group.add_argument("--max-pixels", type=positive_integer, metavar="N", help="shrink larger pictures to this")
    group.add_argument("--pack-tokens", type=positive_integer, metavar="N", help="token budget of one pack")
    if urls:
        group.add_argument("--allow-urls", action="store_true", help="let pictures be fetched from URLs")
    add_question_options(parser)


def add_engine_option(parser: argparse.ArgumentParser) -> None:
    """``--engine``, for verbs that need rewards and no more of a model."""
    group = parser.add_argument_group("or a server")
    group.add_argument(
        "--engine", metavar="URL", help="ask vlreward serve there; several with commas between; key: VLREWARD_API_KEY"
    )


def add_question_options(parser: argparse.ArgumentParser) -> None:
    """What a plain vision-language model is asked, to be read as a reward model."""
    head = parser.add_argument_group("token-logit head (a plain vision-language model as a reward model)")
    head.add_argument("--question", metavar="TEXT", help="what the model is asked about the answer")
    head.add_argument("--positive", metavar="TOKEN", help="token whose logit counts for the answer (e.g. Yes)")
    head.add_argument("--negative", metavar="TOKEN", help="token whose logit counts against it (e.g. No)")


def add_group_options(parser: argparse.ArgumentParser) -> None:
    """One prompt and its responses, said on the command line."""
    group = parser.add_argument_group("one prompt and its answers (instead of FILE)")
    group.add_argument("--system", metavar="TEXT", help="system message (default: the chat template's own)")
    group.add_argument("--image", action="append", default=[], metavar="PATH", help="picture of the prompt; repeatable")
    group.add_argument("--video", action="append", default=[], metavar="PATH", help="video of the prompt; repeatable")
    group.add_argument("--fps", type=positive_number, metavar="F", help="rate at which videos are sampled")
    group.add_argument("--prompt", "-p", metavar="TEXT", help="text of the prompt, after its pictures and videos")
    group.add_argument(
        "--response", "-r", action=_AddResponse, dest="responses", metavar="TEXT", help="an answer; repeatable"
    )
    group.add_argument(
        "--response-image",
        action=_AddResponse,
        dest="responses",
        const="image",
        metavar="PATH",
        help="a picture as an answer, such as an edited one; repeatable",
    )


def model_options(args: argparse.Namespace) -> ModelOptions:
    """The model options of a parsed command line.

    Raises:
        ConfigError: no model is named, or an option for one with a server.
    """
    if getattr(args, "engine", None):
        return _engine_options(args)
    model = args.model or os.environ.get(MODEL_VARIABLE)
    if not model:
        raise ConfigError(f"no model: name one with --model FOLDER_OR_HUB_ID, or set {MODEL_VARIABLE}")
    if model == TINY:
        from vlreward.tiny.bundled import bundled_model

        model = str(bundled_model())
    return ModelOptions(model=model, **_said(args))


def _said(args: argparse.Namespace) -> dict[str, Any]:
    names = [item.name for item in fields(ModelOptions) if item.name != "model" and hasattr(args, item.name)]
    return {name: getattr(args, name) for name in names}


def _engine_options(args: argparse.Namespace) -> ModelOptions:
    refuse_model_options(args, "--engine")
    return ModelOptions(model=args.engine, **_said(args))


def refuse_model_options(args: argparse.Namespace, instead: str) -> None:
    """See that nothing is said of a model here: everything about it is the server's to say.

    Args:
        args: a parsed command line.
        instead: the option that names the server.

    Raises:
        ConfigError: an option is given that would be passed over.
    """
    for item in fields(ModelOptions):
        default = None if item.name == "model" else item.default
        if item.name not in ("engine", "allow_urls") and getattr(args, item.name, default) != default:
            raise ConfigError(f"--{item.name.replace('_', '-')} is for a model loaded here; {instead} has its own")


def says_a_group(args: argparse.Namespace) -> bool:
    """Whether any option of `add_group_options` is given."""
    return bool(args.system or args.image or args.video or args.prompt or args.responses)


def group_from(args: argparse.Namespace, *, at_least: int = 1, at_most: int | None = None) -> Group:
    """The group that the options describe.

    Raises:
        ConfigError: no prompt, or too few or too many responses.
    """
    from vlreward.types import Group

    given: Sequence[Any] = args.responses or ()
    if args.prompt is None and not args.image and not args.video:
        raise ConfigError("no prompt: say it with --prompt (and --image, --video), or give a groups file")
    if len(given) < at_least:
        wanted = "an answer" if at_least == 1 else f"{at_least} answers"
        raise ConfigError(f"{len(given) or 'no'} responses: give {wanted} with --response (or --response-image)")
    if at_most is not None and len(given) > at_most:
        raise ConfigError(f"{len(given)} responses: this verb takes {at_most}; vlreward rank takes more")
    parts: list[dict[str, Any]] = [{"type": "image", "image": path} for path in args.image]
    timing = {} if args.fps is None else {"fps": args.fps}
    parts += [{"type": "video", "video": path, **timing} for path in args.video]
    if args.prompt is not None:
        parts.append({"type": "text", "text": args.prompt})
    # Text alone stays a plain string: chat templates may tell the two apart.
    content = parts if args.image or args.video else args.prompt
    messages = [{"role": "user", "content": content}]
    if args.system is not None:
        messages.insert(0, {"role": "system", "content": args.system})
    return Group(messages, given)
