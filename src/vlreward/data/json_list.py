"""A JSON file of one list, one element at a time: that is how LLaMA-Factory and benchmarks store large data."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from vlreward.errors import InputError

_CHUNK = 1 << 18
# What is wrong because the text was cut is wrong within so many characters of the cut, but for open strings.
_CUT = 16
_SPACE = re.compile(r"[ \t\n\r]*")


def refuse_constant(name: str) -> Any:
    """For ``parse_constant``: NaN and the infinities are Python's own."""
    raise ValueError(f"{name} is not a JSON number")


def check_pairs(value: Any, text: str) -> None:
    """See that no string of a parsed value has half of a surrogate pair.

    Raises:
        UnicodeEncodeError: one has.
    """
    if "\\ud" in text or "\\uD" in text:
        json.dumps(value, ensure_ascii=False).encode()


def iter_list(path: Path) -> Iterator[Any]:
    """The elements of a list. Memory holds an element and a piece of the file.

    Args:
        path: a file of UTF-8 that starts with ``[``, a byte order mark and white space aside.

    Raises:
        InputError: the file is not UTF-8 or not JSON; the message names the line. What came before was given out.
    """
    decoder = json.JSONDecoder(parse_constant=refuse_constant)
    with path.open("rb") as file:
        text = _Pieces(file, path)
        text.take("[")
        if text.peek() == "]":
            text.take("]")
        else:
            yield text.value(decoder)
            while text.peek() == ",":
                text.take(",")
                yield text.value(decoder)
            text.take("]", "Expecting ',' delimiter")
        if text.peek():
            text.fail("Extra data", text.position)


class _Pieces:
    """The text of a file, read as it is wanted."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_begun = False
        self._text = ""
        self._line, self._column = 1, 0  # of the text's first character, which has so many before it on its line
        self._bytes_line, self._bytes_column = 1, 0  # likewise of the next byte
        self.position = 0

    def peek(self) -> str:
        """The next character that is no white space; empty at the end of the file."""
        while True:
            self.position = _end_of_space(self._text, self.position)
            if self.position < len(self._text):
                return self._text[self.position]
            if not self._more():
                return ""

    def take(self, expected: str, message: str = "Expecting value") -> None:
        """Pass over a character that must be there."""
        if self.peek() != expected:
            self.fail(message, self.position)
        self.position += 1

    def value(self, decoder: json.JSONDecoder) -> Any:
        """The next value."""
        if not self.peek():
            self.fail("Expecting value", self.position)
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self.position)
            except json.JSONDecodeError as error:
                is_open = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - _CUT
                if not (is_open and self._more()):
                    self.fail(error.msg, error.pos)
                continue
            except (ValueError, RecursionError) as error:  # NaN, a number of thousands of digits, nesting without end
                raise InputError(f"{self._place()}: invalid JSON: {error}") from None
            if end == len(self._text) and self._more():  # a number may go on
                continue
            try:
                check_pairs(value, self._text[self.position : end])
            except UnicodeEncodeError:
                place = self._place()
                raise InputError(f"{place}: half of a \\ud… pair in a string; such text has no UTF-8 form") from None
            self.position = end
            return value

    def _place(self) -> str:
        return f"{self._path}:{_behind(self._text[: self.position], chr(10), self._line, 0)[0]}"

    def fail(self, message: str, position: int) -> NoReturn:
        """Say what is wrong at a position of the text at hand."""
        before = self._text[:position]
        line = self._line + before.count("\n")
        column = position - before.rfind("\n") + (0 if "\n" in before else self._column)
        raise InputError(f"{self._path}:{line}: invalid JSON at column {column}: {message}")

    def _more(self) -> bool:
        """Read on, and let go of what was passed over; false at the end of the file."""
        # Twice as much as is there, so that a long element is not parsed again too often.
        data = self._file.read(max(_CHUNK, 2 * (len(self._text) - self.position)))
        read = self._decode(data if self._is_begun else data.removeprefix(codecs.BOM_UTF8))
        self._is_begun = True
        if not data:
            return False
        passed = self._text[: self.position]
        self._line, self._column = _behind(passed, "\n", self._line, self._column)
        self._text, self.position = self._text[self.position :] + read, 0
        return True

    def _decode(self, data: bytes) -> str:
        try:
            read = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            # The object begins with what the decoder kept of the piece before.
            kept = len(error.object) - len(data)
            before = error.object[: error.start]
            line, column = _behind(before, b"\n", self._bytes_line, self._bytes_column - kept)
            found = f"0x{error.object[error.start]:02x}"
            message = f"{self._path}:{line}: not UTF-8 at byte {column + 1} ({found}); save the file as UTF-8"
            raise InputError(message) from None
        self._bytes_line, self._bytes_column = _behind(data, b"\n", self._bytes_line, self._bytes_column)
        return read


def _end_of_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _behind(passed: Any, line_break: Any, line: int, column: int) -> tuple[int, int]:
    """The line and column behind a passed text or byte string that began at ``line`` and ``column``."""
    count = passed.count(line_break)
    if not count:
        return line, column + len(passed)
    return line + count, len(passed) - passed.rfind(line_break) - 1
