"""Abbreviations in full; initialisms and single letters as letter names."""

import re
from functools import lru_cache

from vocalmtp.text.numbers import choice
from vocalmtp.text.tables import (
    ABBREVIATIONS,
    COUNTED,
    LETTER_NAMES,
    MONTHS,
    NAMED,
    NEVER_LAST,
    ONSETS,
    SAID_AS,
    SHORT_WORDS,
    SPELLED,
    STARTERS,
    STREETS,
    TITLES,
    WORDS_WITHOUT_VOWELS,
)

_TITLE = re.compile(
    rf"(?<![\w.])({choice({key[:-1] for key in TITLES})})\b\.?(?=\s)", re.IGNORECASE
)
_NAMED = re.compile(rf"\b({choice(NAMED)})(?=\s[A-Z])")
_ABBREVIATION = re.compile(rf"(?<![\w.])({choice(ABBREVIATIONS)})", re.IGNORECASE)
_COUNTED = re.compile(rf"(?<![\w.])({choice(COUNTED)})\.\s?(?=\d|[IVX]+\b)", re.IGNORECASE)
_SHORT = re.compile(rf"(?<!\S)({choice(SHORT_WORDS)})(?!\S)")
_STREET = re.compile(rf"\b({choice(STREETS)})\.")
_MONTH = re.compile(rf"\b({choice({key for key in MONTHS if len(key) <= 4})})\.(?=\s|$)")
_AFTER_NUMBER = re.compile(r"\d(?:\w*| [A-Z]\w*\.?(?: [A-Z]\w*\.?){0,2}) $")
_AFTER_NAME = re.compile(r"(?:^|\s)([A-Z]\w+) $")
_NAME = re.compile(r"\s([A-Z]\w*)")
_CAPITAL = re.compile(r"\s+[A-Z](?![A-Z])")
_WORDS_OF = {key.lower(): value for key, value in {**TITLES, **ABBREVIATIONS}.items()}


def begins_sentence(text: str, place: int) -> bool:
    """Whether what follows `place` is a word that begins sentences, and no name."""
    following = _NAME.match(text, place)
    return bool(following) and following[1] in STARTERS


def expand_abbreviations(text: str) -> str:
    """`text`, its capitals still there, with abbreviations in full."""
    text = _STREET.sub(_street, text)
    text = _COUNTED.sub(lambda m: f"{COUNTED[m[1].lower()]} ", text)
    text = re.sub(r"#(?=\d)", "number ", text)
    text = re.sub(r"\b([A-G])#(?!\w)", r"\1 sharp", text)
    text = _SHORT.sub(lambda m: SHORT_WORDS[m[1]], text)
    text = _MONTH.sub(lambda m: MONTHS[m[1]].capitalize(), text)
    text = _TITLE.sub(lambda m: _WORDS_OF[f"{m[1].lower()}."], text)
    text = _NAMED.sub(lambda m: NAMED[m[1]], text)
    return _ABBREVIATION.sub(_expand, text)


def _expand(match: re.Match[str]) -> str:
    words = _WORDS_OF[match[1].lower()]
    ends = match[1] not in NEVER_LAST and _CAPITAL.match(match.string, match.end())
    return f"{words}." if ends else words


def _street(match: re.Match[str]) -> str:
    """ "St. Paul" against "Main St.": the words around it decide."""
    before_name, after_name = STREETS[match[1]]
    before = match.string[max(0, match.start() - 60) : match.start()]
    named = _NAME.match(match.string, match.end())
    starts = begins_sentence(match.string, match.end())
    owner = _AFTER_NAME.search(before)
    is_street = (
        _AFTER_NUMBER.search(before)
        or (owner and owner[1] not in STARTERS and (starts or not named))
        or (match[1] == "St" and not named)
    )
    if not is_street:
        return before_name
    return f"{after_name}." if starts else after_name


_DOTTED = re.compile(r"\b(?:[A-Za-z]\.){2,}")
_INITIAL = re.compile(r"(?<![\w'])([A-Z])\.(?=\s[A-Za-z])")
_JOINED = re.compile(r"\b([A-Z]{1,3})&([A-Z]{1,3})\b")
_SAID_AS = re.compile(rf"\b({choice(SAID_AS)})\b")
_LONE_A = re.compile(r"(?<=[a-z] )A\b(?! [A-Z])|\bA(?=:)")
# "YouTube" and "HTMLParser" are two words each, "McDonald" and "PDFs" one.
_CAMEL = re.compile(r"(?<=[a-z]{2})(?<!Mac)(?=[A-Z])|(?<=[A-Z]{2})(?=[A-Z][a-z]{2})")
_SMALL_FIRST = re.compile(r"\b([a-z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
_CLUSTER = re.compile("[BCDFGHJKLMNPQRSTVWXZ]{2,}")
_LONGEST_ACRONYM = 5


def spell_letters(text: str) -> str:
    """Initialisms and single letters as the names of the letters."""
    text = _SAID_AS.sub(lambda m: SAID_AS[m[1]], text)
    text = _JOINED.sub(lambda m: f"{_letters(m[1])} and {_letters(m[2])}", text)
    text = _DOTTED.sub(_dotted, text)
    text = _INITIAL.sub(_initial, text)
    text = _LONE_A.sub("ay", text)
    text = _CAMEL.sub(" ", _SMALL_FIRST.sub(r"\1 ", text))
    return _WORD.sub(lambda m: _spell_word(m[0]), text)


def _dotted(match: re.Match[str]) -> str:
    stop = "." if begins_sentence(match.string, match.end()) else ""
    return _letters(match[0].replace(".", "")) + stop


def _initial(match: re.Match[str]) -> str:
    if begins_sentence(match.string, match.end()):
        return match[0]
    return "ay" if match[1] == "A" else match[1]


@lru_cache(65536)
def _spell_word(word: str) -> str:
    stem, apostrophe, ending = word.partition("'")
    if stem[-1] == "s" and stem[:-1].isupper() and _is_spelled(stem[:-1], True):  # PDFs
        return f"{_letters(stem[:-1])}'s"
    if _is_spelled(stem, bool(apostrophe)):
        return _letters(stem) + apostrophe + ending
    return word


def _is_spelled(stem: str, whole: bool) -> bool:
    """Whether a word is said by its letters; a single one is unless it begins a longer word."""
    low = stem.lower()
    if len(low) == 1:
        return not whole and low not in "ai"
    if stem in SPELLED or not (re.search("[aeiouy]", low) or low in WORDS_WITHOUT_VOWELS):
        return True
    cluster = _CLUSTER.match(stem)
    return bool(
        cluster
        and len(stem) <= _LONGEST_ACRONYM
        and stem.isupper()
        and cluster[0].lower() not in ONSETS
    )


def _letters(word: str) -> str:
    return " ".join(LETTER_NAMES[letter] for letter in word.lower())
