"""Roman numerals: "Henry VIII" and "Chapter IV", but never the pronoun."""

import re

from vocalmtp.text.figures import Rule, cardinal, ordinal, year
from vocalmtp.text.tables import AFTER_ONE, NUMBERED, REGNAL, STARTERS

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
# 1 to 39, and up to 89 in three letters; others are too often initials, as in "Size XL".
_SMALL = r"X{0,3}(?:IX|IV|V?I{1,3}|V)|X{1,3}|LX{0,3}(?:IX|IV|V?I{0,3})(?<=[IVXL]{3})"
_LOWER = "i{2,3}|iv|vi{1,3}|ix|xi{1,3}"
_WELL_FORMED = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_NEXT_WORD = re.compile(r"\s([a-z]+)")


def value(numeral: str) -> int:
    """ "XIV" -> 14."""
    numbers = [_VALUES[letter] for letter in numeral]
    pairs = zip(numbers, [*numbers[1:], 0], strict=True)
    return sum(-here if here < after else here for here, after in pairs)


def _after_word(match: re.Match[str]) -> str:
    word, numeral = match[1], match[2].upper()
    counted = word.lower() in NUMBERED
    if match[2] != numeral and not counted:
        return match[0]
    if len(numeral) == 1 and not counted and word not in REGNAL:
        return match[0]
    if numeral == "I":  # or the pronoun
        following = _NEXT_WORD.match(match.string, match.end())
        if following and following[1] not in AFTER_ONE:
            return match[0]
    if word in STARTERS or word in ("A", "An"):
        return match[0]
    number = str(value(numeral))
    return f"{word} {cardinal(number)}" if counted else f"{word} the {ordinal(number)}"


def _alone(match: re.Match[str]) -> str:
    numeral, century = match[1], match[2]
    if not _WELL_FORMED.fullmatch(numeral):
        return match[0]
    number = str(value(numeral))
    if century:
        return ordinal(number) + century
    return year(number) if 1100 <= int(number) < 2100 else cardinal(number)


ROMAN: tuple[Rule, ...] = (
    (rf"\b([A-Z][a-z]+) ({_SMALL}|{_LOWER})\b(?!\.[A-Z])", _after_word),
    (r"\b([IVX]+)( century| Century)\b", _alone),
    (r"\b([IVXLCDM]{4,15})\b()", _alone),
    (
        r"(?<!\w\()(?<=\()(i{1,3}|iv|vi{1,3}|ix)(?=\))",
        lambda m: cardinal(str(value(m[1].upper()))),
    ),
)
