"""Figures in words: dates, times, money, units, years, ordinals, fractions, telephone numbers.

`spell_numbers` applies the table RULES from top to bottom; each rule reads one written form and
leaves the rest to the rules below it. Thousands have no comma in words, years read in pairs.
"""

import re
from collections.abc import Callable

from num2words import num2words

from vocalmtp.text.tables import (
    CURRENCIES,
    DENOMINATORS,
    MONTH_NAMES,
    MONTHS,
    NUMBERED,
    ROMAN,
    SCALES,
    UNITS,
)

_NUM = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_SENTENCE_END = re.compile(r"\.\s*($|[A-Z])")
_UNIT = "|".join(map(re.escape, sorted(UNITS, key=len, reverse=True)))
_ROMAN = "|".join(sorted(ROMAN, key=len, reverse=True))


def digits(text: str) -> str:
    """ "407" -> "four zero seven"; other characters are dropped."""
    return " ".join(num2words(int(d)) for d in text if d.isdigit())


def cardinal(text: str) -> str:
    """ "1,234.50" -> "one thousand two hundred and thirty-four point five zero"."""
    whole, _, fraction = text.replace(",", "").partition(".")
    if len(whole) > 15 or (len(whole) > 1 and whole[0] == "0"):
        words = digits(whole)
    else:
        words = num2words(int(whole)).replace(",", "")
    return f"{words} point {digits(fraction)}" if fraction else words


def ordinal(text: str) -> str:
    """ "21" -> "twenty-first"."""
    return num2words(int(text.replace(",", "")), to="ordinal").replace(",", "")


def year(text: str) -> str:
    """ "1905" -> "nineteen oh five"."""
    return num2words(int(text), to="year").replace("oh-", "oh ").replace(",", "")


def plural(words: str) -> str:
    """ "nineteen ninety" -> "nineteen nineties"."""
    return re.sub("y$", "ie", words) + ("es" if words.endswith("six") else "s")


def _clock(match: re.Match[str]) -> str:
    hour, minute, half = int(match["hour"]), int(match["minute"] or 0), match["half"]
    if minute:
        words = f"{num2words(hour)} {'oh ' if minute < 10 else ''}{num2words(minute)}"
    else:
        words = num2words(hour) if half else f"{num2words(hour)} o'clock"
    if not half:
        return words
    # The full stop of "p.m." also ends a sentence when a capital follows, or nothing.
    ends = _SENTENCE_END.match(match.string, match.end() - 1)
    return f"{words} {'ay' if half in 'aA' else 'pee'} em{'.' if ends else ''}"


def _date(month: str, day: str, after: str | None) -> str:
    return f"{MONTHS[month]} {ordinal(day)}" + (f", {year(after)}" if after else "")


def _numeric_date(match: re.Match[str]) -> str:
    first, second, after = int(match[1]), int(match[2]), match[3]
    month, day = (first, second) if first <= 12 else (second, first)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return " ".join(cardinal(part) for part in match.groups())
    long = after if len(after) == 4 else ("19" if after > "50" else "20") + after
    return f"{MONTH_NAMES[month - 1]} {ordinal(str(day))}, {year(long)}"


