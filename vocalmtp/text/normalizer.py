"""Written English to the characters that models read: lower case, numbers and symbols in words."""

import re
import unicodedata

from vocalmtp.errors import InputError
from vocalmtp.text.abbreviations import expand_abbreviations, spell_letters
from vocalmtp.text.alphabet import ALPHABET, shorten
from vocalmtp.text.dates_and_codes import CODES, DATES, TIMES_OF_DAY, YEARS, spell_addresses
from vocalmtp.text.numbers import COUNTS, PLAIN, RATIO, ROMAN
from vocalmtp.text.quantities import AMOUNTS, EQUATIONS
from vocalmtp.text.symbols import plain_letters, spell_symbols

_ROMAN = [(re.compile(pattern), function) for pattern, function in ROMAN]
_FIGURES = [
    (re.compile(pattern), function)
    for pattern, function in (
        *CODES,
        *DATES,
        *TIMES_OF_DAY,
        RATIO,
        *EQUATIONS,
        *YEARS[:1],
        *COUNTS,
        *AMOUNTS,
        *YEARS[1:],
        *PLAIN,
    )
]


def spell_numbers(text: str) -> str:
    """`text`, its capitals still there, with every figure written out in words."""
    rules = _ROMAN + _FIGURES if re.search(r"\d", text) else _ROMAN
    for pattern, function in rules:
        text = pattern.sub(function, text)
    return text


_MARKUP = tuple(
    (re.compile(pattern), kept)
    for pattern, kept in (
        (r"\[([^\[\]]{1,200})\]\((?:https?:|[/.#])[^()\s]{1,300}\)", r"\1"),  # [text](address)
        (r"(?<=[\w.,])\[\d{1,3}\]", ""),  # a reference to a source
        (r'</?[a-zA-Z]\w{0,9}(?:\s[\w-]{1,30}="[^"<>]{0,200}"){0,9}\s?/?>', " "),  # HTML
        (r"(?<!\S)[:;=]-?[)(DPp|/](?!\S)", " "),  # :-)
    )
)
_PAUSE = re.compile(r"[ .,?!;:]*[.,?!;:][ .,?!;:]*")
_PASSES = 8


def normalize(text: str) -> str:
    """The text as it will be spoken: only ALPHABET, ending in a full stop, `?` or `!`.

    Normalised text stays as it is. Emoji and other pictures are left out.

    Raises:
        InputError: nothing in it can be spoken, or it has letters of a script that is not read.
    """
    spoken = _normalize_once(text)
    # A form can appear that was hidden before, such as the abbreviation in "(approx).".
    for _ in range(_PASSES):
        again = _normalize_once(spoken)
        if again == spoken:
            return spoken
        spoken = again
    return spoken


def _normalize_once(text: str) -> str:
    original = text
    text = plain_letters(text)
    for pattern, kept in _MARKUP:
        text = pattern.sub(kept, text)
    text = spell_addresses(text)
    text = expand_abbreviations(text)
    text = spell_numbers(text)
    text = spell_letters(text)
    text = spell_symbols(text)
    text = re.sub(r"(?<=[a-z]{2})\.(?=[A-Z][a-z])", ". ", text).lower()
    foreign = next((c for c in text if c not in ALPHABET and c.isalnum()), None)
    if foreign:
        raise InputError(
            f"text '{shorten(original)}': cannot read '{foreign}' "
            f"({unicodedata.name(foreign, 'unknown').lower()}); write it in English letters",
            code="unsupported",
        )
    text = _tidy_punctuation(text)
    if not re.search("[a-z]", text):
        raise InputError(
            f"text '{shorten(original)}': has nothing to say; give at least one word or number",
            code="empty",
        )
    return text


def _tidy_punctuation(text: str) -> str:
    """Only the pauses that the models know, one at a time, each after a word."""
    text = re.sub(r"\.{2,}(\s?[a-z])?", lambda m: f",{m[1]}" if m[1] else ".", text)
    text = re.sub(r"(?<=[a-z])\.(?=[a-z])", " dot ", text)
    text = re.sub(r"[()\[\]{}|]|\s[\u2013\u2014-]+\s|--+|\u2013", ", ", text)
    text = re.sub(r"(?<![a-z])'|'(?![a-z])", "", text)
    text = re.sub(r"(?<![a-z])-|-(?![a-z])", " ", text)
    text = " ".join("".join(c if c in ALPHABET else " " for c in text).split())

    def strongest(match: re.Match[str]) -> str:
        return next(mark for mark in "?!.;:," if mark in match[0]) + " "

    text = " ".join(_PAUSE.sub(strongest, text).split()).lstrip(".,?!;: ")
    text = re.sub(r"[,;:-]$", "", text)
    return text if not text or text[-1] in ".?!" else f"{text}."
