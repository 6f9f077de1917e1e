"""Where a normalised text can be cut, and where its words are."""

import re

_SENTENCE = re.compile(r"[^.?!]+[.?!]")
_WORD = re.compile(r"[a-z'-]*[a-z][a-z'-]*")
# Cuts of a sentence that is too long, best first: after a strong pause, a comma, any word.
_CUTS = (re.compile(r"[;:] "), re.compile(r", "), re.compile(r" "))


def split_sentences(text: str, limit: int = 200) -> list[str]:
    """The sentences of a normalised text, none longer than `limit` characters.

    Normalised text has no abbreviations and no figures, so a full stop always ends a sentence. What
    is longer than `limit` is cut at a pause near its middle, or between words; a piece that so lost
    its end gets a comma.
    """
    sentences = [match[0].strip() for match in _SENTENCE.finditer(text)]
    return [piece for sentence in sentences for piece in _cut(sentence, limit)]


def _cut(sentence: str, limit: int) -> list[str]:
    if len(sentence) <= limit:
        return [sentence]
    middle = len(sentence) / 2
    for pattern in _CUTS:
        places = [m.end() for m in pattern.finditer(sentence)]
        # A piece of a few letters is hard to say well: stay in the middle half.
        places = [place for place in places if abs(place - middle) <= middle / 2]
        if places:
            place = min(places, key=lambda p: abs(p - middle))
            first, rest = sentence[:place].strip(), sentence[place:].strip()
            if first[-1].isalpha():
                first += ","
            return _cut(first, limit) + _cut(rest, limit)
    return [sentence]  # one enormous word


def word_spans(text: str) -> list[tuple[int, int]]:
    """Start and end (exclusive) of every word of a normalised text, punctuation left out."""
    return [match.span() for match in _WORD.finditer(text)]
