"""Make the bundled tiny models: ``make tiny``. Run again, it goes on where it was stopped.

Writes the untrained model and trains `tiny.yaml`; twice the model then answers questions, and is trained on these
answers too (`tiny-own.yaml`, `tiny-last.yaml`). The policy is the model as it was between the two, whose answers are
wrong often enough for MPO to improve them, the reward model the last one. Both are narrowed to bfloat16, and what they
can do, measured here, is written into their cards.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vlreward.evaluate.audits.result import AuditResult, threshold_words, words
from vlreward.evaluate.metrics import accuracy_interval
from vlreward.model.checkpoints import CheckpointFolder, Metadata, write_language_model
from vlreward.model.checkpoints.question import Question
from vlreward.model.packing import Column
from vlreward.model.processing import MediaTable
from vlreward.model.reward_model import RewardModel
from vlreward.tiny.fresh_checkpoint import write_fresh_checkpoint
from vlreward.tiny.world import FAMILIES, Item, World
from vlreward.tiny.world.oracle import is_right
from vlreward.train.recipe import read_recipe
from vlreward.train.run import FIGURES, RECIPE
from vlreward.train.saving import MODEL
from vlreward.train.worlds import WorldData

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parent / "src" / "vlreward" / "tiny" / "weights"
CARD = "README.md"
NOT_BUNDLED = (RECIPE, FIGURES)

ROUNDS = ("tiny-own.yaml", "tiny-last.yaml")
ANSWERABLE = tuple(name for name in FAMILIES if name != "editing")  # an edited picture is no greedy answer
SEED = 2000  # neither of training nor of `vlreward eval tiny-world`
BATCH = 32


def main() -> None:
    """Train, choose, narrow, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/tiny"), help="where the training is kept")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the bundled models go")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="in all recipes")
    parser.add_argument("--quick", action="store_true", help="a step of each stage, few questions: does it run at all")
    options = parser.parse_args()
    items, pairs = (40, 44) if options.quick else (1100, 4400)  # questions for the policy, pairs for the reward model
    fresh = options.output / "fresh"
    if not (fresh / "tokenizer.json").is_file():
        write_fresh_checkpoint(fresh)
    train("tiny.yaml", fresh, options.output, options)
    folder = options.output
    for name in ROUNDS:
        before = last_stage(folder)
        folder = options.output / Path(name).stem
        train(name, before / MODEL, folder, options)
    policy = bundle_policy(before, options.weights / "policy", items)
    reward = bundle_reward(last_stage(folder) / MODEL, options.weights / "reward", pairs)
    print(json.dumps({"policy": policy["accuracy"], "reward": reward["accuracy"]}))


def train(name: str, model: Path, folder: Path, options: argparse.Namespace) -> None:
    """A recipe from this model on; what the recipe wants answered, the model answers first."""
    stages = read_recipe(HERE / name).stages
    values = [f"model={model.resolve()}", f"output={folder}", *options.set]
    for stage in stages:
        if options.quick:
            values += [f"stages.{stage.name}.max_steps=1", f"stages.{stage.name}.batch=4"]
        for source in stage.data:
            if source.world is None or source.world.sampled is None:
                continue
            world = replace(source.world, items=6) if options.quick else source.world
            sampled = answered(model, world, folder / f"answered-{world.split}")
            place = f"stages.{stage.name}.data.{source.label}.world"
            values += [f"{place}.items={world.items}", f"{place}.sampled={sampled}"]
    run_recipe("train", name, values)


