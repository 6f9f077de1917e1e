"""Normalization of written English to the characters that models read.

`normalize` removes markup, folds Unicode, and applies tables of rules: each rule reads one written
form, such as a date, and leaves the rest to the rules after it. Capitals are kept until the end,
since they tell names and acronyms from words.
"""

import re
import unicodedata
import warnings
from collections.abc import Sequence

from vocalmtp.errors import InputError, nearest
from vocalmtp.text.abbreviations import expand_abbreviations
from vocalmtp.text.acronyms import spell_letters
from vocalmtp.text.chemistry import CHEMISTRY
from vocalmtp.text.codes import ADDRESSES, MODELS, PHONES
from vocalmtp.text.dates import DATES, NAMED_DAYS, PERIODS, YEARS
from vocalmtp.text.dimensions import DIMENSIONS, FRACTIONS, RANGES
from vocalmtp.text.markup import strip_markup
from vocalmtp.text.mathematics import EXPONENTS, MATHEMATICS, POWERS
from vocalmtp.text.numbers import FOREIGN, ORDINALS, PLAIN, RATIO, ROMAN, apply_rules, spell
from vocalmtp.text.quantities import MEASUREMENTS, MONEY, MONEY_FORMS, RATES
from vocalmtp.text.symbols import GREEK, IN_CONTEXT, fold_characters, mark_lengths, spell_symbols
from vocalmtp.text.times import TIMES_OF_DAY

ALPHABET = " abcdefghijklmnopqrstuvwxyz'.,?!-;:"
_INDEX = {character: index for index, character in enumerate(ALPHABET)}

# The readings of tests/text/golden.tsv in each version, as a hash. When a reading changes, add a
# line with the next number. Exported models name the version that they were trained with.
READINGS = {
    1: "63aa952f8598b954",
    2: "2d5fbb0142f22b26",
    3: "85fb2f6a8565eef3",
}
VERSION = max(READINGS)

UNKNOWN_CHARACTERS = ("refuse", "skip", "name")  # what happens to letters that are not read

_WITH_DIGITS = (
    *EXPONENTS,
    *PHONES,
    *DATES,
    *TIMES_OF_DAY,
    *PERIODS,
    RATIO,
    *MODELS,
    *ORDINALS,
    *MONEY_FORMS,
    *FRACTIONS,
    *RANGES,
    *MONEY,
    *DIMENSIONS,
    *MEASUREMENTS,
    *POWERS,
    *YEARS,
    *PLAIN,
)
_HAS_DIGIT = re.compile(r"\d")
_HAS_ADDRESS = re.compile(r"[@#\\/]|U\+|(?:\w|^|\s)\.\w|[a-z][-+][\w]")
_HAS_ROMAN = re.compile(r"\b(?:[IVXLCDM]+|[IVXL]{2,6}(?:st|nd|rd|th)|[ivxl]+)\b")
_HAS_OPERATOR = re.compile(r"[-+*/=<>^_!(\u2212×÷±·≈≠≤≥√∞~∈∉∩∪⊂⊆]")
WINDOW = 1000  # characters that the rules read at a time, so that the time is linear in the length
_WINDOW_END = re.compile(r"[.?!]\s(?=[A-Z])")
_GREEK = "".join(GREEK)
_UNKNOWN = re.compile(rf"[^\W\d_a-zA-Z{_GREEK}]|[{_GREEK}]{{3,}}")
_OUTSIDE = re.compile(f"[^{re.escape(ALPHABET)}]")
_PAUSE = re.compile(r"[ .,?!;:]*[.,?!;:][ .,?!;:]*")
_PASSES = 8


def normalize(text: str, unknown_characters: str = "refuse") -> str:
    """Return the text as it is spoken: characters of ALPHABET only, ending in `.`, `?` or `!`.

    Normalized text stays as it is. Emoji and other pictures are left out.

    Args:
        text: English text, plain or with HTML, Markdown or LaTeX markup.
        unknown_characters: what happens to letters of a script that is not read: "refuse" raises
            an error, "skip" leaves the words with them out and warns, "name" reads the Unicode
            name of each letter.

    Raises:
        InputError: nothing in the text can be spoken, or it has letters that are not read.

    """
    check_unknown_characters(unknown_characters)
    spoken = _normalize_once(text, unknown_characters)
    # A form can appear that was hidden before, such as the abbreviation in "(approx).".
    for _ in range(_PASSES):
        again = _normalize_once(spoken, "refuse")
        if again == spoken:
            return spoken
        spoken = again
    return spoken


def check_unknown_characters(option: str) -> None:
    """Raise InputError unless `option` is one of UNKNOWN_CHARACTERS."""
    if option not in UNKNOWN_CHARACTERS:
        raise InputError(
            f"unknown_characters '{option}': is not an option; "
            f"{nearest(str(option), UNKNOWN_CHARACTERS)}",
            code="unknown_name",
        )


def _normalize_once(text: str, unknown_characters: str) -> str:
    plain = " ".join(fold_characters(strip_markup(text)).split())
    plain = _resolve_unknown(plain, text, unknown_characters)
    spoken = _tidy_punctuation("".join(map(_apply_all_rules, windows(plain))))
    if not re.search("[a-z]", spoken):
        raise InputError(
            f"text '{shorten(text)}': has nothing to say; give at least one word or number",
            code="empty",
        )
    return spoken


