"""The characters that models read, their ids, and the version of the readings."""

from collections.abc import Sequence

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
            "use vocalmtp.text.normalize first",
            code="invalid_value",
        ) from error


def char_text(ids: Sequence[int]) -> str:
    """The text of ids of ALPHABET; others, such as that of an end, are left out."""
    return "".join(ALPHABET[index] for index in ids if 0 <= index < len(ALPHABET))


def shorten(text: str, limit: int = 40) -> str:
    """`text` on one line and short enough for a message."""
    line = " ".join(text[: 10 * limit].split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= limit else line[: limit - 3] + "..."


# How the golden cases (tests/text/golden.tsv) are said in each version, as `readings_hash` has it.
# When a case is added or read differently, add a line with the next number.
READINGS = {
    1: "63aa952f8598b954",
}
VERSION = max(READINGS)