def run(*arguments: str | Path) -> str:
    """A verb of the command line; its standard output."""
    command = [sys.executable, "-m", "vlreward.cli", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def run_recipe(verb: str, recipe: str, values: Sequence[str], *words: str) -> str:
    """A verb with a recipe of this folder and other values in it."""
    return run(verb, HERE / recipe, *(word for value in values for word in ("--set", value)), *words)


def last_stage(run: Path) -> Path:
    """The folder of a run's last stage, stage-NUMBER-NAME."""
    return max(run.glob("stage-*"), key=lambda folder: int(folder.name.split("-")[1]))


def answered(model: Path, world: WorldData, folder: Path) -> Path:
    """The file of a model's answers to the questions of a world, drawn now unless that was done before."""
    asked = {name: getattr(world, name) for name in ("items", "start", "split", "families")}
    values = [f"policy={model.resolve()}", "reward=oracle", f"output={folder}"]
    values.append(f"prompts={json.dumps({'world': asked})}")
    values += ["sampling.answers=6", "sampling.temperature=1.0", "sampling.max_tokens=72"]
    run_recipe("mpo", "tiny-mpo.yaml", values, "--stage", "sample")
    return folder / "1-sample" / "sampled.jsonl"


# The policy.


def bundle_policy(stage: Path, out: Path, items: int) -> dict[str, Any]:
    """Write a stage's model narrowed, with its card."""
    source = CheckpointFolder.open(stage / MODEL)
    model = answering(stage / MODEL)
    limits = model.settings
    state = {name: tensor.to(torch.bfloat16) for name, tensor in model.backbone.model.state_dict().items()}
    write_language_model(
        state=state,
        spec=model.backbone.spec,
        source=source,
        out=out,
        metadata=Metadata(min_pixels=limits.min_pixels, max_pixels=limits.max_pixels, resize=limits.resize),
        overwrite=out.exists(),
    )
    for name in NOT_BUNDLED:
        (out / name).unlink(missing_ok=True)
    figures = greedy_accuracy(out, items) | {"stage": stage.name.split("-", 2)[2]}
    write_card(out, "policy", figures)
    return figures


def answering(folder: Path) -> RewardModel:
    """A plain vision-language model, opened for its processor and weights."""
    return RewardModel.from_pretrained(folder, question=Question(positive="yes", negative="no"), device="cpu")


def greedy_accuracy(folder: Path, items: int) -> dict[str, Any]:
    """How often greedy answers about the held-out world are right, by the oracle that knows the scenes."""
    world = World(SEED, "heldout", ANSWERABLE)
    right: dict[str, list[float]] = defaultdict(list)
    for item, answer in answers(folder, list(world.items(items))):
        right[item.family].append(float(is_right(item, answer)))
    everything = [value for values in right.values() for value in values]
    groups = {name: {"n": len(right[name]), "accuracy": sum(right[name]) / len(right[name])} for name in ANSWERABLE}
    return {
        "n": len(everything),
        "accuracy": sum(everything) / len(everything),
        "interval": accuracy_interval(everything, range(len(everything))),
        "groups": groups,
    }


def answers(folder: Path, items: Sequence[Item]) -> Iterator[tuple[Item, str]]:
    """Greedy answers, by transformers' own generation."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    opened = answering(folder)
    writer = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    for begin in range(0, len(items), BATCH):
        batch = items[begin : begin + BATCH]
        inputs = prompts(opened, batch)
        with torch.inference_mode():
            written = writer.generate(**inputs, max_new_tokens=72, do_sample=False)
        texts = opened.processor.tokenizer.batch_decode(
            written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        yield from zip(batch, texts, strict=True)


def prompts(opened: RewardModel, items: Sequence[Item]) -> dict[str, torch.Tensor]:
    """A batch for transformers, padded on the left."""
    processor, tokenizer = opened.processor, opened.processor.tokenizer
    rows, patches, grids = [], defaultdict(list), defaultdict(list)
    for item in items:
        table = MediaTable()
        text = processor.render(item.messages, generate=True)
        rows_TC = processor.encode(text, item.messages, table, item.id, place=False).rows_TC
        rows.append(torch.from_numpy(rows_TC[:, Column.ID].copy()))
        for index in rows_TC[rows_TC[:, Column.FEATURE] == 0, Column.MEDIUM]:  # the same picture may come twice
            medium = table.media[index]
            patches[medium.kind].append(torch.from_numpy(processor.media.patches(medium)))
            grids[medium.kind].append(medium.grid)
    width = max(map(len, rows))
    ids = torch.stack([torch.nn.functional.pad(r, (width - len(r), 0), value=tokenizer.pad_token_id) for r in rows])
    mask = torch.stack([torch.nn.functional.pad(torch.ones_like(r), (width - len(r), 0)) for r in rows])
    config = opened.backbone.config
    kinds = (ids == config.image_token_id).int() + 2 * (ids == config.video_token_id).int()
    inputs = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds}
    for kind, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if patches[kind]:
            inputs |= {pixels: torch.cat(patches[kind]), f"{kind}_grid_thw": torch.tensor(grids[kind])}
    return inputs


# The reward model.


def bundle_reward(model: Path, out: Path, pairs: int) -> dict[str, Any]:
    """Copy the last stage's model, which is narrowed already, and write its card."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(model, out, ignore=shutil.ignore_patterns(*NOT_BUNDLED))
    figures: dict[str, Any] = json.loads(run("eval", "tiny-world", "--pairs", str(pairs), "--model", out, "--json"))
    audited = json.loads(run("audit", "--data", "tiny-world", "--pairs", str(pairs // 4), "--model", out, "--json"))
    for audit in audited["audits"]:
        for variant in audit["variants"]:
            del variant["examples"]  # with their pictures they are what a report is for
    write_card(out, "reward", figures | {"model": "tiny", "audits": audited["audits"]})
    return figures


def audit_rows(audit: dict[str, Any]) -> list[str]:
    """What an audit found, a row for every variant that applies."""
    asked = AuditResult(**audit)
    cells = [
        (asked.name, found["name"], words(found["effect"], asked), threshold_words(asked), found["verdict"])
        for found in audit["variants"]
        if found["effect"] is not None
    ]
    return [f"| {' | '.join(row)} |" for row in cells]


def write_card(folder: Path, name: str, figures: dict[str, Any]) -> None:
    """The card, with its figures as tables; `card-NAME.md` beside this file holds the words."""
    groups = {group: found for group, found in figures["groups"].items() if group in FAMILIES}  # there are tasks too
    rows = [f"| {group} | {100 * found['accuracy']:.1f} | {found['n']} |" for group, found in groups.items()]
    low, high = figures["interval"]
    whole = f"| **all** | **{100 * figures['accuracy']:.1f}** ({100 * low:.1f} – {100 * high:.1f}) | {figures['n']} |"
    table = "\n".join(["| | right, % | of |", "|---|---|---|", whole, *rows])
    baselines = figures.get("baselines", {})
    shown = {key: f"{100 * value:.1f}" for key, value in baselines.items() if value is not None}
    text = (HERE / f"card-{name}.md").read_text(encoding="utf-8")
    audits = [line for audit in figures.get("audits", ()) for line in audit_rows(audit)]
    shown["audits"] = "\n".join(["| audit | change | effect | sound | verdict |", "|---|---|---|---|---|", *audits])
    shown |= {"table": table, "stage": figures.get("stage", "")}
    for key, value in shown.items():
        text = text.replace("{" + key + "}", value)
    (folder / CARD).write_text(text, encoding="utf-8")
    (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