def windows(text: str) -> list[str]:
    """`text` in pieces of at most 1000 characters, cut after sentences, or else between words."""
    pieces, start = [], 0
    while len(text) - start > WINDOW:
        ends = [m.end() for m in _WINDOW_END.finditer(text, start + WINDOW // 2, start + WINDOW)]
        end = ends[-1] if ends else text.rfind(" ", start, start + WINDOW) + 1
        end = end if end > start else start + WINDOW
        pieces.append(text[start:end])
        start = end
    return [*pieces, text[start:]]


def _apply_all_rules(text: str) -> str:
    text = mark_lengths(text)
    if _HAS_ADDRESS.search(text):
        text = apply_rules(ADDRESSES, text)
    if not text.islower():
        text = apply_rules(CHEMISTRY, text)
    text = apply_rules(IN_CONTEXT, text)
    has_digit = bool(_HAS_DIGIT.search(text))
    if has_digit:
        text = apply_rules(FOREIGN, text)
    text = apply_rules(NAMED_DAYS, text)
    text = expand_abbreviations(text)
    if _HAS_OPERATOR.search(text):
        text = apply_rules(MATHEMATICS, apply_rules(RATES, text))
    if _HAS_ROMAN.search(text):
        text = apply_rules(ROMAN, text)
    if has_digit:
        text = apply_rules(_WITH_DIGITS, text)
    text = spell_symbols(spell_letters(text))
    return re.sub(r"(?<=[a-z]{2})\.(?=[A-Z][a-z])", ". ", text)


def _resolve_unknown(text: str, original: str, unknown_characters: str) -> str:
    """`text` without letters that no rule reads, or an error."""
    found = None if text.isascii() else _UNKNOWN.search(text)
    if not found:
        return text
    if unknown_characters == "name":
        return _UNKNOWN.sub(lambda m: f" {' '.join(map(_character_name, m[0]))} ", text)
    if unknown_characters == "refuse":
        raise InputError(
            f"text '{shorten(original)}': cannot read '{found[0][0]}' "
            f"({_character_name(found[0][0])}); write it in English letters, "
            "or set unknown_characters (skip or name)",
            code="unsupported",
        )
    words = text.split()
    kept = [word for word in words if not _UNKNOWN.search(word)]
    warnings.warn(
        f"text '{shorten(original)}': words in a script that is not read were skipped "
        f"({len(words) - len(kept)} of {len(words)})",
        stacklevel=4,
    )
    return " ".join(kept)


def _character_name(character: str) -> str:
    """ "hiragana letter ko", "cjk unified ideograph six five ee five"."""
    name = unicodedata.name(character, "unknown character").lower()
    return re.sub(r"-([0-9a-f]+)$", lambda m: f" {spell(m[1])}", name).replace("-", " ")


def _tidy_punctuation(text: str) -> str:
    """Keep the pauses that the models know, one at a time, each after a word."""
    text = text.lower()
    text = re.sub(r"\.{2,}(\s?[a-z])?", lambda m: f",{m[1]}" if m[1] else ".", text)
    text = re.sub(r"(?<=[a-z])\.(?=[a-z])", " dot ", text)
    text = re.sub(r"[()\[\]{}|]|\s[\u2013\u2014-]+\s|--+", ", ", text)
    text = re.sub(r"(?<=[a-z])\u2013(?=[a-z])", "-", text).replace("\u2013", ", ")
    text = re.sub("'{2,}", " ", text)
    text = re.sub(r"(?<![a-z])'|'(?![a-z])", "", text)
    text = re.sub(r"(?<![a-z])-|-(?![a-z])", " ", text)
    text = " ".join(_OUTSIDE.sub(" ", text).split())
    text = " ".join(_PAUSE.sub(_strongest, text).split()).lstrip(".,?!;: ")
    text = re.sub(r"[,;:-]$", "", text)
    return text if not text or text[-1] in ".?!" else f"{text}."


def _strongest(match: re.Match[str]) -> str:
    return next(mark for mark in "?!.;:," if mark in match[0]) + " "


def char_ids(text: str) -> list[int]:
    """Ids of the characters of a normalized text: their places in ALPHABET.

    Raises:
        InputError: a character is not in the alphabet; the text was not normalized.

    """
    try:
        return [_INDEX[character] for character in text]
    except KeyError as error:
        raise InputError(
            f"text '{shorten(text)}': character {error.args[0]!r} is not in the alphabet; "
            "use vocalmtp.text.normalize first",
            code="invalid_value",
        ) from error


def char_text(ids: Sequence[int]) -> str:
    """The text of ids of ALPHABET; ids outside it, such as that of an end, are left out."""
    return "".join(ALPHABET[index] for index in ids if 0 <= index < len(ALPHABET))


def shorten(text: str, limit: int = 40) -> str:
    """`text` on one line, short enough for a message."""
    line = " ".join(text[: 10 * limit].split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= limit else line[: limit - 3] + "..."
