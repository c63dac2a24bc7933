"""Train a policy with TRL's GRPOTrainer on the rewards of a reward model that sees the pictures.

    vlreward serve --model Skywork/Skywork-VL-Reward-7B
    accelerate launch examples/grpo_trl.py --policy Qwen/Qwen2.5-VL-7B-Instruct --server http://127.0.0.1:8080 \\
        --data prompts.jsonl --steps 500 --match-first --out runs/grpo

Each row of the data says a prompt, its pictures and, for --match-first, the right answer:
{"id": "1", "prompt": "<image>How many cats?", "images": ["cats.png"], "answer": "2"}
"""

import argparse

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from vlreward.data.content import text_of
from vlreward.data.images import load_image
from vlreward.data.marks import media_of
from vlreward.integrations.labels import read_prompts
from vlreward.integrations.opening import open_engine
from vlreward.integrations.trl import GRPOReward
from vlreward.policy.rewards import MatchFirst

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--policy", required=True, help="folder or hub id of the model to train")
judge = parser.add_mutually_exclusive_group(required=True)
judge.add_argument("--server", help="address of a vlreward server")
judge.add_argument("--model", help="folder or hub id of a reward model, loaded into this process instead")
parser.add_argument("--data", required=True, help="prompts, as JSON lines")
parser.add_argument("--out", required=True)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--prompts-per-step", type=int, default=4)
parser.add_argument("--answers", type=int, default=8, help="answers to each prompt")
parser.add_argument("--answer-tokens", type=int, default=256)
parser.add_argument("--learning-rate", type=float, default=1e-6)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--match-first", action="store_true", help="1 for a right answer, else σ of the model's reward")
args = parser.parse_args()

rows = [
    {
        "prompt": [{"role": "user", "content": text_of(label.prompt)}],
        "images": [load_image(part.source) for part in media_of(label.prompt)],
        "solution": label.answer,
    }
    for label in read_prompts(args.data).values()
]
reward = GRPOReward(
    open_engine(server=args.server, model=args.model),
    combine=MatchFirst() if args.match_first else None,
    answer="solution" if args.match_first else None,
)
accelerated = torch.cuda.is_available()
config = GRPOConfig(
    output_dir=args.out,
    max_steps=args.steps,
    per_device_train_batch_size=args.prompts_per_step * args.answers,
    num_generations=args.answers,
    max_completion_length=args.answer_tokens,
    learning_rate=args.learning_rate,
    seed=args.seed,
    use_cpu=not accelerated,
    bf16=accelerated,
    gradient_checkpointing=accelerated,
    logging_steps=1,
    report_to="none",
    save_strategy="no",
    disable_tqdm=True,
)
trainer = GRPOTrainer(model=args.policy, reward_funcs=reward, args=config, train_dataset=Dataset.from_list(rows))
trainer.train()
trainer.save_model(args.out)
trainer.save_state()  # trainer_state.json: what was logged of every step
means = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
fifth = max(1, len(means) // 5)
print(f"mean reward of the first {fifth} steps {sum(means[:fifth]) / fifth:+.4f}, of the last {fifth} ", end="")
print(f"{sum(means[-fifth:]) / fifth:+.4f}")
