"""Readings of times of day, time zones, durations and stopwatch times."""

import re

from vocalmtp.text.numbers import DASH, Rule, cardinal, digits, rule

_SENTENCE_END = re.compile(r"\.\s*($|[A-Z](?![A-Z]))")
_HALF = r"[apAP]\.?\s?[mM]\b\.?"


def _minutes(minute: int) -> str:
    return f" {'oh ' if minute < 10 else ''}{cardinal(str(minute))}" if minute else ""


def _offset(text: str) -> str:
    """ "-05:30" -> "minus five thirty"."""
    hours, _, minutes = text[1:].partition(":")
    sign = "plus" if text[0] == "+" else "minus"
    return f"{sign} {cardinal(_amount(hours))}{_minutes(int(minutes or 0))}"


def _clock(match: re.Match[str]) -> str:
    hour, minute, half = int(match["hour"]), int(match["minute"] or 0), match["half"]
    words = cardinal(str(hour)) + _minutes(minute)
    if not (hour or minute or half or match["second"]):
        return "midnight"
    if not minute and not half:
        words += " o'clock" if 1 <= hour <= 12 else " hundred"
    if not half:
        second = int(match["second"] or 0)
        words += f" and {cardinal(str(second))} second{'s'[: second != 1]}" if second else ""
        zone = match["zone"] or match["offset"]
        return words + (" UTC" if zone == "Z" else f" UTC {_offset(zone)}" if zone else "")
    # The full stop of "p.m." also ends a sentence when a capital follows, or nothing.
    ends = _SENTENCE_END.match(match.string, match.end() - 1)
    return f"{words} {'ay' if half[0] in 'aA' else 'pee'} em{'.' if ends else ''}"


def _clock_range(match: re.Match[str]) -> str:
    """ "7-8:30 pm": only the end has its half of the day."""
    return cardinal(match[1]) + _minutes(int(match[2] or 0)) + " to "


def _count(number: str, unit: str) -> str:
    return f"{cardinal(number)} {unit}{'' if number == '1' else 's'}"


def _amount(text: str) -> str:
    """ "05" -> "5", "05.20" -> "5.20"."""
    return re.sub(r"^0+(?=\d)", "", text)


def _duration(match: re.Match[str]) -> str:
    names = ("day", "hour", "minute", "second")
    parts = [_count(_amount(n), unit) for n, unit in zip(match.groups(), names, strict=True) if n]
    return " ".join(parts)


def _stopwatch(match: re.Match[str]) -> str:
    hour, minute, second = match["hour"], match["minute"], _amount(match["second"])
    words = f"{_count(_amount(hour), 'hour')} " if hour else ""
    words += _count(_amount(minute), "minute")
    if float(second):
        words += f"{' and' if hour else ''} {_count(second, 'second')}"
    return words


def _military(match: re.Match[str]) -> str:
    hour, minute = match[1], match[2]
    words = digits(hour) if hour[0] == "0" else cardinal(hour)
    return f"{words} {'hundred' if minute == '00' else cardinal(minute)} hours"


