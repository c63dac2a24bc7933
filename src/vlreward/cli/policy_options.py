"""Options of verbs that ask a policy: which one, and how its answers are drawn."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

from .options import add_hub_options, positive_integer

if TYPE_CHECKING:
    from vlreward.model.reward_model import RewardModel
    from vlreward.policy.sampling import Sampler, SamplingSettings

KEY_VARIABLE = "VLREWARD_POLICY_API_KEY"


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    """``--policy`` and where it is."""
    group = parser.add_argument_group("policy")
    group.add_argument(
        "--policy", required=True, metavar="P", help="folder or hub id; with --server what the server calls it"
    )
    group.add_argument(
        "--server",
        metavar="URL",
        help=f"ask the chat completions there, e.g. vLLM's http://127.0.0.1:8000/v1; key: {KEY_VARIABLE}",
    )


def add_loading_options(parser: argparse.ArgumentParser) -> None:
    """How a policy here is loaded, where no other model's options are."""
    group = parser.add_argument_group("loading it")
    add_hub_options(group)
    group.add_argument(
        "--dtype", default="auto", metavar="D", help="auto, float32, bfloat16 or float16 (default: auto)"
    )
    group.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, … (default: auto)")
    group.add_argument("--min-pixels", type=positive_integer, metavar="N", help="enlarge smaller pictures to this")
    group.add_argument("--max-pixels", type=positive_integer, metavar="N", help="shrink larger pictures to this")
    group.add_argument("--allow-urls", action="store_true", help="let pictures be fetched from URLs")


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """How answers are drawn; the checks are those of `SamplingSettings`."""
    group = parser.add_argument_group("sampling")
    group.add_argument(
        "--answers", "-n", type=positive_integer, default=8, metavar="N", help="answers to a prompt (default: 8)"
    )
    group.add_argument(
        "--temperature", "-t", type=float, default=1.0, metavar="T", help="0: the most likely answer (default: 1.0)"
    )
    group.add_argument(
        "--top-p", type=float, default=1.0, metavar="P", help="draw from the likeliest tokens only (default: 1.0)"
    )
    group.add_argument(
        "--max-tokens", type=positive_integer, default=512, metavar="N", help="longest answer (default: 512)"
    )
    group.add_argument("--stop", action="append", default=[], metavar="TEXT", help="ends an answer; repeatable")
    group.add_argument("--seed", type=int, default=0, metavar="S", help="another one draws others (default: 0)")


def sampling_settings(args: argparse.Namespace) -> SamplingSettings:
    """The settings of a parsed command line.

    Raises:
        ConfigError: one of them cannot be.
    """
    from vlreward.policy.sampling import SamplingSettings

    return SamplingSettings(
        answers=args.answers,
        temperature=args.temperature,
        top_p=args.top_p,
        max_tokens=args.max_tokens,
        stop=tuple(args.stop),
        seed=args.seed,
    )


@dataclass(frozen=True, kw_only=True)
class PolicyOptions:
    """Which policy, and how it is loaded. ``None`` means what the checkpoint says."""

    policy: str
    """A folder or a hub id; with ``server`` what the server calls it."""
    server: str | None = None
    """Address of a server of chat completions."""
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
    allow_urls: bool = False
    """Whether pictures may be fetched from URLs."""

    @classmethod
    def of(cls, args: argparse.Namespace) -> PolicyOptions:
        """Those of a parsed command line."""
        return cls(**{item.name: getattr(args, item.name) for item in fields(cls)})


def load_sampler(options: PolicyOptions) -> Sampler:
    """The policy that the options name, here or behind a server.

    Raises:
        CheckpointError: it cannot be loaded.
        ConfigError: the server's address is none.
    """
    from vlreward.data.limits import MediaLimits

    limits = MediaLimits(allow_urls=options.allow_urls)
    if options.server is not None:
        from vlreward.policy.openai_sampler import OpenAISampler

        key = os.environ.get(KEY_VARIABLE)
        return OpenAISampler(options.server, options.policy, api_key=key, media_limits=limits)
    from vlreward.policy.local_sampler import LocalSampler

    from .loading import status

    with status(f"Loading {options.policy} …"):
        return LocalSampler.from_pretrained(
            options.policy,
            dtype=options.dtype,
            device=options.device,
            min_pixels=options.min_pixels,
            max_pixels=options.max_pixels,
            revision=options.revision,
            local_files_only=options.offline,
            media_limits=limits,
        )


def asked_of_policy(options: PolicyOptions) -> dict[str, Any]:
    """Everything of the policy's options that its answers depend on.

    Raises:
        CheckpointError: there is no such policy.
    """
    if options.server is not None:
        return {"served policy": options.policy}
    from vlreward.model.checkpoints.folder import locate

    from .fingerprint import checkpoint_fingerprint

    folder = locate(options.policy, options.revision, options.offline)
    names = ("dtype", "min_pixels", "max_pixels")
    return {"policy": checkpoint_fingerprint(folder)} | {name: getattr(options, name) for name in names}


def resolved_policy(sampler: Sampler) -> dict[str, Any]:
    """Settings of a policy as they came out, as far as its answers depend on them; a server does not say."""
    if not hasattr(sampler, "settings"):
        return {}
    from .fingerprint import resolved_settings

    # Of a reward model it reads the settings, and a policy here has the same.
    return resolved_settings(cast("RewardModel", sampler))