def _iso_date(match: re.Match[str]) -> str:
    month, day = int(match[2]), int(match[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return " ".join(cardinal(part) for part in match.groups())
    return f"{MONTH_NAMES[month - 1]} {ordinal(match[3])}, {year(match[1])}"


def _money(match: re.Match[str]) -> str:
    amount, scale = match["amount"].replace(",", ""), SCALES.get(match["scale"] or "", "")
    one, many, cent, cents = CURRENCIES[match["symbol"]]
    whole, _, fraction = amount.partition(".")
    if scale or (fraction and (len(fraction) != 2 or not cent)):
        return f"{cardinal(amount)} {scale} {many}".replace("  ", " ")
    words = f"{cardinal(whole)} {one if int(whole) == 1 else many}"
    if not int(fraction or 0):
        return words
    small = f"{num2words(int(fraction))} {cent if int(fraction) == 1 else cents}"
    return small if not int(whole) else f"{words} and {small}"


def _unit(match: re.Match[str]) -> str:
    one, many = UNITS[match[2]]
    return f"{cardinal(match[1])} {one if match[1] == '1' else many}"


def _fraction(match: re.Match[str]) -> str:
    whole, top, bottom = match[1], int(match[2]), int(match[3])
    if bottom not in DENOMINATORS or top >= bottom:
        return " ".join(cardinal(part) for part in match.groups() if part)
    one, many = DENOMINATORS[bottom]
    words = f"{num2words(top)} {one if top == 1 else many}"
    return f"{cardinal(whole)} and {words}" if whole else words


def _phone(match: re.Match[str]) -> str:
    return ", ".join(digits(group) for group in re.findall(r"\d+", match[0]))


def _roman(match: re.Match[str]) -> str:
    value = str(ROMAN[match[2]])
    if match[1].lower() in NUMBERED:
        return f"{match[1]} {cardinal(value)}"
    return f"{match[1]} the {ordinal(value)}"


def _decade(match: re.Match[str]) -> str:
    return plural(year(match[1]) if len(match[1]) == 4 else num2words(int(match[1])))


RULES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (rf"\b([A-Z][a-z]+) ({_ROMAN})\b(?!')", _roman),
    (r"(?<![\d/.-])(\d{4})-(\d\d)-(\d\d)(?![\d/-])", _iso_date),
    (r"(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{4}|\d\d)(?![\d/])", _numeric_date),
    (
        rf"\b({_MONTH})\.? (\d{{1,2}})(?:st|nd|rd|th)?\b(?![:.,/]\d)(?:,? (\d{{4}})\b)?",
        lambda m: _date(m[1], m[2], m[3]),
    ),
    (
        rf"\b(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?({_MONTH})\b\.?(?:,? (\d{{4}})\b)?",
        lambda m: _date(m[2], m[1], m[3]),
    ),
    (
        r"\b(?P<hour>[01]?\d|2[0-3])(?::(?P<minute>[0-5]\d))?\s?(?P<half>[apAP])\.?[mM]\b\.?",
        _clock,
    ),
    (r"(?<![\d:.])(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?![\d:])(?P<half>)", _clock),
    (r"(?<![\d:])(\d+(?::\d+)+)(?![\d:])", lambda m: " to ".join(map(cardinal, m[1].split(":")))),
    (
        r"(?<![\w.,-])(?:\+?\d{1,3}[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])?\d{3}[-.]\d{4}(?![\w-])",
        _phone,
    ),
    (
        rf"(?P<symbol>{'|'.join(map(re.escape, CURRENCIES))})\s?(?P<amount>{_NUM})"
        rf"(?:\s?(?P<scale>{'|'.join(SCALES)}))?(?![\w])",
        _money,
    ),
    (
        rf"(?<![\w.,])(?P<amount>{_NUM})(?:\s?(?P<scale>{'|'.join(SCALES)}))?"
        r"\s?(?P<symbol>[€£¥₹])(?!\d)",
        _money,
    ),
    (r"(?<!\w)'?(1[1-9]\d0|20[0-9]0|[2-9]0)'?s\b", _decade),
    (r"(?<![\w,])(\d[\d,]*)(?i:st|nd|rd|th)\b", lambda m: ordinal(m[1])),
    (r"(?<![\w./])(?:(\d+) )?(\d{1,3})/(\d{1,3})(?![\w/])", _fraction),
    (r"(?<=\d)\s?[\u2013-]\s?(?=\d)", lambda m: " to "),
    (r"(?<![\w)])[-\u2212](?=\.?\d)", lambda m: "minus "),
    (rf"(?<!\d)({_NUM})\s?({_UNIT})(?!\w)", _unit),
    (r"(?<!\d)(\d+(?:\.\d+){2,})", lambda m: " point ".join(map(cardinal, m[1].split(".")))),
    (r"(?<![\w.,])(1[1-9]\d\d|20[0-3]\d)(?![\w]|[.,]\d)", lambda m: year(m[1])),
    (r"(?<![\d.])\.(\d+)", lambda m: f"point {digits(m[1])}"),
    (rf"(?<=[A-Za-z])-?(?={_NUM})|(?<=\d)-?(?=[A-Za-z])", lambda m: " "),
    (_NUM, lambda m: cardinal(m[0])),
)
_COMPILED = tuple((re.compile(pattern), function) for pattern, function in RULES)


def spell_numbers(text: str) -> str:
    """`text`, its capitals still there, with every figure written out in words."""
    for pattern, function in _COMPILED:
        text = pattern.sub(function, text)
    return text
