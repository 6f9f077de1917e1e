"""Readings of dates, years, decades and other periods."""

import re

from vocalmtp.text.numbers import (
    DASH,
    Rule,
    cardinal,
    choice,
    letters,
    ordinal,
    plural,
    rule,
    year,
)
from vocalmtp.text.tables import MONTH_NAMES, MONTHS, WEEKDAYS

_MONTH = choice(MONTHS)
_WEEKDAY = choice(WEEKDAYS)
_SHORT = WEEKDAYS | MONTHS
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"


def _full_year(digits_: str) -> str:
    """ "99" -> "1999", "24" -> "2024"."""
    return digits_ if len(digits_) == 4 else ("19" if digits_ > "50" else "20") + digits_


def _is_date(month: str, day: str) -> bool:
    return 1 <= int(month) <= 12 and 1 <= int(day) <= 31


def _date_words(year_: str, month: str, day: str) -> str | None:
    """A date of digits in words, or None if there is no such day."""
    if not _is_date(month, day):
        return None
    return f"{MONTH_NAMES[int(month) - 1]} {ordinal(day)}, {year(_full_year(year_))}"


def _each_number(match: re.Match[str]) -> str:
    return " ".join(cardinal(part) for part in re.findall(r"\d+", match[0]))


def _year_first(match: re.Match[str]) -> str:
    words = _date_words(match[1], match[3], match[4]) or _each_number(match)
    return f"{words}, at " if match[5] else words


def _day_first(match: re.Match[str]) -> str:
    return _date_words(match[3], match[2], match[1]) or match[0]


def _slashed(match: re.Match[str]) -> str:
    """Month first, as in America; day first if only that can be, and it is clearly a date."""
    first, second, after = match.groups()
    if re.match(r" \([a-z]+/[a-z]+/", match.string[match.end() : match.end() + 20]):
        return _each_number(match)  # "28/7/11 (points/rebounds/assists)"
    month_first = _date_words(after, first, second)
    clear = (
        len(after) == 4
        or len(second) == 2
        or re.search(
            r"\b(?:[Oo]n|[Dd]ated?:?|[Ss]ince|[Uu]ntil|[Bb]orn|[Bb]y|[Bb]efore|[Aa]fter) $",
            match.string[max(0, match.start() - 8) : match.start()],
        )
    )
    return month_first or (clear and _date_words(after, second, first)) or _each_number(match)


def _short_slashed(match: re.Match[str]) -> str:
    if not _is_date(match[2], match[3]):
        return match[0]
    return f"{match[1]} {MONTH_NAMES[int(match[2]) - 1]} {ordinal(match[3])}"


def _bare_slashed(match: re.Match[str]) -> str:
    return f"{MONTH_NAMES[int(match[1]) - 1]} {ordinal(match[2].lstrip('0'))}"


def _month_year(match: re.Match[str]) -> str:
    return f"{MONTH_NAMES[int(match[1]) - 1]} {year(match[2])}"


def _year_month(match: re.Match[str]) -> str:
    """ "2023-12"; but "2009-10" and "1905-10" are years."""
    if match[2] > match[1][2:]:
        return match[0]
    return f"{MONTH_NAMES[int(match[2]) - 1]} {year(match[1])}"


def _slashed_range(match: re.Match[str]) -> str:
    month, day, until_month, until = match.groups()
    if not (_is_date(month, day) and _is_date(until_month, until)):
        return match[0]
    start, end = (MONTH_NAMES[int(m) - 1] for m in (month, until_month))
    return f"{start} {ordinal(day)} to {end} {ordinal(until)}"


def _in_year(after: str | None) -> str:
    return f", {year(_full_year(after))}" if after else ""


def _month_day(match: re.Match[str]) -> str:
    month, day, until, after = match.groups()
    if not 1 <= int(day) <= 31:
        return match[0]
    words = f"{MONTHS[month]} {ordinal(day)}" + (f" to {ordinal(until)}" if until else "")
    return words + _in_year(after)


def _day_month(match: re.Match[str]) -> str:
    the, day, suffix, of, month, after = match.groups()
    if not 1 <= int(day) <= 31:
        return match[0]
    words = f"{MONTHS[month]} {ordinal(day)}"
    if the or of or suffix:
        words = f"{the or 'the'} {ordinal(day)} of {MONTHS[month]}"
    return words + _in_year(after)


