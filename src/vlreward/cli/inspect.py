"""``vlreward inspect``: what a checkpoint is, and what keeps it from being scored with."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from . import loading
from .options import add_checkpoint_options, add_question_options, model_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vlreward.model.inspect import Inspection

NAME = "inspect"


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="what a checkpoint is: form, backbone, head, pixel limits, problems",
        description="Say what a checkpoint is. No weights are loaded. Exits 2 when it cannot be scored with as it is.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("checkpoint", nargs="?", metavar="MODEL", help="folder or hub id (or --model)")
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")
    add_checkpoint_options(parser)
    add_question_options(parser)


def run(args: argparse.Namespace) -> int:
    """Inspect and print."""
    from vlreward.model.inspect import inspect

    from .tables import console, on_terminal

    args.model = args.checkpoint or args.model
    options = model_options(args)
    found = inspect(
        options.model,
        revision=options.revision,
        local_files_only=options.offline,
        question=loading.question_of(options),
    )
    if args.json or not on_terminal():
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        console().print(_table(found))
    return 2 if found.problems else 0


def _table(found: Inspection) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(found):
        table.add_row(name, Text(value))
    for i, problem in enumerate(found.problems):
        table.add_row("" if i else "problems", Text(problem, style="red"))
    if not found.problems:
        table.add_row("problems", Text("none", style="green"))
    return table


def _facts(found: Inspection) -> list[tuple[str, str]]:
    parameters = ", ".join(f"{name.replace('_', ' ')} {_count(n)}" for name, n in found.parameters.items() if n)
    photos = ", ".join(f"{n:,} for {size.replace('x', ' × ')}" for size, n in found.visual_tokens.items())
    context = f"{found.context_length:,} tokens" if found.context_length else "not said"
    packing = "conversations are packed into one tree" if found.packable else "one conversation at a time"
    return [
        ("model", found.model),
        ("form", found.form or "none"),
        ("head", found.head or "none"),
        ("backbone", f"{found.backbone}; {packing}"),
        ("dtype", ", ".join(f"{name} ({_count(n)} parameters)" for name, n in found.dtypes.items())),
        ("parameters", parameters),
        ("on disk", _bytes(found.size_on_disk)),
        ("pixel limits", f"{found.min_pixels:,} to {found.max_pixels:,} ({found.pixel_limits_from})"),
        ("visual tokens", photos),
        ("context", context),
        ("chat template", found.chat_template or "none"),
    ]


def _count(number: int) -> str:
    for size, unit in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def _bytes(number: int) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"
