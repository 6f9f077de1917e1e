"""Acronyms, initialisms and single letters: what is read letter by letter, and what is a word."""

import re
from functools import lru_cache

from vocalmtp.text.abbreviations import begins_sentence
from vocalmtp.text.numbers import Rule, apply_rules, choice, letters, rule
from vocalmtp.text.tables import (
    CAPITAL_WORDS,
    CODAS,
    IT_VERBS,
    ONSETS,
    PRONOUNCED,
    SPELLED,
    WORDS_WITHOUT_VOWELS,
)

_SMALL_WORDS = [word for word in PRONOUNCED if word.islower()]
# "YouTube" and "HTMLParser" are two words each, "McDonald" and "PDFs" one.
_CAMEL = re.compile(
    r"(?<=[a-z]{2})(?<!Mac)(?=[A-Z])|(?<=[A-Z]{2})(?=[A-Z][a-z]{2})"
    r"|(?<=\b[A-Z][a-z])(?=[A-Z]{2})"
)
_SMALL_FIRST = re.compile(r"\b([a-z])(?=[A-Z])")
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
_START, _END = re.compile("[BCDFGHJKLMNPQRSTVWXZ]+"), re.compile("[BCDFGHJKLMNPQRSTVWXZ]+$")
_ODD_VOWELS = re.compile("A[AEO]|E[OU]|I[IU]|U[UO]|Y[IY]|[AEIOU]{3}|Q(?!U)")
_LOWER_WORD = re.compile(r"\b[a-z]{2,}")
_ACRONYMS = re.compile(r"\s*[A-Z'&-]{1,5}(?:[,;/] ?[A-Z'&-]{1,5})*[.!?]?\s*")
_LONGEST_ACRONYM = 5


def spell_letters(text: str) -> str:
    """Initialisms and single letters as the names of the letters."""
    text = apply_rules(SMALL_LETTER_RULES, text)
    if not text.islower():
        text = apply_rules(CAPITAL_RULES, text)
        text = _CAMEL.sub(" ", _SMALL_FIRST.sub(r"\1 ", text))
    mixed = bool(_LOWER_WORD.search(text) or _ACRONYMS.fullmatch(text))  # capitals have a meaning
    return _WORD.sub(lambda m: _spell_word(m[0], mixed), text)


def _dotted(match: re.Match[str]) -> str:
    stop = "." if begins_sentence(match.string, match.end()) else ""
    return letters(match[0].replace(".", "")) + stop


def _initial(match: re.Match[str]) -> str:
    if begins_sentence(match.string, match.end()):
        return match[0]
    return "ay" if match[1] == "A" else match[1]


def _information_technology(match: re.Match[str]) -> str:
    before, after = match[1] or "", match[2] or ""
    shouted = match.string.isupper() and not _ACRONYMS.fullmatch(match.string)
    if shouted and " IT " in f" {match.string} ":
        return match[0].replace("IT", "it")
    if before.lower() in IT_VERBS or after in ("is", "was", "will", "has", "would", "works", "all"):
        return match[0].replace("IT", "it")
    return match[0]


SMALL_LETTER_RULES: tuple[Rule, ...] = (
    rule(rf"\b({choice(_SMALL_WORDS)})\b", lambda m: PRONOUNCED[m[1]], needs=_SMALL_WORDS),
    rule(r"\b(?:[A-Za-z]\.){2,}", _dotted, needs=(".",)),
    rule(r"\b(?:[A-Z]\.){1,5}[A-Z]\b(?![.\w'])", lambda m: letters(m[0].replace(".", "")), (".",)),
    rule(r"\ba(?=/[a-z]\b|,? (?:and |or |to |vs )?b\b)", "ay", needs=("/", " b")),
    rule(
        r"\b([ijkm])-?th\b",
        lambda m: f"{letters(m[1])}th",
        needs=("ith", "-th", "jth", "kth", "mth"),
    ),
    rule(r"\ba[-\u2013]z\b", "ay to zee", needs=("a-z", "a–z")),
    rule(r"(?<=\()a(?=\))", "ay", needs=("(a)",)),
    rule(r"\bn-th\b", "nth", needs=("n-th",)),
)
CAPITAL_RULES: tuple[Rule, ...] = (
    rule(r"\bI(?=/[A-Z]\b)", "eye", ("I/",)),
    rule(r"(?<!\.)\.NET\b", "dot net", (".NET",)),
    rule(r"(?<=\b[Tt]he )WHO\b", letters("who"), ("WHO",)),
    rule(r"\bAM(?= (?:radio|station|band|and [FP]M|or [FP]M)\b|/FM)", letters("am"), ("AM",)),
    rule(rf"\b({choice(PRONOUNCED)})\b", lambda m: PRONOUNCED[m[1]]),
    rule(
        r"\b([A-Z]{1,3})&([A-Z]{1,3})(?=s?\b)",
        lambda m: f"{letters(m[1])} and {letters(m[2])}",
        needs=("&",),
    ),
    rule(r"(?<![\w'])([A-Z])\.(?=\s[A-Za-z])", _initial),
    rule(r"(?:\b([A-Za-z]+) )?\bIT\b(?: ([a-z]+))?", _information_technology, needs=("IT",)),
    rule(r"(?:(?<=\b[Ii]n )|(?<=\bafter ))OT\b", "overtime", needs=("OT",)),
    rule(r"\b([A-Z])\.Sc\b\.?", lambda m: f"{letters(m[1])} ess see", (".Sc",)),
    rule(
        r"\b([A-Z])[-\u2013]([A-Z])\b(?=[\s.,;:!?)]|$)",
        lambda m: f"{letters(m[1])} to {letters(m[2])}",
        needs=("-", "–"),
    ),
    rule(
        r"(?<=[a-z] )A\b(?! [A-Z])|\bA(?=:|/[A-Z]|,? (?:and |or |to |vs |& |\u2192 )?[B-Z]\b)", "ay"
    ),
)


@lru_cache(65536)
def _spell_word(word: str, mixed: bool) -> str:
    stem, apostrophe, ending = word.partition("'")
    if stem in PRONOUNCED:
        return PRONOUNCED[stem] + apostrophe + ending
    if stem[-1] == "s" and stem[:-1].isupper() and _is_spelled(stem[:-1], True, mixed):  # PDFs
        return f"{letters(stem[:-1])}'s"
    if _is_spelled(stem, bool(apostrophe), mixed):
        return letters(stem) + apostrophe + ending
    return word


def _is_spelled(stem: str, whole: bool, mixed: bool) -> bool:
    """Whether a word is read by its letters; a single one is unless it begins a longer word."""
    low = stem.lower()
    if len(low) == 1:
        return not whole and low not in "ai"
    if not re.search("[aeiouy]", low):
        return low not in WORDS_WITHOUT_VOWELS
    if not stem.isupper():
        return stem in SPELLED
    if stem in SPELLED and (mixed or stem not in CAPITAL_WORDS):
        return True
    return len(stem) <= _LONGEST_ACRONYM and _is_initialism(stem, mixed)


def _is_initialism(stem: str, mixed: bool) -> bool:
    """Whether capitals are no word: by how they begin, and among small letters also by the rest."""
    start = _START.match(stem)
    if start and len(start[0]) > 1 and start[0].lower() not in ONSETS:
        return True
    if not mixed or stem in CAPITAL_WORDS:
        return False
    end = _END.search(stem)
    if end and len(end[0]) > 1 and end[0].lower() not in CODAS:
        return True
    return len(stem) <= 3 or bool(_ODD_VOWELS.search(stem))
