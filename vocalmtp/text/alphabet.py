"""The characters that models read, and their ids."""

from vocalmtp.errors import InputError

ALPHABET = " abcdefghijklmnopqrstuvwxyz'.,?!-;:"
_INDEX = {character: index for index, character in enumerate(ALPHABET)}


def char_ids(text: str) -> list[int]:
    """Place in ALPHABET of every character of a normalised text; one id per character.

    Raises InputError for a character that is not in it: normalise the text first.
    """
    try:
        return [_INDEX[character] for character in text]
    except KeyError as error:
        raise InputError(
            f"text '{shorten(text)}': character {error.args[0]!r} is not in the alphabet; "
            "use vocalmtp.text.normalize first"
        ) from error


def shorten(text: str, limit: int = 40) -> str:
    """`text` on one line and short enough for a message."""
    line = " ".join(text[: 10 * limit].split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= limit else line[: limit - 3] + "..."
