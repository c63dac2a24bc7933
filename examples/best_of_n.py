"""Pick the best of several answers to the same question about a picture.

    python examples/best_of_n.py --model Skywork/Skywork-VL-Reward-7B --image photo.jpg \\
        --prompt "How many people are there?" --answers "Two." "Three." "There is nobody."

The picture is encoded once and the prompt is run once, however many answers there are.
"""

import argparse

from vlreward import Group, RewardModel

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True, help="folder or hub id of a reward model")
parser.add_argument("--image", required=True)
parser.add_argument("--prompt", required=True)
parser.add_argument("--answers", required=True, nargs="+")
args = parser.parse_args()

model = RewardModel.from_pretrained(args.model)
prompt = [
    {
        "role": "user",
        "content": [{"type": "image", "image": args.image}, {"type": "text", "text": args.prompt}],
    }
]
for place in model.rank(Group(prompt, args.answers)):
    print(f"{place.reward:+.4f}  {args.answers[place.index]}")
