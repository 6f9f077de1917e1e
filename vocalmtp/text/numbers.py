"""Number words (cardinals, ordinals, years, digits), Roman numerals, and the rule engine."""

import re
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import NamedTuple

from num2words import num2words

from vocalmtp.text.tables import (
    AFTER_ONE,
    NUMBERED,
    RANGE_NUMBERED,
    REGNAL,
    STARTERS,
)
from vocalmtp.text.units import COUNTED


class Rule(NamedTuple):
    """A written form, what replaces it, and strings of which a text with it has at least one."""

    pattern: str
    flags: int
    replace: Callable[[re.Match[str]], str]
    needs: tuple[str, ...]


# A number from its first digit on. The bounds keep the time of odd texts linear.
NUM = r"(?<!\d)(?:\d{1,3}(?:,\d{3}){1,10}(?!\d)|\d+)(?:\.\d+)?"
DASH = r"\s?[-\u2013\u2014\u2212]\s?"
LONGEST = 15  # digits without commas that are still read as one number
DIGITS = "zero one two three four five six seven eight nine".split()
_NAMES = (
    "ay bee see dee ee eff gee aitch eye jay kay ell em en oh pee cue are ess tee you vee "
    "double_you ex why zee"
).split()
LETTER_NAMES = {chr(97 + i): name.replace("_", " ") for i, name in enumerate(_NAMES)}


def rule(
    pattern: str,
    reading: Callable[[re.Match[str]], str] | str,
    needs: Iterable[str] = (),
    flags: int = 0,
) -> Rule:
    """Make a rule.

    Args:
        pattern: the regular expression of the written form.
        reading: a function of the match, or a fixed text.
        needs: strings of which a text must contain one for the pattern to match: a quick test.
        flags: flags of the regular expression.

    """
    words = (lambda match: reading) if isinstance(reading, str) else reading
    return Rule(pattern, flags, lambda m: set_apart(m, words(m)), tuple(needs))


@cache
def _compiled(pattern: str, flags: int) -> re.Pattern[str]:
    """Return the expression of a rule, compiled when a text first needs it: most texts need few."""
    return re.compile(pattern, flags)


def apply_rules(rules: Iterable[Rule], text: str) -> str:
    """Apply every rule to the whole text, in order; a reading never joins the word beside it."""
    for pattern, flags, replace, needs in rules:
        if not needs or any(map(text.__contains__, needs)):
            text = _compiled(pattern, flags).sub(replace, text)
    return text


def set_apart(match: re.Match[str], words: str) -> str:
    """`words` in place of the match, with a space where they would join a letter or a digit."""
    text, start, end = match.string, match.start(), match.end()
    if not words or words == match[0]:
        return words
    if words[0].isalnum() and start and text[start - 1].isalnum():
        words = f" {words}"
    if words[-1].isalnum() and end < len(text) and text[end].isalnum():
        words += " "
    return words


def choice(words: Iterable[str]) -> str:
    """A pattern for any of `words`, longest first."""
    return "|".join(map(re.escape, sorted(words, key=lambda word: (-len(word), word))))


def digits(text: str) -> str:
    """ "407" -> "four zero seven"; other characters are dropped."""
    return " ".join(DIGITS[int(d)] for d in text if d.isdecimal())


def groups(text: str) -> str:
    """ "555-1234" -> "five five five, one two three four"."""
    return ", ".join(digits(group) for group in re.findall(r"\d+", text))


def letters(text: str) -> str:
    """ "FBI" -> "eff bee eye"."""
    return " ".join(LETTER_NAMES[letter] for letter in text.lower())


def spell(text: str) -> str:
    """ "4f-A" -> "four eff ay": every letter and digit, other characters dropped."""
    names = (digits(c) if c.isdecimal() else LETTER_NAMES.get(c.lower(), "") for c in text)
    return " ".join(name for name in names if name)