def _days_month(match: re.Match[str]) -> str:
    day, until, month, after = match.groups()
    return f"{MONTHS[month]} {ordinal(day)} to {ordinal(until)}{_in_year(after)}"


def _dashed(match: re.Match[str]) -> str:
    day, month, after = match.groups()
    if not 1 <= int(day) <= 31:
        return match[0]
    return f"{MONTHS[month]} {ordinal(day)}{_in_year(after)}"


def _across_months(match: re.Match[str]) -> str:
    month, day, until_month, until, after = match.groups()
    if month not in MONTHS:  # "24 Dec - 2 Jan"
        month, day, until_month, until = day, month, until, until_month
    words = f"{MONTHS[month]} {ordinal(day)} to {MONTHS[until_month]} {ordinal(until)}"
    return words + _in_year(after)


_YEAR_AFTER = r"(?:,? (\d{4})\b)?"
NAMED_DAYS: tuple[Rule, ...] = (  # without digits
    rule(
        rf"(?<!\d )\b({choice(_SHORT)})\.?\s?[-\u2013]\s?({choice(_SHORT)})\b\.?",
        lambda m: f"{_SHORT[m[1]]} to {_SHORT[m[2]]}",
        needs=("-", "–"),
    ),
    rule(
        rf"\b({_WEEKDAY})\b\.?(?=,? (?:(?:{_MONTH})\b|\d{{1,2}}(?:st|nd|rd|th)? (?:{_MONTH})\b"
        r"|\d{1,2}(?::\d\d)?\s?[apAP]\.?[mM]\b|\d{1,2}:\d\d))",
        lambda m: WEEKDAYS[m[1]],
        needs=("Fri", "Mon", "Sat", "Sun", "Thu", "Tue", "Wed"),
    ),
    rule(
        rf"\b({_WEEKDAY})(?:([/,]) ?({_WEEKDAY}))(?:\2 ?({_WEEKDAY}))?\b\.?",
        lambda m: ", ".join(WEEKDAYS[day] for day in m.group(1, 3, 4) if day),
        needs=("Fri", "Mon", "Sat", "Sun", "Thu", "Tue", "Wed"),
    ),
)
DATES: tuple[Rule, ...] = (
    rule(r"\b(BCE?|CE|AD) ?[-\u2013] ?(?=\d|AD\b)", lambda m: f"{m[1]} to ", needs=("-", "–")),
    rule(
        rf"((?:{_MONTH})\.?(?: \d{{1,2}},)? \d{{4}}){DASH}"
        rf"(?=\d{{1,2}}(?:st|nd|rd|th)? (?:{_MONTH})\b|(?:{_MONTH})\.? \d)",
        lambda m: f"{m[1]} to ",
        needs=("-", "–", "—", "−"),
    ),
    rule(
        r"(?<![\w-])(\d{4})-W([0-5]\d)(?![\w-])",
        lambda m: f"{year(m[1])}, week {cardinal(m[2].lstrip('0'))}",
        needs=("-W",),
    ),
    rule(
        rf"\b((?:(?:{_MONTH})\.? \d{{1,2}}(?:st|nd|rd|th)?"
        rf"|\d{{1,2}}(?:st|nd|rd|th)? (?:{_MONTH})\b\.?),?) '(\d\d)\b",
        lambda m: f"{m[1]} {_full_year(m[2])}",
        needs=(" '",),
    ),
    rule(
        r"(?<![\w.,/-])((?:19|20)\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?![\w,/-]|\.\d)",
        lambda m: _date_words(*m.groups()) or m[0],
        needs=("19", "20"),
    ),
    rule(r"(?<![\d/.-])(0?[1-9]|1[0-2])/((?:19|20)\d\d)(?![\d/-])", _month_year, needs=("/",)),
    rule(r"(?<![\w/.,-])(0[1-9])/(0[1-9]|[12]\d|3[01])(?![\d/])", _bare_slashed, needs=("/",)),
    rule(
        r"(?<![\w/.,-])(\d{1,2})/(\d{1,2})\s?[-\u2013]\s?(\d{1,2})/(\d{1,2})(?![\d/])"
        r"(?![- ]?(?:cups?|tsp|tbsp|teasp|tablesp|inch|in\b|lbs?\b|oz\b|mile|pound|pint|quart))",
        _slashed_range,
        needs=("/",),
    ),
    rule(r"(?<![\d/-])(\d{1,2})-(\d{1,2})-(\d{4})(?![\d/-])", _slashed, needs=("-",)),
    rule(
        r"(?<![\w/.,-])((?:19|20)\d\d)-(0[1-9]|1[0-2])(?![\w-]|[.,]\d)", _year_month, needs=("-",)
    ),
    rule(
        r"(?<![\d/.-])(\d{4})([-/])(\d\d)\2(\d\d)(?:(T|,? )(?=\d\d:\d\d)|(?![\d/-]))",
        _year_first,
        needs=("-", "/"),
    ),
    rule(r"(?<![\d.])(\d{1,2})\.(\d{1,2})\.(\d{4})(?![\d.]\d)", _day_first),
    rule(r"(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{4}|\d\d)(?![\d/])", _slashed, needs=("/",)),
    rule(
        r"\b([Oo]n|[Bb]y|[Dd]ue|[Uu]ntil|[Ss]ince|[Dd]ated|[Bb]efore|[Aa]fter|[Ee]xpires)"
        r" (\d{1,2})/(\d{1,2})(?![\d/])(?! (?:of|cup|inch|mile|teaspoon|tablespoon)\b)",
        _short_slashed,
        needs=("/",),
    ),
    rule(
        rf"\b({_MONTH})\.? {_DAY}{DASH}({_MONTH})\.? {_DAY}\b(?![:.]\d){_YEAR_AFTER}",
        _across_months,
        needs=("-", "–", "—", "−"),
    ),
    rule(
        rf"(?<![\d.,:$])\b{_DAY} ({_MONTH})\.?{DASH}{_DAY} ({_MONTH})\b\.?{_YEAR_AFTER}",
        _across_months,
        needs=("-", "–", "—", "−"),
    ),
    rule(
        rf"(?<![\d.,:$])\b{_DAY}{DASH}{_DAY} ({_MONTH})\b\.?{_YEAR_AFTER}",
        _days_month,
        needs=("-", "–", "—", "−"),
    ),
    rule(rf"(?<![\w-])(\d{{1,2}})[-./]({_MONTH})[-./](\d{{4}}|\d\d)(?![\w-])", _dashed),
    rule(
        rf"(?<![\w-])({_MONTH})-(\d{{1,2}})-(\d{{4}}|\d\d)(?![\w-])",
        lambda m: f"{MONTHS[m[1]]} {ordinal(m[2])}{_in_year(m[3])}",
        needs=("-",),
    ),
    rule(
        rf"(?<![\w-])(\d{{4}})-({_MONTH})-(\d{{1,2}})(?![\w-])",
        lambda m: f"{MONTHS[m[2]]} {ordinal(m[3])}{_in_year(m[1])}",
        needs=("-",),
    ),
    rule(rf"(?<![\w-])(\d{{1,2}})-({_MONTH})(?![\w-])()", _dashed, needs=("-",)),
    rule(
        rf"(?<![\w-])({_MONTH})-([12]?\d|3[01])(?![\w-])",
        lambda m: f"{MONTHS[m[1]]} {ordinal(m[2])}",
        needs=("-",),
    ),
    rule(
        rf"\b({_MONTH})\.? (\d{{1,2}})(?:st|nd|rd|th)?(?:\s?[-\u2013]\s?(\d{{1,2}})"
        rf"(?:st|nd|rd|th)?)?\b(?![:.,/]\d)(?!%| ?[ap]\.?m\b){_YEAR_AFTER}",
        _month_day,
    ),
    rule(
        rf"(?:\b([Tt]he) )?\b(\d{{1,2}})(st|nd|rd|th)? (of )?({_MONTH})\b\.?{_YEAR_AFTER}",
        _day_month,
    ),
    rule(rf"\b({_MONTH})\.?(?= \d{{4}}\b)", lambda m: MONTHS[m[1]]),
    rule(
        rf"\b({_MONTH}|[Ss]ummer|[Ww]inter|[Ss]pring|[Aa]utumn|[Ff]all)\.? ?'(\d\d)\b(?!')",
        lambda m: f"{MONTHS.get(m[1], m[1])} {year(_full_year(m[2]))}",
        needs=("'",),
    ),
)

