"""Prove our scores against the published procedure: ``make parity``.

Builds the environment that the procedure was published for, lets it make a small random checkpoint and score
conversations with it, and scores the same with vlreward. The fixture it writes is committed, so that everybody's
``make test`` holds the proof without that environment.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from harness import environments
from harness.golden import grouped, read_cases
from vlreward import Group, RewardModel

HERE = Path(__file__).resolve().parent
FIXTURE = HERE.parent / "tests" / "fixtures" / "published"
TOLERANCE = 2e-4
FIXTURE_BYTES = 1_000_000


def make_fixture(python: Path, out: Path) -> None:
    """Let the published environment write the fixture into ``out``."""
    script = HERE / "published" / "make_fixture.py"
    subprocess.run([str(python), str(script), "--out", str(out)], check=True)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size >= FIXTURE_BYTES:
        raise SystemExit(f"the fixture is {size} bytes; it is committed, and must stay under {FIXTURE_BYTES}")


def compare(folder: Path) -> list[str]:
    """Print our scores beside the published ones; the names of the cases that differ by more than `TOLERANCE`."""
    model = RewardModel.from_pretrained(folder / "checkpoint", dtype="float32", device="cpu")
    groups = grouped(read_cases(folder))
    packed = model.score_groups([Group(group[0].prompt, [case.answer for case in group]) for group in groups])
    wrong, worst = [], 0.0
    print(f"{'case':<26}{'published':>12}{'alone':>12}{'in a pack':>12}{'difference':>13}")
    for group, rewards in zip(groups, packed, strict=True):
        for case, reward in zip(group, rewards, strict=True):
            alone = model.score(case.messages)
            difference = max(abs(alone - case.score), abs(reward - case.score))
            mark = "" if difference <= TOLERANCE else "  <- differs"
            print(f"{case.name:<26}{case.score:>12.5f}{alone:>12.5f}{reward:>12.5f}{difference:>13.1e}{mark}")
            worst = max(worst, difference)
            wrong += [case.name] if mark else []
    print(f"largest difference {worst:.1e}; {TOLERANCE:.0e} is allowed")
    return wrong


def main() -> int:
    """Build, make, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    place = environments.DEFAULT_FOLDER / environments.PUBLISHED.name
    parser.add_argument("--env", type=Path, default=place, metavar="DIR", help="where the environment is, or is built")
    parser.add_argument("--out", type=Path, default=FIXTURE, help="where the fixture is written")
    parser.add_argument("--full", action="store_true", help="install torch there too instead of borrowing this one's")
    parser.add_argument("--compare-only", action="store_true", help="take the fixture as it is")
    arguments = parser.parse_args()
    if not arguments.compare_only:
        make_fixture(environments.build(environments.PUBLISHED, arguments.env, full=arguments.full), arguments.out)
    wrong = compare(arguments.out)
    if wrong:
        print(f"{len(wrong)} cases differ: {', '.join(wrong)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
