"""``vlreward best-of-n``: answers of a policy to one prompt, from best to worst."""

from __future__ import annotations

import argparse
import json
from typing import Any

from . import loading, policy_options, rank
from .options import add_engine_option, add_model_options, group_from, model_options, positive_number

NAME = "best-of-n"


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="answers of a policy to one prompt, ranked",
        description="Sample answers to a prompt from a policy, and rank them with a reward model.",
        epilog="--dtype, --device, --offline and --allow-urls are for both models, and the first three do not go with "
        "--engine; the pixel limits are the reward model's, and the policy has its checkpoint's.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, responses=[""])
    prompt = parser.add_argument_group("prompt")
    prompt.add_argument("--system", metavar="TEXT", help="system message (default: the chat template's own)")
    prompt.add_argument("--image", action="append", default=[], metavar="PATH", help="picture; repeatable")
    prompt.add_argument("--video", action="append", default=[], metavar="PATH", help="video; repeatable")
    prompt.add_argument("--fps", type=positive_number, metavar="F", help="rate at which videos are sampled")
    prompt.add_argument("--prompt", "-p", metavar="TEXT", help="text, after its pictures and videos")
    policy_options.add_policy_options(parser)
    parser.add_argument("--policy-revision", metavar="R", help="branch, tag or commit of the policy's hub id")
    policy_options.add_sampling_options(parser)
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")
    add_model_options(parser)
    add_engine_option(parser)


def run(args: argparse.Namespace) -> int:
    """Sample, rank and print."""
    from vlreward.policy.sampling import Prompt

    from .tables import console, on_terminal

    options, settings = model_options(args), policy_options.sampling_settings(args)
    prompt = Prompt.of(group_from(args))
    sampler = policy_options.load_sampler(
        policy_options.PolicyOptions(
            policy=args.policy,
            server=args.server,
            revision=args.policy_revision,
            offline=args.offline,
            dtype=args.dtype,
            device=args.device,
            allow_urls=args.allow_urls,
        )
    )
    try:
        (sampled,) = sampler.sample([prompt], settings)
    finally:
        sampler.close()
    (row,) = rank.rows(loading.load_model(options), [sampled.group])
    if args.json or not on_terminal():
        texts = [str(response[-1].content) for response in sampled.group.responses]
        said = {"answers": texts, "order": row["order"], "rewards": row["rewards"]}
        print(json.dumps(said | {"unfinished": sorted(sampled.unfinished)}, ensure_ascii=False))
        return 0
    rank.show(console(), sampled.group, row)
    if sampled.unfinished:
        print(f"{len(sampled.unfinished)} of them were cut off at {settings.max_tokens:,} tokens; see --max-tokens")
    return 0