@lru_cache(4096)
def cardinal(text: str) -> str:
    """ "1,234.50" -> "one thousand two hundred and thirty-four point five zero"."""
    whole, _, fraction = text.partition(".")
    bare = whole.replace(",", "") or "0"
    as_code = (len(bare) > 9 and not bare.endswith("000")) or len(bare) > LONGEST
    if (as_code and "," not in whole) or (len(bare) > 1 and bare[0] == "0"):
        words = digits(bare)
    else:
        words = num2words(int(bare)).replace(",", "")
    return f"{words} point {digits(fraction)}" if fraction else words


def ordinal(text: str) -> str:
    """ "21" -> "twenty-first"."""
    text = text.replace(",", "")
    if len(text) > LONGEST:
        return f"{digits(text[:-1])} {num2words(int(text[-1]), to='ordinal')}"
    return str(num2words(int(text), to="ordinal")).replace(",", "")


def year(text: str) -> str:
    """ "1905" -> "nineteen oh five"."""
    return str(num2words(int(text), to="year")).replace("oh-", "oh ").replace(",", "")


def pairs(text: str) -> str:
    """The digits of a model, a room or a flight: "747" -> "seven forty-seven", "4090" likewise."""
    if len(text) < 3 or (len(text) == 3 and text[0] == "0"):
        return cardinal(text)
    if len(text) > 4 or text[0] == "0":
        return digits(text)
    first, last = text[:-2], text[-2:]
    if last == "00":
        return cardinal(text) if first[1:] == "0" else f"{cardinal(first)} hundred"
    return f"{cardinal(first)} {f'oh {cardinal(last[1])}' if last[0] == '0' else cardinal(last)}"


def plural(words: str) -> str:
    """ "nineteen ninety" -> "nineteen nineties"."""
    return re.sub("y$", "ie", words) + ("es" if words.endswith("six") else "s")


def is_attributive(match: re.Match[str]) -> bool:
    """Whether an amount stands between "a" and a noun: "a $5 bill", which has no plural."""
    text, start, end = match.string, match.start(), match.end()
    article = re.search(r"(?:^|\s)[Aa]n? $", text[max(0, start - 4) : start])
    return bool(article and re.match("[ -][a-z]", text[end : end + 2]))


# Writing of numbers in other countries, to that of English.


def _plain(match: re.Match[str]) -> str:
    return re.sub(r"[\s'.]", "", match[0])


def _decimal_comma(match: re.Match[str]) -> str:
    return re.sub(r"[\s.]", "", match[0]).replace(",", ".")


