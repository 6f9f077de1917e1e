"""Abbreviations in full, and the full stops of a sentence told from theirs."""

import re

from vocalmtp.text.figures import choice
from vocalmtp.text.tables import (
    ABBREVIATIONS,
    COUNTED,
    MONTHS,
    NAMED,
    NEVER_LAST,
    SHORT_WORDS,
    STARTERS,
    STREETS,
    TITLES,
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
