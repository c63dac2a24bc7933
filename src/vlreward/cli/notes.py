"""The library's warnings, as single lines on stderr."""

from __future__ import annotations

import logging
import sys


class Notes(logging.Handler):
    """Prints each kind of warning once: a file with a thousand large pictures is one hint, not a thousand."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record unless its like has been."""
        if str(record.msg) not in self._seen:
            self._seen.add(str(record.msg))
            # Looked up at each call: a progress display puts itself in the place of stderr.
            print(f"note: {' '.join(record.getMessage().splitlines())}", file=sys.stderr, flush=True)


def show_notes() -> None:
    """Show the library's warnings from here on."""
    logger = logging.getLogger("vlreward")
    for handler in [handler for handler in logger.handlers if isinstance(handler, Notes)]:
        logger.removeHandler(handler)
    logger.addHandler(Notes())
