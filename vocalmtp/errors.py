"""User errors: one line naming the field, the value and the fix, with a machine-readable code."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal, get_args

ErrorCode = Literal[
    "conflict",  # options that exclude each other
    "consent_missing",  # a voice made of a recording without the person's consent
    "damaged",  # a file that is incomplete or whose content is corrupt
    "empty",  # an input without content
    "invalid_value",  # a value of the wrong type or form
    "mismatch",  # parts that do not belong together, such as a model and a tokenizer
    "missing",  # a required value that was not given
    "not_found",  # a file, folder or name that does not exist
    "not_installed",  # an optional package that is not importable
    "other_run",  # an output folder that belongs to another configuration
    "out_of_range",  # a number outside of its limits
    "unknown_name",  # a name or key that is not one of a fixed set
    "unsupported",  # a combination that is valid but not implemented
    "unusable",  # a file, device or process that exists and cannot be used
    "version_too_new",  # a file written by a newer version
    "wrong_length",  # an input that is too long or too short
]
ERROR_CODES: tuple[str, ...] = get_args(ErrorCode)

_KEY = re.compile(r"(?P<key>[^':]+?)(?: '|:|$)")


class InputError(ValueError):
    """Invalid user input.

    The message is one line, `KEY 'VALUE': what is wrong; the fix`. The command line prints it
    followed by the code, without a traceback, and exits with status 2.

    Args:
        message: the line; control characters in it are replaced, as it may quote user input.
        code: the kind of error, one of `ErrorCode`.
        key: the field that the error is about; parsed from the beginning of `message` by default.

    """

    def __init__(self, message: str, *, code: ErrorCode, key: str | None = None):
        line = " ".join(message.split())
        line = "".join(character if character.isprintable() else "?" for character in line)
        super().__init__(line)
        self.code: ErrorCode = code
        if key is None:
            match = _KEY.match(line)
            key = match["key"] if match else ""
        self.key = key

    def __reduce__(self) -> tuple[object, ...]:  # keyword arguments survive pickling
        return (_rebuild, (str(self), self.code, self.key))


def _rebuild(message: str, code: ErrorCode, key: str) -> InputError:
    return InputError(message, code=code, key=key)


def nearest(name: str, options: Iterable[str]) -> str:
    """Return a hint for an unknown `name`: the most similar option, or all options if none is."""
    options = sorted(set(options))
    close = get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"choose one of: {', '.join(options)}" if options else "there are none"