# Years, decades and other periods


def _plural_decade(decade: str) -> str:
    if decade == "00":
        return "two thousands"
    return plural(year(decade) if len(decade) == 4 else cardinal(decade))


def _decade(match: re.Match[str]) -> str:
    """ "the 90s" are years, "a delay of 90s" are seconds."""
    before = match.string[max(0, match.start() - 10) : match.start()]
    if len(match[0]) == 3 and (
        _SECONDS_BEFORE.search(before) or _SECONDS_AFTER.match(match.string, match.end())
    ):
        return f"{cardinal(match[1])} seconds"
    return _plural_decade(match[1])


def _short_year_range(match: re.Match[str]) -> str:
    """ "1914-18", "2024/25"."""
    start, mark, end = match.groups()
    if end <= start[2:]:
        return match[0]
    return f"{year(start)}{' ' if mark == '/' else ' to '}{cardinal(end) if end >= '10' else f'oh {cardinal(end[1])}'}"


def _life(match: re.Match[str]) -> str:
    word = {"b": "born", "d": "died", "r": "reigned", "fl": "flourished"}[match[1]]
    return f"{word} "


def _quarter(match: re.Match[str]) -> str:
    letter = {"Q": "cue", "H": "aitch"}[match[1]]
    return f"{letter} {cardinal(match[2])} {year(_full_year(match[3]))}"


