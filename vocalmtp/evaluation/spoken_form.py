"""Texts as they sound, to compare what was written with what was heard: "9" and "nine" are one.

Figures are first read out by the text front end, then every number in words becomes digits, so that
"1945", "nineteen forty five" and "one thousand nine hundred and forty five" are the same.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache

from vocalmtp.errors import InputError
from vocalmtp.text import normalize

SCALES = {"thousand": 1000, "million": 10**6, "billion": 10**9}
HUNDRED = "hundred"
Found = tuple[int, int, bool]  # a value, the words read so far, whether it was an ordinal


def spoken_form(text: str) -> str:
    """`text` as it sounds: lower case, no punctuation, numbers in digits (ordinals end in "th").

    What cannot be read out (another script) stays as it is.
    """
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    try:
        plain = normalize(plain)
    except InputError:
        plain = plain.lower()
    return in_digits(re.sub(r"[^\w']|_", " ", plain))


def in_digits(text: str) -> str:
    """`text` with the numbers that its words make up in digits.

    Two numbers below a hundred are read as a year ("nineteen oh five").
    """
    words = text.split()
    made: list[str] = []
    place = 0
    while place < len(words):
        found = _year(words, place) or _cardinal(words, place)
        if found is None:
            made.append(words[place])
            place += 1
        else:
            value, place, ordinal = found
            made.append(f"{value}th" if ordinal else str(value))
    return " ".join(made)


@cache
def _lexicon() -> dict[str, tuple[int, bool]]:
    """Every word of a number below a hundred, and of ordinals: its value, whether it is one."""
    from num2words import num2words

    values = [*range(20), *range(20, 100, 10)]
    found = {num2words(value): (value, False) for value in values}
    found |= {num2words(value, to="ordinal"): (value, True) for value in values}
    return found


def _word(words: list[str], place: int) -> tuple[int, bool] | None:
    return _lexicon().get(words[place]) if place < len(words) else None


def _below_hundred(words: list[str], place: int) -> Found | None:
    found = _word(words, place)
    if found is None:
        return None
    value, ordinal = found
    unit = _word(words, place + 1)
    if value >= 20 and not ordinal and unit is not None and 1 <= unit[0] <= 9:
        return value + unit[0], place + 2, unit[1]
    return value, place + 1, ordinal


def _below_thousand(words: list[str], place: int) -> Found | None:
    """One to 999, and "nineteen hundred"; "a hundred" is one hundred."""
    if words[place] == "a" and words[place + 1 : place + 2] in ([HUNDRED], *[[s] for s in SCALES]):
        found: Found | None = (1, place + 1, False)
    else:
        found = _below_hundred(words, place)
    if found is None or found[2]:
        return found
    value, place, _ = found
    if place < len(words) and words[place] in (HUNDRED, f"{HUNDRED}th") and value:
        ordinal = words[place] != HUNDRED
        value, place = value * 100, place + 1
        rest = None if ordinal else _after(words, place, _below_hundred)
        return (value, place, ordinal) if rest is None else (value + rest[0], *rest[1:])
    return value, place, False


def _cardinal(words: list[str], place: int) -> Found | None:
    """A number with its scales, the larger ones first."""
    found = _below_thousand(words, place)
    total, least = 0, max(SCALES.values()) * 1000
    while found is not None and not found[2]:
        value, place, _ = found
        name = words[place].removesuffix("th") if place < len(words) else ""
        scale = SCALES.get(name, 1)
        if scale == 1 or scale >= least or not value:
            return total + value, place, False
        ordinal = words[place] != name
        total, least, place = total + value * scale, scale, place + 1
        if ordinal:
            return total, place, True
        found = _after(words, place, _below_thousand)
        if found is None:
            return total, place, False
    return found and (total + found[0], *found[1:])


def _after(
    words: list[str], place: int, read: Callable[[list[str], int], Found | None]
) -> Found | None:
    """What `read` finds at `place`, or behind an "and" there; nothing of a value of zero."""
    if place < len(words) and words[place] == "and":
        place += 1
    found = read(words, place) if place < len(words) else None
    return found if found is not None and found[0] else None


def _year(words: list[str], place: int) -> Found | None:
    """Two pairs of digits, the first from ten on: "nineteen forty five", "nineteen oh five"."""
    first = _below_hundred(words, place)
    if first is None or first[2] or first[0] < 10:
        return None
    value, place, _ = first
    if words[place : place + 1] == ["oh"]:
        unit = _word(words, place + 1)
        if unit is not None and 1 <= unit[0] <= 9:
            return value * 100 + unit[0], place + 2, unit[1]
    second = _below_hundred(words, place)
    if second is None or second[0] < 10:
        return None
    after = words[second[1] : second[1] + 1]
    if after and (after[0] == HUNDRED or after[0] in SCALES):
        return None
    return value * 100 + second[0], *second[1:]
