"""For a machine with a GPU: is it right there, and how fast: ``make gpu-check``. Takes under ten minutes.

Prints a JSON to paste. It holds, for random models made on the spot (or the one that ``--model`` names):

    agreement   packed scores against one conversation at a time, float32
    drift       bfloat16 against float32, beside the spread of the scores
    speed       seconds of a group of N answers, ours against a right-padded batch without an LM head, bfloat16
    memory      peak bytes on the GPU of the same
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from harness import machine
from harness.contestant import OURS, PLAIN, Process
from harness.random_model import write_model
from harness.sizes import BENCH, QUICK, RELEASED_3B, RELEASED_7B, ModelSize
from harness.workload import mixed_groups, standard_workloads
from vlreward import Group, RewardModel

SIZES = {"quick": QUICK, "bench": BENCH, "3b": RELEASED_3B, "7b": RELEASED_7B}
AGREEMENT = 1e-3
"""Most that packed and plain may differ in float32. On a CPU 1e-5 is measured; no GPU result is known yet."""
_MIXED_GROUPS = 12


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="cuda, cuda:1, ...; cpu tries the script without a GPU")
    parser.add_argument("--model", type=Path, help="a folder with a Qwen2.5-VL reward model, for agreement and drift")
    parser.add_argument("--size", choices=SIZES, help="random model of the speed part (default: what fits, up to 3b)")
    parser.add_argument("--answers", type=int, nargs="+", default=[1, 2, 8, 32], metavar="N", help="answers per group")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds per N")
    parser.add_argument("--folder", type=Path, help="where random models are made and kept (default: thrown away)")
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    return parser.parse_args()


def describe_device(device: str) -> dict[str, Any]:
    """What the numbers were measured on."""
    found: dict[str, Any] = {"device": device, "torch": torch.__version__, "cuda": torch.version.cuda}
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "free_gib": round(torch.cuda.mem_get_info(device)[0] / 2**30, 1),
        }
    return found


def choose_size(asked: str | None, device: str) -> tuple[str, ModelSize]:
    """The size of the speed part's model: as asked, else by the memory of the device."""
    if asked is None:
        roomy = device.startswith("cuda") and torch.cuda.mem_get_info(device)[0] > 12 * 2**30
        asked = "quick" if device == "cpu" else "3b" if roomy else "bench"
    return asked, SIZES[asked]


def agreement_and_drift(model: Path, device: str, folder: Path) -> dict[str, Any]:
    """Packed against plain in float32, then both in bfloat16 against float32."""
    groups = [Group(messages=g["messages"], responses=g["responses"]) for g in mixed_groups(_MIXED_GROUPS, folder)]
    packed, plain = {}, {}
    for dtype in ("float32", "bfloat16"):
        rm = RewardModel.from_pretrained(model, dtype=dtype, device=device)
        packed[dtype] = [score for scores in rm.score_groups(groups) for score in scores]
        plain[dtype] = [rm.score_plain(messages) for group in groups for messages in group.conversations()]
        del rm
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
    reference = plain["float32"]
    return {
        "conversations": len(reference),
        "packed_against_plain_float32": furthest(packed["float32"], reference),
        "allowed": AGREEMENT,
        "packed_against_plain_bfloat16": furthest(packed["bfloat16"], plain["bfloat16"]),
        "drift_of_bfloat16_packed": drift(packed["bfloat16"], reference),
        "drift_of_bfloat16_plain": drift(plain["bfloat16"], reference),
        "standard_deviation_of_scores": statistics.pstdev(reference),
    }


def furthest(found: list[float], expected: list[float]) -> float:
    """Largest difference."""
    return max(abs(a - b) for a, b in zip(found, expected, strict=True))


def drift(found: list[float], expected: list[float]) -> dict[str, float]:
    """Largest and mean difference."""
    differences = [abs(a - b) for a, b in zip(found, expected, strict=True)]
    return {"largest": max(differences), "mean": statistics.fmean(differences)}


def speed(model: Path, arguments: argparse.Namespace, device: str, folder: Path) -> list[dict[str, Any]]:
    """Median seconds and peak memory per N, one contestant after the other so that one model is on the GPU."""
    workloads = standard_workloads(arguments.answers, None)
    rows: list[dict[str, Any]] = [{"answers": workload.answers} for workload in workloads]
    load = {"model": str(model), "dtype": "bfloat16", "threads": os.cpu_count() or 1, "options": {"device": device}}
    for contestant in (OURS, PLAIN):
        with Process(contestant, Path(sys.executable), load, folder / f"{contestant.name}.log") as process:
            for workload, row in zip(workloads, rows, strict=True):
                try:
                    row[contestant.name] = time_one(process, workload.groups, arguments.rounds, folder)
                except RuntimeError as error:
                    row[contestant.name] = {"error": str(error).splitlines()[0]}
                print(f"N={workload.answers}: {contestant.name}: {row[contestant.name]}", file=sys.stderr)
    for row in rows:
        medians = [row[name].get("median_seconds") for name in (OURS.name, PLAIN.name)]
        if None not in medians:
            row["ratio"] = round(medians[1] / medians[0], 3)
    return rows


def time_one(process: Process, groups_of_round: Any, rounds: int, folder: Path) -> dict[str, Any]:
    """One contestant on one workload; the first call, which may compile, is reported apart."""
    first = process.score(groups_of_round(-1, folder))
    answers = [process.score(groups_of_round(i, folder)) for i in range(rounds)]
    return {
        "median_seconds": round(statistics.median(answer["seconds"] for answer in answers), 4),
        "first_call_seconds": round(first["seconds"], 4),
        "gpu_peak_bytes": max((answer["accelerator_peak_bytes"] or 0 for answer in answers), default=0) or None,
        "scores": [round(score, 4) for score in answers[-1]["scores"][0][:4]],
    }


def check(arguments: argparse.Namespace, device: str, folder: Path) -> dict[str, Any]:
    """Everything, into one document."""
    start = time.perf_counter()
    name, size = choose_size(arguments.size, device)
    small = arguments.model
    if small is None:
        small = ensure(folder / "small", QUICK if device == "cpu" else BENCH, torch.float32)
    result: dict[str, Any] = {
        "what": "benchmarks/gpu_check.py",
        "machine": machine.describe(),
        "device": describe_device(device),
        "agreement_model": "given" if arguments.model else "random",
        "agreement": agreement_and_drift(small, device, folder),
    }
    print(f"agreement: {json.dumps(result['agreement'])}", file=sys.stderr)
    large = ensure(folder / name, size, torch.bfloat16)
    result |= {"speed_model": name, "speed": speed(large, arguments, device, folder)}
    return result | {"minutes": round((time.perf_counter() - start) / 60, 1)}


def ensure(folder: Path, size: ModelSize, dtype: torch.dtype) -> Path:
    """A random model in ``folder``, made unless it is there."""
    if not (folder / "preprocessor_config.json").is_file():
        print(f"making a random model in {folder}", file=sys.stderr)
        write_model(folder, size, form="sequence-classification", dtype=dtype)
    return folder


def main() -> int:
    """Check, print the JSON."""
    arguments = parse()
    device = arguments.device or ("cuda" if torch.cuda.is_available() else None)
    if device is None:
        print("no GPU found: nothing to check here; --device cpu tries the script itself")
        return 0
    # What is compared in float32 must be float32, which TF32 products are not.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = check(arguments, device, folder)
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")
    agreed = result["agreement"]["packed_against_plain_float32"] <= AGREEMENT
    print("agreement: ok" if agreed else "agreement: packed and plain differ", file=sys.stderr)
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
