"""Text from standard input: all of it, or in pieces while it is being written."""

import codecs
import os
import select
import sys
import time
from collections.abc import Iterator
from io import UnsupportedOperation

from vocalmtp.errors import InputError

MAX_CHARACTERS = 1 << 24  # of a text that is read at once, as standard input may be endless
BLOCK = 65_536  # bytes per read
IDLE = 0.5  # seconds without input after which a complete line is spoken
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(argument: str) -> str:
    """Return the text of an argument of the command line; "-" is standard input.

    Raises:
        InputError: it is not UTF-8.

    """
    if argument == "-":
        return read_stdin()
    try:  # Python decodes arguments by the locale, which may be ASCII
        return argument.encode(errors="surrogateescape").decode()
    except UnicodeError as error:
        shown = argument.encode(errors="replace").decode()
        raise InputError(
            f"text '{shown:.40}': is not UTF-8; convert it first", code="invalid_value"
        ) from error


def read_stdin() -> str:
    """Read a text in UTF-8, or in UTF-16 with its mark, from standard input.

    Raises:
        InputError: it is neither.

    """
    data = sys.stdin.buffer.read(4 * MAX_CHARACTERS + 1)
    try:
        text = data.decode(_encoding(data))
    except UnicodeDecodeError as error:
        raise _not_text() from error
    if "\0" in text:  # UTF-16 without its mark
        raise _not_text()
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"text '-': is longer than {MAX_CHARACTERS >> 20} million characters; split it",
            code="wrong_length",
        )
    return text


class FollowedText:
    """Standard input in pieces, as they arrive.

    A line after which nothing arrives for IDLE seconds is followed by an empty line, so that it is
    spoken without punctuation. Input that is not UTF-8 ends the text.

    Attributes:
        begin: when the first piece arrived, by `time.perf_counter`; None before it.
        error: why the text ended early; None if it did not.

    """

    def __init__(self) -> None:
        self.begin: float | None = None
        self.error: InputError | None = None

    def __iter__(self) -> Iterator[str]:
        """Yield pieces until the end of standard input."""
        data = b""
        blocks = _blocks()
        while len(data) < 2 and (block := next(blocks, b"")):  # a mark has two bytes
            data += block
        decoder = codecs.getincrementaldecoder(_encoding(data))()
        try:
            yield from self._decoded(decoder, data)
            for block in blocks:
                yield from self._decoded(decoder, block)
            yield decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            self.error = _not_text()
            yield error.object[: error.start].decode(error.encoding)

    def _decoded(self, decoder: codecs.IncrementalDecoder, block: bytes) -> Iterator[str]:
        if text := decoder.decode(block):
            self.begin = self.begin or time.perf_counter()
            yield text
            if text.endswith("\n") and _is_idle():
                yield "\n"


def _is_idle() -> bool:
    """Whether nothing arrives for IDLE seconds; never where pipes cannot be waited for (Windows)."""
    try:
        return not select.select([_descriptor()], [], [], IDLE)[0]
    except OSError:
        return False


def _blocks() -> Iterator[bytes]:
    """Yield what standard input has, without waiting for whole blocks."""
    while block := os.read(_descriptor(), BLOCK):
        yield block


def _descriptor() -> int:
    try:
        return sys.stdin.fileno()
    except (UnsupportedOperation, AttributeError, ValueError) as error:
        raise InputError(
            "follow: standard input is no file or pipe; pipe a text in", code="unusable"
        ) from error


def _encoding(data: bytes) -> str:
    return "utf-16" if data[:2] in UTF16_MARKS else "utf-8-sig"


def _not_text() -> InputError:
    return InputError(
        "text '-': standard input is not UTF-8; convert it first", code="invalid_value"
    )
