"""Which edited picture follows the instruction best? Here the answers are pictures.

    python examples/edited_image.py --model Skywork/Skywork-VL-Reward-7B --image before.jpg \\
        --instruction "Make the sky red." --edits after_1.jpg after_2.jpg

Any reward model can be asked. How much its opinion is worth depends on whether it saw edited pictures in training:
Skywork-VL Reward was trained on text answers.
"""

import argparse

from vlreward import Group, RewardModel

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True, help="folder or hub id of a reward model")
parser.add_argument("--image", required=True)
parser.add_argument("--instruction", required=True)
parser.add_argument("--edits", required=True, nargs="+", help="the edited pictures")
args = parser.parse_args()

model = RewardModel.from_pretrained(args.model)
prompt = [
    {
        "role": "user",
        "content": [{"type": "image", "image": args.image}, {"type": "text", "text": args.instruction}],
    }
]
responses = [[{"type": "image", "image": edit}] for edit in args.edits]
for place in model.rank(Group(prompt, responses)):
    print(f"{place.reward:+.4f}  {args.edits[place.index]}")
