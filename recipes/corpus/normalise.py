"""Written English to the corpus's normal form, or nothing when a text cannot be spelled out.

The normal form is lower case over ``ALPHABET``, single spaces, numbers in words, and a closing
``.``, ``?`` or ``!``. What cannot be said for certain (acronyms, formulas, markup) is rejected,
not guessed: text is plentiful here, and a wrong reading teaches a wrong pronunciation.
"""

from __future__ import annotations

import re
import unicodedata

from num2words import num2words

ALPHABET = " abcdefghijklmnopqrstuvwxyz'.,?!-;:"
MAX_WORDS = 40

_ABBREVIATIONS = {
    "mr.": "mister",
    "mrs.": "missus",
    "ms.": "miss",
    "dr.": "doctor",
    "prof.": "professor",
    "etc.": "et cetera",
    "e.g.": "for example",
    "i.e.": "that is",
    "vs.": "versus",
}
_ABBREVIATION = re.compile(
    r"(?<![\w.])(" + "|".join(map(re.escape, _ABBREVIATIONS)) + r")", re.IGNORECASE
)
_INITIALISM = re.compile(r"\b[A-Z]{2,}|\b[A-Za-z]\.(?=\s*[A-Za-z])|\b(?!I\b|A\b|O\b)[A-Z]\b")
_QUOTED = re.compile(r"(?<![\w'])['`]+([^'`]+)['`]+(?!\w)")
_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)*(?:-[a-z]+(?:'[a-z]+)*)*[.,?!;:]?")

_MONEY = re.compile(r"\$(\d[\d,]*)(?:\.(\d\d))?(?![\d.])(?! (?:hundred|thousand|million|billion))")
_DECADE = re.compile(r"\b(1[1-9]\d0)'?s\b")
_YEAR = re.compile(r"(?<![\d.,$])(1[1-9]\d\d|20[0-3]\d)(?![\d%]|[,.:]\d)")
_ORDINAL = re.compile(r"\b(\d{1,3})(?:st|nd|rd|th)\b")
_CLOCK = re.compile(r"\b(1?\d):([0-5]\d)\b(?!:)")
_NUMBER = re.compile(r"(?<![\w.,$])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(?![\w$]|[.,]\d)")


def number(value: float) -> str:
    """A number in words, without the commas that num2words puts after thousands."""
    return num2words(value).replace(",", "")


def ordinal(value: int) -> str:
    """``21`` as ``twenty-first``."""
    return num2words(value, to="ordinal")


def year(value: int) -> str:
    """``1905`` as ``nineteen oh-five``."""
    return num2words(value, to="year").replace("oh-", "oh ")


def clock(hour: int, minute: int) -> str:
    """``5, 5`` as ``five oh five``; the full hour as ``five o'clock``."""
    if minute == 0:
        return f"{number(hour)} o'clock"
    return f"{number(hour)} {'oh ' if minute < 10 else ''}{number(minute)}"


def money(dollars: int, cents: int = 0) -> str:
    """``3, 50`` as ``three dollars and fifty cents``."""
    whole = f"{number(dollars)} dollar{'' if dollars == 1 else 's'}"
    if not cents:
        return whole
    return f"{whole} and {number(cents)} cent{'' if cents == 1 else 's'}"


def _spell_numbers(text: str) -> str:
    """Replace each kind of number that reads only one way; other digits stay, to be rejected."""
    text = _MONEY.sub(lambda m: money(int(m[1].replace(",", "")), int(m[2] or 0)), text)
    text = _DECADE.sub(lambda m: re.sub("y$", "ies", year(int(m[1]))), text)
    text = _CLOCK.sub(lambda m: clock(int(m[1]), int(m[2])), text)
    text = _ORDINAL.sub(lambda m: ordinal(int(m[1])), text)
    text = _YEAR.sub(lambda m: year(int(m[1])), text)
    text = text.replace("%", " percent")

    def plain(match: re.Match) -> str:
        digits = match[1].replace(",", "")
        return number(float(digits + match[2]) if match[2] else int(digits))

    return _NUMBER.sub(plain, text)


def normalise(text: str) -> str | None:
    """The normal form of ``text``, or None when it has something that cannot be spelled out."""
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = _ABBREVIATION.sub(lambda m: _ABBREVIATIONS[m[1].lower()], text.replace("\t", " "))
    if _INITIALISM.search(text):
        return None
    text = _QUOTED.sub(r"\1", text.replace('"', "").replace("&", " and "))
    text = re.sub(r"\s*\([^()]*\)", "", text)  # asides
    text = _spell_numbers(text).lower().strip(" .,-")
    text = re.sub(r"\s*(?:--+|\.\.+| - )\s*", ", ", text)  # dashes and ellipses are pauses
    text = re.sub(r"\s+([.,?!;:])", r"\1", text)
    text = re.sub(r"[,;:.]+([,;:.])", r"\1", text)  # of several marks the last
    text = re.sub(r"[.,;:]*([?!])[.,?!;:]*", r"\1", text)  # ... but a question stays one
    text = re.sub(r"([.,?!;:])(?=[a-z])", r"\1 ", text).strip(" ,;:")
    if text and text[-1] not in ".?!":
        text += "."
    tokens = text.split()
    if not 1 <= len(tokens) <= MAX_WORDS or not all(map(_TOKEN.fullmatch, tokens)):
        return None
    return " ".join(tokens)


def bare(text: str) -> str:
    """The words of a text alone, for telling whether two texts say the same."""
    return re.sub(r"[^a-z' ]", "", text.lower().replace("-", " ")).strip()
