"""What every benchmark's command does with a measurement: a folder to work in, a table, a file."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Differs(Exception):
    """Contestants disagree, so that nothing is timed."""


def measured(
    arguments: argparse.Namespace,
    result: Path,
    measure: Callable[[Path], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
) -> int:
    """Measure in a folder, print the table, write the result; the command's exit status.

    Args:
        arguments: with ``quick``, ``folder`` (None: one that is thrown away) and ``out`` (None: ``result``, or with
            ``quick`` no file).
        result: where the result goes unless told.
        measure: called with the folder.
        table: the result for people.
    """
    out = arguments.out or (None if arguments.quick else result)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            found = measure(folder)
        except Differs as error:
            print(f"not timed: {error}", file=sys.stderr)
            return 1
    print(table(found))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"written to {out}")
    return 0
