"""Peak memory of loading a full-size model and scoring one picture: ``python benchmarks/memory_7b.py --folder DIR``.

Makes a Qwen2.5-VL-7B with a reward head in ``DIR`` (random weights, bfloat16, shards of about 4 GB, 16.6 GB in all;
never more than one shard in memory), then loads it and scores one picture of about 1,024 visual tokens in a process of
its own, and reports that process's peak (VmHWM) against the checkpoint's bytes. Linux only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch

from harness import machine
from harness.contestant import OURS, Process
from harness.random_model import bytes_on_disk, write_model
from harness.sizes import QUICK, RELEASED_7B, ModelSize
from harness.workload import Workload

BOUND = 1.15
"""Most that the peak may be, in checkpoints."""
_MARGIN = 2 * 2**30


def ensure_model(folder: Path, size: ModelSize) -> Path:
    """The checkpoint in ``folder``, made unless a finished one is there."""
    checkpoint, mark = folder / "checkpoint", folder / "finished"
    if mark.exists():
        return checkpoint
    shutil.rmtree(checkpoint, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    needed = 17 * 10**9 if size is RELEASED_7B else 0
    free = shutil.disk_usage(folder).free
    if free < needed + _MARGIN:
        raise SystemExit(f"{folder}: {free / 1e9:.1f} GB are free, the checkpoint takes {needed / 1e9:.0f} GB")
    start = time.perf_counter()
    write_model(checkpoint, size, form="value-head", dtype=torch.bfloat16)
    mark.touch()
    print(f"made {bytes_on_disk(checkpoint) / 1e9:.2f} GB in {time.perf_counter() - start:.0f} s", flush=True)
    return checkpoint


def measure(checkpoint: Path, folder: Path, threads: int) -> dict[str, Any]:
    """Load and score in a process of its own; bytes and seconds."""
    on_disk = bytes_on_disk(checkpoint)
    free = machine.available_bytes()
    if free is not None and free < BOUND * on_disk:
        raise SystemExit(f"{free / 1e9:.1f} GB of memory are free; {BOUND * on_disk / 1e9:.1f} GB may be needed")
    groups = Workload(name="one picture", answers=1).groups(0, folder)
    load = {"model": str(checkpoint), "dtype": "bfloat16", "threads": threads}
    start = time.perf_counter()
    with Process(OURS, Path(sys.executable), load, folder / "log") as process:
        loaded = time.perf_counter() - start
        answer = process.score(groups)
    peak = max(process.load_peak_bytes or 0, answer["peak_bytes"] or 0)
    return {
        "machine": machine.describe(),
        "versions": process.versions,
        "checkpoint_bytes": on_disk,
        "peak_bytes": peak,
        "peak_bytes_of_loading": process.load_peak_bytes,
        "peak_bytes_of_scoring": answer["peak_bytes"],
        # Weights that stay mapped from the file are counted in the peak; the system may drop and read them again.
        "bytes_when_loaded": process.rest_bytes,
        "of_these_mapped_from_files": process.rest_file_bytes,
        "peak_in_checkpoints": round(peak / on_disk, 4),
        "bound": BOUND,
        "seconds_to_load": round(loaded, 1),
        "seconds_to_score": round(answer["seconds"], 1),
        "score": answer["scores"][0][0],
        "threads": threads,
    }


def main() -> int:
    """Make, measure, report, and clean up on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the checkpoint is made and kept")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--make-only", action="store_true", help="write the checkpoint and stop")
    parser.add_argument("--clean", action="store_true", help="remove the checkpoint afterwards")
    parser.add_argument("--quick", action="store_true", help="a tiny model, to try the script")
    parser.add_argument("--out", type=Path, help="write the result here too")
    arguments = parser.parse_args()
    checkpoint = ensure_model(arguments.folder, QUICK if arguments.quick else RELEASED_7B)
    if arguments.make_only:
        return 0
    result = measure(checkpoint, arguments.folder, arguments.threads)
    print(json.dumps(result, indent=1))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.clean:
        shutil.rmtree(arguments.folder)
    return 0 if arguments.quick or result["peak_in_checkpoints"] <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
