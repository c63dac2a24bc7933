"""Score one answer about a picture.

    python examples/score.py --model Skywork/Skywork-VL-Reward-7B --image photo.jpg \\
        --prompt "What is in the picture?" --answer "A cat on a windowsill."

The weights of a 7B model are 15.5 GB in bfloat16, and have to fit the memory of the accelerator, or of the machine.
"""

import argparse

from vlreward import RewardModel

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True, help="folder or hub id of a reward model")
parser.add_argument("--image", required=True)
parser.add_argument("--prompt", required=True)
parser.add_argument("--answer", required=True)
args = parser.parse_args()

model = RewardModel.from_pretrained(args.model)
reward = model.score(
    [
        {
            "role": "user",
            "content": [{"type": "image", "image": args.image}, {"type": "text", "text": args.prompt}],
        },
        {"role": "assistant", "content": args.answer},
    ]
)
print(f"{reward:+.4f}")