_SECONDS_BEFORE = re.compile(
    r"\b(?:for|after|every|within|under|about|took|takes|in|of|wait|least|only|another|is|was|to|by) $"
)
_SECONDS_AFTER = re.compile(
    r" (?:timer|delay|timeout|left|later|ago|interval|pause|rest|clip|video|ad|spot|window|limit)\b"
)
_DECADE = r"'?(1[1-9]\d0|20[0-9]0|[2-9]0|(?:(?<=')|(?<=the ))00)'?s\b"
PERIODS: tuple[Rule, ...] = (
    rule(
        rf"(?<!\w){_DECADE}[-\u2013]{_DECADE}",
        lambda m: f"{_plural_decade(m[1])} to {_plural_decade(m[2])}",
        needs=("-", "–"),
    ),
    rule(rf"(?<!\w){_DECADE}", _decade),
)
YEARS: tuple[Rule, ...] = (
    rule(r"(?<![\w.,])(\d{4})(?= (?:AD|CE)\b)", lambda m: year(m[1]), needs=("AD", "CE")),
    rule(r"(?<!\w)'(0[1-9])\b(?!')", lambda m: f"oh {cardinal(m[1][1])}", needs=("'0",)),
    rule(r"\b(Q|H)([1-4])(?:[ -]'?|')(20\d\d|\d\d)\b", _quarter, needs=(" ", "'", "-")),
    rule(
        r"\b([1-4])([QH])'?(\d\d)\b",
        lambda m: f"{letters(m[2])} {cardinal(m[1])} {year(_full_year(m[3]))}",
    ),
    rule(
        r"\bFY ?'?(20\d\d|\d\d)\b", lambda m: f"fiscal year {year(_full_year(m[1]))}", needs=("FY",)
    ),
    rule(r"(?<![\w.])(b|d|r|fl)\. (?=(?:c\. )?\d{3,4}\b)", _life, needs=(". ",)),
    rule(
        r"(?<![\w.,/-])(1[1-9]\d\d|20[0-4]\d)([-/\u2013])(\d\d)(?![\w/-]|[.,]\d)",
        _short_year_range,
        needs=("-", "/", "–"),
    ),
    rule(
        rf"(?<=\d){DASH}(?=(?:present|now|today|date|ongoing)\b)",
        " to ",
        needs=("date", "now", "ongoing", "present", "today"),
    ),
    rule(
        r"\b((?:[Ii]n|[Ss]ince|[Uu]ntil|[Yy]ear|circa|[Ff]rom|[Bb]y) )(1\d{3}|20\d\d)"
        r"(?![\w%]|[.,:]\d| (?:people|users|men|women|miles|km|feet|dollars))",
        lambda m: m[1] + year(m[2]),
    ),
    rule(r"(?<![\w.,])(1[1-9]\d\d|20[0-3]\d)(?![\w]|[.,]\d)", lambda m: year(m[1])),
)
