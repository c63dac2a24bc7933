"""The command line with a fake model that takes its time: ``python -m tests.cli.fake_vlreward SECONDS VERB …``."""

from __future__ import annotations

import sys

from tests.fakes import FakeModel
from vlreward.cli import loading, main

if __name__ == "__main__":
    model = FakeModel(seconds=float(sys.argv[1]))
    loading.load_model = lambda options: model  # type: ignore[assignment, return-value]
    sys.exit(main(sys.argv[2:]))