_AMOUNT_AFTER = (
    r"(?=\s?(?:[\u20ac\u00a3$%\u00b0]|(?:EUR|CHF|kr|z\u0142|zl|[kcm]?m|k?g|[mc]?l|L)\b))"
)
FOREIGN: tuple[Rule, ...] = (
    rule(
        r"(?<![\w.,])(\d{1,3}),(\d{1,2}) (Mio|Mrd)\b\.?",
        lambda m: f"{m[1]}.{m[2]} {'million' if m[3] == 'Mio' else 'billion'}",
        needs=("Mio", "Mrd"),
    ),
    rule(r"(?<!\w)[1-9]\d{0,2}(?:_\d{3})+(?!\w)", lambda m: m[0].replace("_", ""), needs=("_",)),
    rule(
        r"(?<=[$\u00a3\u20ac\u00a5])(\d{1,6}(?:\.\d{1,6})?)[eE](\d{1,2})\b",
        lambda m: f"{round(float(m[1]) * 10 ** int(m[2]))}",
        needs=("e", "E"),
    ),
    rule(r"(?<=\d),[-\u2013](?=\s?\u20ac|\s|$)", "", needs=(",-", ",–")),  # 20,-
    rule(rf"(?<![\w.,-])\d{{1,3}} \d{{3}}(?:,\d\d?)?{_AMOUNT_AFTER}", _decimal_comma),
    rule(r"(?<![\w.,'])\d{1,3}(?:'\d{3})+(?![\d'])", _plain, needs=("'",)),  # 1'000
    rule(r"(?<![\w.,])\d{1,2}(?:,\d\d)+,\d{3}(?![\d,])", lambda m: m[0].replace(",", "")),
    rule(r"(?<![A-Za-z\d.,])\d{1,3}(?:\.\d{3})+,\d{1,6}(?![\d,])", _decimal_comma),
    rule(r"(?<![A-Za-z\d.,-])[1-9]\d{0,2}(?:\.\d{3}){2,}(?![\d-]|[.,]\d)", _plain),
    rule(r"(?<=\u20ac)\s?[1-9]\d{0,2}\.\d{3}(?![\d.,])", _plain, needs=("€",)),
    rule(r"(?<![\w.,])[1-9]\d{0,2}\.\d{3}(?=\s?[\u20ac\u20ab])", _plain, needs=("€", "₫")),
    rule(
        r"(?<=[\u20ac\u00a3$\u00a5])\s?\d{1,9},\d\d?(?![\d,])",
        _decimal_comma,
        needs=("$", "£", "¥", "€"),
    ),
    rule(rf"(?<![\w.,])\d{{1,9}},\d\d?{_AMOUNT_AFTER}", _decimal_comma),
    rule(  # 1 234 567,89
        r"(?<![\w.,-])\d{1,2}(?: \d{3}){2,9}(?:,\d\d)?(?![\d-]| \d|,\d{3})", _decimal_comma
    ),
    rule(r"(?<![\w.,])\d{1,3},\d{4,9}(?![\d,])", _decimal_comma),
    rule(
        rf"(?<![\w.,$])[1-9]\d{{0,2}}\.\d00(?= (?:{COUNTED}|km|miles|kg|feet|meters)\b)",
        _plain,
        needs=("00",),
    ),
)

# Roman numerals: "Henry VIII" and "Chapter IV", but never the pronoun.

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
# 1 to 39, and up to 89 in three letters; others are too often initials, as in "Size XL".
_SMALL = r"X{0,3}(?:IX|IV|V?I{1,3}|V)|X{1,3}|LX{0,3}(?:IX|IV|V?I{0,3})(?<=[IVXL]{3})"
_LOWER = r"(?=[ivx]{2,6}\b)x{0,3}(?:ix|iv|v?i{0,3})"
_WELL_FORMED = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_NEXT_WORD = re.compile(r"\s([a-z]+)")


def roman_value(numeral: str) -> int:
    """ "XIV" -> 14."""
    numbers = [_VALUES[letter] for letter in numeral.upper()]
    neighbours = zip(numbers, [*numbers[1:], 0], strict=True)
    return sum(-here if here < after else here for here, after in neighbours)


def _after_word(match: re.Match[str]) -> str:
    word, numeral = match[1], match[2].upper()
    counted = word.lower() in NUMBERED
    if not counted and re.match(r"\.[A-Z]", match.string[match.end() :][:2]):
        return match[0]
    if not counted and (match[2] != numeral or not word[0].isupper()):
        return match[0]
    if len(numeral) == 1 and not counted and word not in REGNAL:
        return match[0]
    if numeral == "I":  # or the pronoun
        following = _NEXT_WORD.match(match.string, match.end())
        if word.islower() or (following and following[1] not in AFTER_ONE):
            return match[0]
    if word in STARTERS or word in ("A", "An"):
        return match[0]
    number = str(roman_value(numeral))
    return f"{word} {cardinal(number)}" if counted else f"{word} the {ordinal(number)}"


def _alone(match: re.Match[str]) -> str:
    numeral, century = match[1], match[2]
    if not _WELL_FORMED.fullmatch(numeral):
        return match[0]
    number = str(roman_value(numeral))
    if century:
        return ordinal(number) + century
    return year(number) if 1100 <= int(number) < 2100 else cardinal(number)


def _ordinal_numeral(match: re.Match[str]) -> str:
    """ "the XIXth century"."""
    if not _WELL_FORMED.fullmatch(match[1]):
        return match[0]
    return ordinal(str(roman_value(match[1])))


