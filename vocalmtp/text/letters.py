"""What is said by its letters: initials, acronyms, single letters."""

import re
from functools import lru_cache

from vocalmtp.text.abbreviations import begins_sentence
from vocalmtp.text.figures import choice
from vocalmtp.text.tables import LETTER_NAMES, ONSETS, SAID_AS, SPELLED, WORDS_WITHOUT_VOWELS

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
