"""Segmentation: normalized text into sentences and words, streamed text into clauses."""

import re

from vocalmtp.errors import InputError
from vocalmtp.text.normalizer import normalize
from vocalmtp.text.ssml import parse_marks

# Sentences and words of a normalized text

_SENTENCE = re.compile(r"[^.?!]+[.?!]")
_WORD = re.compile(r"[a-z'-]*[a-z][a-z'-]*")
# Cuts of a sentence that is too long, best first: after a strong pause, a comma, any word.
_CUTS = (re.compile(r"[;:] "), re.compile(r", "), re.compile(r" "))


def split_sentences(text: str, limit: int = 200) -> list[str]:
    """Return the sentences of a normalized text, none longer than `limit` characters.

    Normalized text has no abbreviations and no digits, so a full stop always ends a sentence. A
    sentence longer than `limit` is cut at a pause near its middle, or between words; a piece that
    loses its end gets a comma. A single word longer than `limit` stays whole.
    """
    sentences = [match[0].strip() for match in _SENTENCE.finditer(text)]
    return [piece for sentence in sentences for piece in _cut(sentence, limit)]


def _cut(sentence: str, limit: int) -> list[str]:
    if len(sentence) <= limit:
        return [sentence]
    middle = len(sentence) / 2
    for pattern in _CUTS:
        places = [m.end() for m in pattern.finditer(sentence)]
        # A piece of a few letters is hard to pronounce well: stay in the middle half.
        places = [place for place in places if abs(place - middle) <= middle / 2]
        if places:
            place = min(places, key=lambda p: abs(p - middle))
            first, rest = sentence[:place].strip(), sentence[place:].strip()
            if first[-1].isalpha():
                first += ","
            return _cut(first, limit) + _cut(rest, limit)
    return [sentence]


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end (exclusive) of every word of a normalized text, without punctuation."""
    return [match.span() for match in _WORD.finditer(text)]


# Clauses of a text that is still being written

FIRST = 8  # characters of a first clause that is cut at a comma: fewer are a word or two
LONG = 120  # characters after which any clause is cut at a comma
LONGEST = 200  # characters after which a clause is cut between any two words

# A mark that may end a clause, closing quotes and brackets, and the space that proves it complete.
_END = re.compile(r"""[.?!\u2026]["'\u2019\u201d)\]*_]*(?=\s)|\n\s*\n|\n(?=\s*(?:[-*#]|\d+\.)\s)""")
_SPACE = re.compile(r"\s+")
_PAUSE = re.compile(r"(?<![\d\s])[,;:]\s|\s[\u2013\u2014]\s")  # not "May 5, 2026"
_MATH_MARK = re.compile(r"\\[()\[\]]|(?<![\w\\])\$+(?=[^\s\d$])|(?<=[^\s\\])\$+(?![\w$])")


class ClauseSplitter:
    """Splits a text that arrives in pieces of any size into clauses that can be spoken.

    The clauses, joined, are the text. The first clause may end at a comma, so that audio starts
    early; the others are sentences unless they are long. Abbreviations, numbers and LaTeX formulas
    are not cut.
    """

    def __init__(self) -> None:
        self._text = ""
        self._searched = 0  # no sentence ends before this place of the text
        self._first = True

    def push(self, piece: str) -> list[str]:
        """Add a piece; return the clauses that it completed, each with the space after it."""
        self._text += piece
        clauses = []
        while (place := self._clause_end()) is not None:
            clauses.append(self._text[:place])
            self._text = self._text[place:]
            self._searched, self._first = 0, False
        return clauses

    def finish(self) -> list[str]:
        """Return the rest of the text, if it is more than space."""
        rest, self._text = self._text, ""
        return [rest] if rest.strip() else []

    def _clause_end(self) -> int | None:
        """Where the first clause ends, if it is complete."""
        end = self._sentence_end()
        limit = len(self._text) if end is None else end
        if self._first or limit > LONG:
            for match in _PAUSE.finditer(self._text, FIRST if self._first else LONG // 2):
                if match.end() < limit and not _in_formula(self._text, match.start()):
                    return match.end()
        if limit > LONGEST:
            space = self._text.rfind(" ", 1, LONGEST)
            return space + 1 if space > 0 else LONGEST
        return end

    def _sentence_end(self) -> int | None:
        start = len(self._text) - len(self._text.lstrip())
        for match in _END.finditer(self._text, max(self._searched, start + 1)):
            space = _SPACE.match(self._text, match.end())
            end = space.end() if space else match.end()
            if "\n" in match[0] + (space[0] if space else ""):
                return end
            if end == len(self._text):
                return None  # "Dr. " may go on: the next word decides
            if ends_sentence(self._text[:end], self._text[end:]):
                return end
            self._searched = end
        return None


def _in_formula(text: str, place: int) -> bool:
    """Whether `place` is inside of a LaTeX formula that has begun: `$f(x,`."""
    return len(_MATH_MARK.findall(text, 0, place)) % 2 == 1


def ends_sentence(text: str, rest: str) -> bool:
    """Whether a sentence ends between `text`, which has a full stop there, and `rest`."""
    following = rest.split(maxsplit=1)
    if not following:
        return True
    try:
        last = split_sentences(normalize(text + following[0]))[-1]
        return len(word_spans(last)) <= len(word_spans(normalize(following[0])))
    except InputError:  # letters of another script: only their punctuation decides
        return True


def sayable(text: str) -> str:
    """`text` without the words that cannot be normalized; empty if none is left."""
    if _can_normalize(text):
        return text
    kept = " ".join(word for word in text.split() if _can_normalize(word))
    return kept if kept and _can_normalize(kept) else ""


def _can_normalize(text: str) -> bool:
    try:
        normalize(" ".join(passage.spoken for passage in parse_marks(text)))
    except InputError:
        return False
    return True