def _small_range(match: re.Match[str]) -> str:
    """ "xvi-xx", as of the pages of a preface."""
    numerals = [match[1].upper(), match[2].upper()]
    if not all(map(_WELL_FORMED.fullmatch, numerals)):
        return match[0]
    return " to ".join(cardinal(str(roman_value(numeral))) for numeral in numerals)


def _roman_range(match: re.Match[str]) -> str:
    first, second = (cardinal(str(roman_value(match[i]))) for i in (2, 3))
    return f"{match[1]} {first} to {second}"


ROMAN: tuple[Rule, ...] = (
    rule(
        rf"\b({choice(RANGE_NUMBERED)}) ([ivxl]{{1,6}}|[IVXL]{{1,6}}){DASH}"
        r"([ivxl]{1,6}|[IVXL]{1,6})\b",
        _roman_range,
        flags=re.IGNORECASE,
    ),
    rule(rf"\b([A-Za-z][a-z]+) ({_SMALL}|{_LOWER})\b", _after_word),
    rule(r"\b([IVXL]{2,6})(?:st|nd|rd|th)\b", _ordinal_numeral, needs=("st", "nd", "rd", "th")),
    rule(r"\b([ivxl]{2,6})[-\u2013]([ivxl]{2,6})\b", _small_range, needs=("-", "\u2013")),
    rule(r"\b([IVX]+)( century| Century)\b", _alone, needs=("Century", "century")),
    rule(r"\b([IVXLCDM]{4,15})\b()", _alone),
    rule(
        r"\b(III?|VIII?|IX|XII|XIII|XIV|XVII?|XIX)\b()(?!')",
        _alone,
        needs=("II", "IX", "XIV", "XVI"),
    ),
    rule(r"\bI(?=, (?:two|II)\b)", "one", needs=(", ",)),
    rule(
        r"(?<!\w\()(?<=\()(i{1,3}|iv|vi{1,3}|ix)(?=\))",
        lambda m: cardinal(str(roman_value(m[1]))),
        needs=("(",),
    ),
)

# Whole numbers and what is left of codes, after every other rule.


def _dotted(match: re.Match[str]) -> str:
    return " point ".join(map(cardinal, match[0].split(".")))


def _after_letters(match: re.Match[str]) -> str:
    prefix, number = match[1], match[2]
    name = letters(prefix) if len(prefix) < 3 and prefix.isupper() else prefix
    words = year(number) if re.fullmatch(r"(19|20)\d\d", number) else pairs(number)
    return f"{name} {plural(words) if match[3] else words}"


ORDINALS: tuple[Rule, ...] = (
    rule(
        r"(?<=\dst|\dnd|\drd|\dth)[-\u2013](?=\d{1,4}(?:st|nd|rd|th)\b)", " to ", needs=("-", "–")
    ),
    rule(
        r"(?<![\w,/])(\d[\d,]{0,15})(?i:st|nd|rd|th)(s?)\b",
        lambda m: ordinal(m[1]) + m[2],
    ),
)
PLAIN: tuple[Rule, ...] = (
    rule(r"(?<![\d.])\d+(?:\.\d+){2,}", _dotted),
    rule(r"(?<![\d.])\.(\d+)", lambda m: f"point {digits(m[1])}"),
    rule(r"(?<=\d)-(?=[A-Z])", " ", needs=("-",)),
    rule(r"(?<![A-Za-z])([A-Za-z]{1,12})-?(\d{3,4})(s?)(?![\d.,]\d|\w)", _after_letters),
    rule(r"(?<![A-Za-z'])([A-Z]{1,2}|[a-z])-?(?=\d)", lambda m: f"{letters(m[1])} "),
    rule(r"(?<=\d)a(?![A-Za-z'])", " ay"),
    rule(r"(?<=[A-Za-z])-?(?=\d)|(?<=\d)(?=[A-Za-z])", " "),
    rule(NUM, lambda m: cardinal(m[0])),
)
RATIO = rule(
    r"(?<![\d:])\d+(?::\d+)+(?![\d:])", lambda m: " to ".join(map(cardinal, m[0].split(":")))
)
