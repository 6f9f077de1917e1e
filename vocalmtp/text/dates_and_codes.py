"""Dates, times of day, telephone numbers and other codes, e-mail and web addresses, file names."""

import re

from vocalmtp.text.numbers import Rule, cardinal, choice, digits, groups, ordinal, plural, year
from vocalmtp.text.tables import (
    DOMAINS,
    EXTENSIONS,
    IN_ADDRESS,
    LETTER_NAMES,
    MONTH_NAMES,
    MONTHS,
    STATES,
    WEEKDAYS,
)

_MONTH = choice(MONTHS)
_SHORT = WEEKDAYS | {name: month for name, month in MONTHS.items() if len(name) <= 4}
_SENTENCE_END = re.compile(r"\.\s*($|[A-Z](?![A-Z]))")


def _date_words(year_: str, month: str, day: str) -> str | None:
    """A date of figures in words, or None if there is no such day."""
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return None
    long = year_ if len(year_) == 4 else ("19" if year_ > "50" else "20") + year_
    return f"{MONTH_NAMES[int(month) - 1]} {ordinal(day)}, {year(long)}"


def _apart(match: re.Match[str]) -> str:
    return " ".join(cardinal(part) for part in re.findall(r"\d+", match[0]))


def _year_first(match: re.Match[str]) -> str:
    words = _date_words(match[1], match[2], match[3]) or _apart(match)
    return f"{words}, at " if match[4] else words


def _day_first(match: re.Match[str]) -> str:
    return _date_words(match[3], match[2], match[1]) or match[0]


def _slashed(match: re.Match[str]) -> str:
    first, second, after = match.groups()
    return _date_words(after, first, second) or _date_words(after, second, first) or _apart(match)


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


_GROUP = re.compile(r"\d+")


def _phone(match: re.Match[str]) -> str:
    found = _GROUP.findall(match[0])
    if len("".join(found)) < 7:  # too short for a telephone number
        return match[0]
    said = [
        cardinal(group) if group in ("800", "900") and index < len(found) - 1 else digits(group)
        for index, group in enumerate(found)
    ]
    return ("plus " if match[0][0] == "+" else "") + ", ".join(said)


def _state(match: re.Match[str]) -> str:
    return f"{STATES[match[1]]} {groups(match[2])}"


CODES: tuple[Rule, ...] = (
    (
        r"\b([Cc]all|[Dd]ial|[Pp]hone|[Tt]ext) (\d{3,12})\b(?![-.,]\d)",
        lambda m: f"{m[1]} {digits(m[2])}",
    ),
    (rf"(?<=[a-z], )({choice(STATES)}) (\d{{5}}(?:-\d{{4}})?)(?![\d-])", _state),
    (r"(?<![\w-])\d{1,7}(?:-\d{1,7}){3,5}(?![\d-])", _phone),
    (r"(?<![\w-])\d{3}-\d\d-\d{4}(?![\w-])", lambda m: groups(m[0])),
    (r"(?<![\w-])\d{4}(?:[ -]\d{4}){3}(?![\w-])", lambda m: groups(m[0])),
    (
        r"(?<![\d.])(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?![\d.]\d)",
        lambda m: " dot ".join(map(digits, m.groups())),
    ),
    (
        r"(?<![\w+])(?:\+\d{1,3}(?:[ .-]?\(\d{1,4}\))?[ .-]?\d{1,12}(?:[ .-]\d{2,8}){0,5}"
        r"|0\d{1,4}(?:[ -]\d{3,8}){1,4})(?![\w,]|[.]\d)",
        _phone,
    ),
    (r"(?<![\w.,-])(?:\d{1,3}[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-])", _phone),
    (r"(?<![\w.,-])\d{3}[-.]\d{4}(?<!00)(?![\w-])", _phone),
)


# Lengths are bounded, or a long odd text would take for ever.
_HOST = r"[\w-]{1,63}(?:\.[\w-]{1,63}){0,9}"
_PORT = r"(?::\d{1,5})?"
_PATH = r"(?:[/?#][\w./?=&#%~:+-]*\w)?/?"
_ADDRESS = re.compile(
    rf"(?<![\w.+-])[\w.+-]{{1,64}}@{_HOST}"
    rf"|(?:https?|ftp)://({_HOST}{_PORT}{_PATH})|\bwww\.{_HOST}{_PORT}{_PATH}"
    rf"|(?<![\w.-]){_HOST}\.(?:{'|'.join(DOMAINS)})\b(?!\.\w){_PORT}{_PATH}"
)
_FILE = re.compile(rf"(?<![\w./@-]){_HOST}\.(?:{'|'.join(EXTENSIONS)})\b(?!\.?\w)")
_FOLDERS = re.compile(r"(?<![\w/.:<])(?:~|\.{1,2})?(?:/[\w.-]{0,63}\w){2,12}")
_HANDLE = re.compile(r"(?<![\w@.])@([A-Za-z]\w{0,99})")
_HASHTAG = re.compile(r"(?<![\w#&])#([A-Za-z]\w{0,99})")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|_")
_PIECE = re.compile(r"[A-Za-z]+|\d+|[^A-Za-z\d]")


def spell_addresses(text: str) -> str:
    """`text` with every address in words."""
    text = _ADDRESS.sub(lambda m: _address_words(m[1] or m[0]), text)
    text = _FILE.sub(lambda m: _address_words(m[0]), text)
    text = _FOLDERS.sub(lambda m: _address_words(m[0]), text)
    text = _HASHTAG.sub(lambda m: f"hashtag {_HUMP.sub(' ', m[1])}", text)
    return _HANDLE.sub(lambda m: f"at {_address_words(m[1])}", text)


def _address_words(address: str) -> str:
    pieces = _PIECE.findall(address.rstrip("/"))
    words = [_piece(*pair) for pair in zip(pieces, ["", *pieces[:-1]], strict=True)]
    return " ".join(word for word in words if word)


def _piece(piece: str, before: str) -> str:
    if piece.isdecimal():
        return cardinal(piece) if len(piece) < 3 and piece[0] != "0" else digits(piece)
    if before == "." and piece in ("ai", "uk", "io", "eu", "de"):
        return " ".join(LETTER_NAMES[letter] for letter in piece)
    if before == "." and EXTENSIONS.get(piece):
        return EXTENSIONS[piece]
    if len(piece) == 1 and piece.isalpha():
        return LETTER_NAMES.get(piece.lower(), piece)
    return IN_ADDRESS.get(piece, piece)
