"""Cardinals, ordinals, years and Roman numerals in words; the parts that the number rules share."""

import re
from collections.abc import Callable
from functools import lru_cache

from num2words import num2words

from vocalmtp.text.tables import AFTER_ONE, LETTER_NAMES, NUMBERED, REGNAL, STARTERS

Rule = tuple[str, Callable[[re.Match[str]], str]]  # what is written, and how it is said

# A figure, from its first digit on. The bounds keep odd texts from taking for ever.
NUM = r"(?<!\d)(?:\d{1,3}(?:,\d{3}){1,10}(?!\d)|\d+)(?:\.\d+)?"
LONGEST = 15  # digits without commas that are still read as one number
DIGITS = "zero one two three four five six seven eight nine".split()


def digits(text: str) -> str:
    """ "407" -> "four zero seven"; other characters are dropped."""
    return " ".join(DIGITS[int(d)] for d in text if d.isdecimal())


def groups(text: str) -> str:
    """ "555-1234" -> "five five five, one two three four"."""
    return ", ".join(digits(group) for group in re.findall(r"\d+", text))


@lru_cache(4096)
def cardinal(text: str) -> str:
    """ "1,234.50" -> "one thousand two hundred and thirty-four point five zero"."""
    whole, _, fraction = text.partition(".")
    bare = whole.replace(",", "")
    as_code = len(bare) > 9 and not bare.endswith("000") or len(bare) > LONGEST
    if (as_code and "," not in whole) or (len(bare) > 1 and bare[0] == "0"):
        words = digits(bare)
    else:
        words = num2words(int(bare)).replace(",", "")
    return f"{words} point {digits(fraction)}" if fraction else words


def ordinal(text: str) -> str:
    """ "21" -> "twenty-first"."""
    text = text.replace(",", "")
    if len(text) > LONGEST:
        return f"{digits(text)}th"
    return num2words(int(text), to="ordinal").replace(",", "")


def year(text: str) -> str:
    """ "1905" -> "nineteen oh five"."""
    return num2words(int(text), to="year").replace("oh-", "oh ").replace(",", "")


def plural(words: str) -> str:
    """ "nineteen ninety" -> "nineteen nineties"."""
    return re.sub("y$", "ie", words) + ("es" if words.endswith("six") else "s")


def is_attributive(match: re.Match[str]) -> bool:
    """Whether an amount stands between "a" and a noun: "a $5 bill", which has no plural."""
    before, after = match.string[max(0, match.start() - 4) : match.start()], match.end()
    return bool(
        re.search(r"(?:^|\s)[Aa]n? $", before) and re.match("[ -][a-z]", match.string[after:][:2])
    )


def choice(words: dict[str, object] | set[str]) -> str:
    """A pattern for any of `words`, longest first."""
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


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


COUNTS: tuple[Rule, ...] = (
    (r"(?<![\w,])(\d[\d,]{0,15})(?i:st|nd|rd|th)\b", lambda m: ordinal(m[1])),
)
PLAIN: tuple[Rule, ...] = (
    (r"(?<!\w)v\.?(?=\d)", lambda m: "version "),
    (
        r"(?<![\d.])\d+(?:\.\d+){2,}",
        lambda m: " point ".join(map(cardinal, m[0].split("."))),
    ),
    (r"(?<![\d.])\.(\d+)", lambda m: f"point {digits(m[1])}"),
    (r"(?<=\d)-(?=[A-Z])", lambda m: " "),
    (
        r"(?<![A-Za-z])([A-Z]{1,2})-?(?=\d)",
        lambda m: "".join(f"{LETTER_NAMES[letter.lower()]} " for letter in m[1]),
    ),
    (r"(?<=[A-Za-z])-?(?=\d)|(?<=\d)(?=[A-Za-z])", lambda m: " "),
    (NUM, lambda m: cardinal(m[0])),
)
RATIO: Rule = (
    r"(?<![\d:])\d+(?::\d+)+(?![\d:])",
    lambda m: " to ".join(map(cardinal, m[0].split(":"))),
)
