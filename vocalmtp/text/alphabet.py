"""The characters that models read, their ids, and the version of the readings."""

from collections.abc import Sequence

from vocalmtp.errors import InputError

ALPHABET = " abcdefghijklmnopqrstuvwxyz'.,?!-;:"
_INDEX = {character: index for index, character in enumerate(ALPHABET)}

# The readings of tests/text/golden.tsv in each version, as a hash. When a reading changes, add a
# line with the next number. Exported models name the version that they were trained with.
READINGS = {
    1: "63aa952f8598b954",
    2: "e52df191cc3956fb",
}
VERSION = max(READINGS)


def char_ids(text: str) -> list[int]:
    """Ids of the characters of a normalised text: their places in ALPHABET.

    Raises:
        InputError: a character is not in the alphabet; the text was not normalised.
    """
    try:
        return [_INDEX[character] for character in text]
    except KeyError as error:
        raise InputError(
            f"text '{shorten(text)}': character {error.args[0]!r} is not in the alphabet; "
            "use vocalmtp.text.normalize first",
            code="invalid_value",
        ) from error


def char_text(ids: Sequence[int]) -> str:
    """The text of ids of ALPHABET; ids outside it, such as that of an end, are left out."""
    return "".join(ALPHABET[index] for index in ids if 0 <= index < len(ALPHABET))


def shorten(text: str, limit: int = 40) -> str:
    """`text` on one line, short enough for a message."""
    line = " ".join(text[: 10 * limit].split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= limit else line[: limit - 3] + "..."
