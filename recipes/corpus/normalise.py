"""Written English to the corpus's normal form, or nothing when a text cannot be spelled out.

The normal form is that of ``vocalmtp.text``, which also reads numbers, dates and money: the corpus
says what the models are asked to say. What cannot be said for certain (acronyms, formulas, markup) is
rejected here, not guessed: text is plentiful, and a wrong reading teaches a wrong pronunciation.
"""

from __future__ import annotations

import re
import unicodedata

from vocalmtp.errors import InputError
from vocalmtp.text import ALPHABET, normalize
from vocalmtp.text.numbers import cardinal, ordinal, year

__all__ = ["ALPHABET", "bare", "clock", "money", "normalise", "number", "ordinal", "year"]

MAX_WORDS = 40
VERSION = 2  # of the texts; raised when a text has another normal form, or none, than before

_INITIALISM = re.compile(
    r"\b[A-Z]{2,}|(?<![\w'])[A-Za-z]\.(?=\s*[A-Za-z])|\b(?!I\b|A\b|O\b)[A-Z]\b"
)
_KNOWN_INITIALS = re.compile(r"(?<![\w.])(?:e\.g\.|i\.e\.)", re.IGNORECASE)
# Signs of formulas, codes and markup, and numbers that are part of a name.
_UNCERTAIN = re.compile(
    r"[^\w\s.,?!;:'\"`()&$%-]|_|\d(?!\d|st\b|nd\b|rd\b|th\b|'?s\b)[A-Za-z]|[A-Za-z]\d|\d[-:.]\d+[-:.]"
)
_QUOTED = re.compile(r"(?<![\w'])['`]+([^'`]+)['`]+(?!\w)")
_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)*(?:-[a-z]+(?:'[a-z]+)*)*[.,?!;:]?")


def number(value: float) -> str:
    """A number in words."""
    return cardinal(str(value))


def clock(hour: int, minute: int) -> str:
    """``5, 5`` as ``five oh five``; the full hour as ``five o'clock``."""
    return normalize(f"at {hour}:{minute:02d}")[len("at ") : -1]


def money(dollars: int, cents: int = 0) -> str:
    """``3, 50`` as ``three dollars and fifty cents``."""
    return normalize(f"${dollars}.{cents:02d}" if cents else f"${dollars}")[:-1]


def normalise(text: str) -> str | None:
    """The normal form of ``text``, or None when it has something that cannot be spelled out."""
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = _QUOTED.sub(r"\1", text.replace("\t", " ")).replace('"', "")
    text = re.sub(r"\s*\([^()]*\)", "", text)  # asides
    if _INITIALISM.search(_KNOWN_INITIALS.sub("", text)) or _UNCERTAIN.search(text):
        return None
    try:
        text = normalize(text)
    except InputError:  # nothing to say
        return None
    tokens = text.split()
    if not 1 <= len(tokens) <= MAX_WORDS or not all(map(_TOKEN.fullmatch, tokens)):
        return None
    return text


def bare(text: str) -> str:
    """The words of a text alone, for telling whether two texts say the same."""
    return re.sub(r"[^a-z' ]", "", text.lower().replace("-", " ")).strip()