TIMES_OF_DAY: tuple[Rule, ...] = (
    rule(
        r"\bq\.?(?:(\d{1,2})[-\u2013])?(\d{1,2}) ?h(?:rs?)?\b",
        lambda m: f"every {f'{cardinal(m[1])} to ' if m[1] else ''}{_count(m[2], 'hour')}",
        needs=("q",),
    ),
    rule(
        rf"\b(\d{{1,2}}:[0-5]\d):([0-5]\d)(?=\s?{_HALF})",
        lambda m: m[1] if m[2] == "00" else f"{m[1]} and {_count(_amount(m[2]), 'second')}",
        needs=(":",),
    ),
    rule(
        r"(?:(?<=\d[ap]m)|(?<= [ap]m)|(?<=[ap]\.m\.)|(?<=[AP]\.M\.)) ?([ecmp][sd]t|gmt|utc|bst|cet)\b",
        lambda m: f" {m[1].upper()}",
        needs=("t", "utc"),
    ),
    rule(r"\b(\d{1,2}:[0-5]\d)([ap])\b(?!\.)", lambda m: f"{m[1]} {m[2]}m", needs=(":",)),
    rule(
        r"(?<![\w.,])(\d{1,2}) ?w ?(\d) ?d\b",
        lambda m: f"{_count(m[1], 'week')} {_count(m[2], 'day')}",
    ),
    rule(
        r"(?<![\w.,])(?:(\d{1,3})\s?d(?:ays?)?,?\s)?(\d{1,3})\s?h(?:rs?|ours?)?\.?,?\s?(?:and )?"
        r"(\d{1,2})\s?m(?:ins?|inutes?)?\b\.?(?:,?\s?(\d{1,2})\s?s(?:ecs?|econds?)?\b)?(?!/)",
        _duration,
    ),
    rule(r"(?<![\w.,])(\d{1,3})\s?d(?:ays?)?,?\s?(\d{1,2})\s?h(?:rs?)?\b()()", _duration),
    rule(
        r"(?<![\w.,])()()(\d{1,3})\s?m(?:ins?)?\s?(\d{1,2}(?:\.\d{1,3})?)\s?s(?:ecs?)?\b", _duration
    ),
    rule(
        r"(?<![\d:.])(?:(?P<hour>\d{1,3}):)?(?P<minute>[0-5]?\d):(?P<second>[0-5]\d\.\d{1,6})(?![\d:])",
        _stopwatch,
        needs=(":",),
    ),
    rule(
        r"(?:(?<=\bin )|(?<=\bof )|(?<=\btime )|(?<=record )|(?<=time: ))(?P<hour>\d{1,3}):(?P<minute>[0-5]\d):(?P<second>[0-5]\d)(?![\d:])",
        _stopwatch,
        needs=(":",),
    ),
    rule(
        r"(?<![\d:])(?P<hour>\d{1,2}):(?P<minute>[0-5]\d):(?P<second>[0-5]\d)"
        r"(?= (?:marathon|half|finish|run|race|ride|time|long|video|film|record)\b)",
        _stopwatch,
        needs=(":",),
    ),
    rule(r"(\d{1,2}:\d\d)/(\d{1,2}:\d\d)c\b", lambda m: f"{m[1]}, {m[2]} central", needs=(":",)),
    rule(
        r"(?<=:\d\d) ?/ ?(km|mi|mile)\b",
        lambda m: f" per {'kilometer' if m[1] == 'km' else 'mile'}",
        needs=(":",),
    ),
    rule(  # a verse
        r"(?<![\d:])(\d{1,3}):(\d{1,3})[-\u2013](\d{1,3})(?![\d:]|\s?[ap]\.?m)",
        lambda m: f"{cardinal(m[1])} {cardinal(_amount(m[2]))} to {cardinal(m[3])}",
        needs=(":",),
    ),
    rule(r"\b([01]\d|2[0-3])([0-5]\d) (?:hrs|hours)\b", _military, needs=(" h",)),
    rule(
        r"\b(UTC|GMT) ?([-+\u2212\u2013]\d{1,2}(?::\d\d)?)\b",
        lambda m: f"{m[1]} {_offset(m[2])}",
        needs=("GMT", "UTC"),
    ),
    rule(
        r"(?<![\d:.$\u00a3\u20ac/-])(1?\d|2[0-3])(?:[:.]([0-5]\d))?\s?[-\u2013\u2014]\s?"
        rf"(?=(?:1?\d|2[0-3])(?:[:.][0-5]\d)?\s?{_HALF})",
        _clock_range,
        needs=("-", "–", "—"),
    ),
    rule(r"\b(noon|midnight) ?[-\u2013] ?(?=\d)", lambda m: f"{m[1]} to ", needs=("noon", "midn")),
    rule(r"(?<=[\dm.]) ?[-\u2013] ?(?=noon\b|midnight\b)", " to ", needs=("noon", "midn")),
    rule(
        rf"(?:(?<=[apAP]\.[mM]\.)|(?<=[\d ][apAP][mM])|(?<=:\d\d)){DASH}(?=\d)",
        " to ",
        needs=("-", "–", "—", "−"),
    ),
    rule(
        r"\b(?P<hour>[01]?\d|2[0-3])(?:[:.](?P<minute>[0-5]\d))?\s?"
        r"(?P<half>[apAP])\.?\s?[mM]\b\.?",
        _clock,
    ),
    rule(
        r"(?<![\d:.])(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)"
        r"(?::(?P<second>[0-5]\d)(?P<offset>[-+]\d\d:\d\d)?)?(?![\d:])(?P<half>)(?P<zone>Z\b)?"
        r"(?: ?(?:h|hrs?|hours)\b)?",
        _clock,
        needs=(":",),
    ),
    rule(r"(?<![\w.,])(1?\d|2[0-3])h([0-5]\d)\b", lambda m: cardinal(m[1]) + _minutes(int(m[2]))),
)
