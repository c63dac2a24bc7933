"""Build the environment of a peer: ``python benchmarks/peers/install.py ms-swift``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import environments


def main() -> None:
    """Parse the command line and build."""
    specs = {spec.name: spec for spec in environments.SPECS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(specs), nargs="+", help="which environments to build")
    parser.add_argument("--env-dir", type=Path, default=environments.DEFAULT_FOLDER, help="where environments live")
    parser.add_argument("--full", action="store_true", help="install torch too instead of borrowing this one's")
    arguments = parser.parse_args()
    for name in arguments.name:
        python = environments.build(specs[name], arguments.env_dir / name, full=arguments.full)
        print(f"{name}: {python}")


if __name__ == "__main__":
    main()
