"""The command line, ``vlreward VERB``: one file per verb, parsed light, its imports late."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from vlreward.errors import VLRewardError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 when it did what was asked, 2 when the input, the options or the checkpoint are wrong (one line on stderr), 130
    when it was interrupted. Anything unforeseen keeps its traceback.
    """
    try:
        from .parser import parse

        args = parse(sys.argv[1:] if argv is None else list(argv))
        code: int = args.run(args)
        sys.stdout.flush()
    except VLRewardError as error:
        _say("error", str(error))
        return 2
    except KeyboardInterrupt as interrupt:
        _say("interrupted", str(interrupt))
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (``| head``). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _say(kind: str, message: str) -> None:
    line = " ".join(message.splitlines())
    print(f"{kind}: {line}" if line else kind, file=sys.stderr, flush=True)
