"""Lets these tests import what the scripts in ``benchmarks/`` are made of."""

from __future__ import annotations

import sys

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
