"""What a user did wrong, said in one line."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input from a user; the message is one line naming the field, the value and the fix.

    The command line prints it without a traceback and exits with 2. What users typed may be in it:
    signs that would move the cursor are replaced.
    """

    def __init__(self, message: str):
        line = " ".join(message.split())
        super().__init__("".join(sign if sign.isprintable() else "?" for sign in line))


def nearest(name: str, options: Iterable[str]) -> str:
    """A hint for an unknown `name`: the nearest of `options`, or all of them if none is near."""
    options = sorted(options)
    close = get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"choose one of: {', '.join(options)}" if options else "there are none"
