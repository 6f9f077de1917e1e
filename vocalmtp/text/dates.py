"""Dates, years and times of day."""

import re

from vocalmtp.text.figures import Rule, cardinal, choice, ordinal, plural, year
from vocalmtp.text.tables import MONTH_NAMES, MONTHS, WEEKDAYS

_MONTH = choice(MONTHS)
_SHORT = WEEKDAYS | {name: month for name, month in MONTHS.items() if len(name) <= 4}
_SENTENCE_END = re.compile(r"\.\s*($|[A-Z](?![A-Z]))")


def _spoken(year_: str, month: str, day: str) -> str | None:
    """A date of figures in words, or None if there is no such day."""
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return None
    long = year_ if len(year_) == 4 else ("19" if year_ > "50" else "20") + year_
    return f"{MONTH_NAMES[int(month) - 1]} {ordinal(day)}, {year(long)}"


def _apart(match: re.Match[str]) -> str:
    return " ".join(cardinal(part) for part in re.findall(r"\d+", match[0]))


def _year_first(match: re.Match[str]) -> str:
    words = _spoken(match[1], match[2], match[3]) or _apart(match)
    return f"{words}, at " if match[4] else words


def _day_first(match: re.Match[str]) -> str:
    return _spoken(match[3], match[2], match[1]) or match[0]


def _slashed(match: re.Match[str]) -> str:
    first, second, after = match.groups()
    return _spoken(after, first, second) or _spoken(after, second, first) or _apart(match)


def _on_slashed(match: re.Match[str]) -> str:
    month, day = int(match[2]), int(match[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return f"{match[1]} {MONTH_NAMES[month - 1]} {ordinal(match[3])}"


def _month_day(match: re.Match[str]) -> str:
    month, day, until, after = match.groups()
    if not 1 <= int(day) <= 31:
        return match[0]
    words = f"{MONTHS[month]} {ordinal(day)}" + (f" to {ordinal(until)}" if until else "")
    return words + (f", {year(after)}" if after else "")


def _day_month(match: re.Match[str]) -> str:
    the, day, suffix, of, month, after = match.groups()
    if not 1 <= int(day) <= 31:
        return match[0]
    words = f"{MONTHS[month]} {ordinal(day)}"
    if the or of or suffix:
        words = f"the {ordinal(day)} of {MONTHS[month]}"
    return words + (f", {year(after)}" if after else "")


def _clock(match: re.Match[str]) -> str:
    hour, minute, half = int(match["hour"]), int(match["minute"] or 0), match["half"]
    words = cardinal(str(hour))
    if minute:
        words += f" {'oh ' if minute < 10 else ''}{cardinal(str(minute))}"
    elif not half:
        words += " o'clock" if 1 <= hour <= 12 else " hundred"
    if not half:
        second = int(match["second"] or 0)
        words += f" and {cardinal(str(second))} second{'s'[: second != 1]}" if second else ""
        return words + (" UTC" if match["zone"] else "")
    # The full stop of "p.m." also ends a sentence when a capital follows, or nothing.
    ends = _SENTENCE_END.match(match.string, match.end() - 1)
    return f"{words} {'ay' if half in 'aA' else 'pee'} em{'.' if ends else ''}"


def _decade(match: re.Match[str]) -> str:
    return plural(year(match[1]) if len(match[1]) == 4 else cardinal(match[1]))


DATES: tuple[Rule, ...] = (
    (
        rf"\b({choice(_SHORT)})\.?\s?[-\u2013]\s?({choice(_SHORT)})\b",
        lambda m: f"{_SHORT[m[1]]} to {_SHORT[m[2]]}",
    ),
    (
        rf"\b({choice(WEEKDAYS)})\b\.?(?=,? (?:(?:{_MONTH})\b|\d{{1,2}} (?:{_MONTH})\b))",
        lambda m: WEEKDAYS[m[1]],
    ),
    (
        r"(?<![\d/.-])(\d{4})([-/])(\d\d)\2(\d\d)(?:(T|,? )(?=\d\d:\d\d)|(?![\d/-]))",
        lambda m: _year_first(re.fullmatch(r"(\d+)\D(\d+)\D(\d+)(\D*)", m[0])),
    ),
    (r"(?<![\d.])(\d{1,2})\.(\d{1,2})\.(\d{4})(?![\d.]\d)", _day_first),
    (r"(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{4}|\d\d)(?![\d/])", _slashed),
    (r"\b([Oo]n) (\d{1,2})/(\d{1,2})(?![\d/])", _on_slashed),
    (
        rf"\b({_MONTH})\.? (\d{{1,2}})(?:st|nd|rd|th)?(?:\s?[-\u2013]\s?(\d{{1,2}})"
        r"(?:st|nd|rd|th)?)?\b(?![:.,/]\d)(?:,? (\d{4})\b)?",
        _month_day,
    ),
    (
        rf"(?:\b(the) )?\b(\d{{1,2}})(st|nd|rd|th)? (of )?({_MONTH})\b\.?(?:,? (\d{{4}})\b)?",
        _day_month,
    ),
    (rf"\b({_MONTH})\.?(?= \d{{4}}\b)", lambda m: MONTHS[m[1]]),
)
TIMES_OF_DAY: tuple[Rule, ...] = (
    (r"(?<=:\d\d|\d[ap]m|\d[AP]M)\s?[-\u2013]\s?(?=\d)", lambda m: " to "),
    (
        r"\b(?P<hour>[01]?\d|2[0-3])(?::(?P<minute>[0-5]\d))?\s?(?P<half>[apAP])\.?[mM]\b\.?",
        _clock,
    ),
    (
        r"(?<![\d:.])(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?"
        r"(?![\d:])(?P<half>)(?P<zone>Z\b)?",
        _clock,
    ),
)
YEARS: tuple[Rule, ...] = (
    (r"(?<!\w)'?(1[1-9]\d0|20[0-9]0|[2-9]0)'?s\b", _decade),
    (
        r"\b((?:[Ii]n|[Ss]ince|[Uu]ntil|[Yy]ear|circa) )(1\d{3}|20\d\d)(?![\w%]|[.,:]\d)",
        lambda m: m[1] + year(m[2]),
    ),
    (r"(?<![\w.,])(1[1-9]\d\d|20[0-3]\d)(?![\w]|[.,]\d)", lambda m: year(m[1])),
)
