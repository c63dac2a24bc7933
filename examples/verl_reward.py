"""A reward for verl: 1 for a right answer, else σ of a reward model that sees the pictures.

    vlreward serve --model Skywork/Skywork-VL-Reward-7B
    VLREWARD_SERVER=http://127.0.0.1:8080 python -m verl.trainer.main_ppo … \\
        actor_rollout_ref.model.path=Qwen/Qwen2.5-VL-7B-Instruct \\
        reward.custom_reward_function.path=examples/verl_reward.py

Tried on one answer, without verl:

    python examples/verl_reward.py --server http://127.0.0.1:8080 --image cats.png --prompt "How many cats?" \\
        --answer "Three." --key 2
"""

import argparse
import functools
import os

from vlreward.integrations.opening import open_engine
from vlreward.integrations.verl import VerlReward
from vlreward.policy.rewards import MatchFirst


@functools.cache
def reward(server: str | None, model: str | None) -> VerlReward:
    """The reward function of a process."""
    return VerlReward(open_engine(server=server, model=model), combine=MatchFirst())


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    server = os.environ.get("VLREWARD_SERVER")
    function = reward(server, None if server else os.environ.get("VLREWARD_MODEL"))
    return function(data_source, solution_str, ground_truth, extra_info)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    judge = parser.add_mutually_exclusive_group(required=True)
    judge.add_argument("--server", help="address of a vlreward server")
    judge.add_argument("--model", help="folder or hub id of a reward model, loaded into this process instead")
    parser.add_argument("--image", required=True)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--answer", required=True)
    parser.add_argument("--key", required=True, help="the right answer")
    args = parser.parse_args()
    asked = {"prompt": f"<image>{args.prompt}", "images": [args.image]}
    print(f"{reward(args.server, args.model)('one answer', args.answer, args.key, asked)['score']:.4f}")
