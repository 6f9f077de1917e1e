"""Word times: from the text track's pointers to words as written, JSON and subtitles.

Letters: T codec frames.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from re import finditer
from typing import NamedTuple

import numpy as np

from vocalmtp.audio.io import Word
from vocalmtp.errors import InputError, nearest
from vocalmtp.io.atomic import atomic_path, check_file
from vocalmtp.text import normalize, word_spans

FORMATS = ("json", "srt", "vtt")
WINDOW = 40  # words and tokens that are searched for the next match
CUE_CHARACTERS = 40  # most characters of a subtitle, unless one word is longer
CUE_PAUSE = 0.4  # seconds of silence between words that end a subtitle
_QUOTES = "\"'\u2019\u201d)]*_"
_MARKS = ".,;:!?\u2026\u201c\u201d\u2018([" + _QUOTES


class Token(NamedTuple):
    """A word of a text as it is written.

    `start` and `end` are its place in the text; `text` has also what is not spoken around it, such
    as a dash.
    """

    start: int
    end: int
    text: str


def written_tokens(text: str, spoken: Sequence[str]) -> list[Token]:
    """Return the token of `text` that each of its `spoken` words, in their order, is written in.

    "$5 million" is spoken as "five million dollars": the token of "five" is "$5", that of the two
    others "million". Tokens are matched by their own readings; words between two matches are
    distributed over the tokens there. What is not spoken belongs to the token after it.
    """
    matches = list(finditer(r"\S+", text))
    tokens = [match[0] for match in matches]
    owners: list[int] = []  # of every word, the number of its token
    i = j = 0  # the next token, the next word
    while tokens and j < len(spoken):
        at, word, count = _next_match(tokens, spoken, i, j)
        between = range(i, at) or [max(i - 1, 0)]
        owners += [between[k * len(between) // (word - j)] for k in range(word - j)]
        owners += [at] * count
        i, j = at + 1, word + count
    written: dict[int, Token] = {}
    start = matches[0].start() if matches else 0
    most = max(owners, default=0)
    for owner in sorted(set(owners)):
        end = matches[-1 if owner == most else owner].end()
        written[owner] = Token(*matches[owner].span(), " ".join(text[start:end].split()))
        start = end
    return [written[owner] for owner in owners]


def _next_match(
    tokens: Sequence[str], spoken: Sequence[str], i: int, j: int
) -> tuple[int, int, int]:
    """The nearest token from `i` on that is read at a word from `j` on, that word, and how many."""
    for distance in range(WINDOW):
        for skipped in range(min(distance, len(tokens) - i) + 1):
            at, word = i + skipped, j + distance - skipped
            if at == len(tokens):
                continue
            if word < len(spoken) and (count := _matched_words(tokens[at], spoken, word)):
                return at, word, count
    if i >= len(tokens) or len(tokens) - i + len(spoken) - j <= WINDOW:
        return len(tokens), len(spoken), 0
    return i, j, 1  # as if it matched, to go on with the next token


def _matched_words(token: str, spoken: Sequence[str], word: int) -> int:
    """How many words from `word` on are the reading of `token`; 0 if they are not."""
    if token.strip(_MARKS).lower() == spoken[word]:
        return 1
    reading = _reading(token)
    return len(reading) if reading == tuple(spoken[word : word + len(reading)]) else 0


@lru_cache(maxsize=4096)
def _reading(token: str) -> tuple[str, ...]:
    """The spoken words of a token by itself; empty if it cannot be read out alone."""
    try:
        return tuple(spoken_words(normalize(token)))
    except InputError:
        return ()


def spoken_words(text: str) -> list[str]:
    """Return the words of a normalised text, without punctuation."""
    return [text[start:end] for start, end in word_spans(text)]


def word_times(
    text: str,
    pointers: np.ndarray,
    frame_rate: float,
    *,
    complete: bool,
    written: Sequence[Token] | None = None,
) -> list[Word]:
    """Compute when words are spoken, exact to a codec frame.

    A word lasts from the first frame at or after its first character until the first frame after
    its last.

    Args:
        text: the normalised text.
        pointers: [T], the character spoken in each frame, never decreasing.
        frame_rate: codec frames per second.
        complete: whether these are all frames; otherwise only words that have ended are returned.
        written: the token that each spoken word is written in; None: words as they are spoken.

    Returns:
        The words, one for consecutive words of one token.

    """
    spans = word_spans(text)
    if written is None:
        written = [Token(*span, text[slice(*span)]) for span in spans]
    words = []
    for token, group in groupby(zip(written, spans, strict=False), key=lambda pair: pair[0]):
        places = [span for _, span in group]
        start, stop = np.searchsorted(pointers, (places[0][0], places[-1][1])).tolist()
        if start == len(pointers) or (stop == len(pointers) and not complete):
            break
        words.append(Word(token.text, start / frame_rate, stop / frame_rate))
    return words


# -- files -----------------------------------------------------------------------------------------


def timestamps_format(path: Path) -> str:
    """Return the format of a timestamps file: its suffix.

    Raises:
        InputError: the suffix is unknown, or a file cannot be created there.

    """
    name = path.suffix.lower().lstrip(".")
    if name not in FORMATS:
        raise InputError(
            f"timestamps '{path}': must end in .json, .srt or .vtt; {nearest(name, FORMATS)}",
            code="invalid_value",
        )
    check_file(path, "timestamps")
    return name


def save_timestamps(words: Sequence[Word], path: Path) -> None:
    """Write word times: words in JSON with seconds, or phrases as SRT or VTT subtitles.

    Raises:
        InputError: see `timestamps_format`.

    """
    content = format_words(words, timestamps_format(path))
    with atomic_path(path) as partial:
        partial.write_text(content, encoding="utf-8")


def format_words(words: Sequence[Word], format: str) -> str:
    """Return the content of a timestamps file; `format` is one of FORMATS."""
    return {"json": _json, "srt": _srt, "vtt": _vtt}[format](words)


def check_timestamps(format: str) -> str:
    """Return one of FORMATS. Raises InputError if `format` is not one of them."""
    name = format.lower().lstrip(".")
    if name not in FORMATS:
        raise InputError(
            f"timestamps '{format}': unknown format; {nearest(name, FORMATS)}", code="unknown_name"
        )
    return name


def aligned_words(text: str, ends: np.ndarray, written: Sequence[Token]) -> list[Word]:
    """Return the words of a text that was aligned with its audio.

    Args:
        text: the normalised text.
        ends: [U] the end of every character in seconds.
        written: the token that each spoken word is written in.

    """
    words = []
    pairs = zip(written, word_spans(text), strict=False)
    for token, group in groupby(pairs, key=lambda pair: pair[0]):
        spans = [span for _, span in group]
        first, last = spans[0][0], spans[-1][1] - 1
        start = float(ends[first - 1]) if first else 0.0
        words.append(Word(token.text, round(start, 3), round(float(ends[last]), 3)))
    return words


def phrases(words: Sequence[Word]) -> Iterator[Word]:
    """Join words to phrases: up to `CUE_CHARACTERS`, a pause, or the end of a sentence."""
    phrase: Word | None = None
    for word in words:
        if phrase is not None and _continues(phrase, word):
            phrase = Word(f"{phrase.text} {word.text}", phrase.start, word.end)
            continue
        if phrase is not None:
            yield phrase
        phrase = word
    if phrase is not None:
        yield phrase


def _continues(phrase: Word, word: Word) -> bool:
    fits = len(phrase.text) + 1 + len(word.text) <= CUE_CHARACTERS
    ended = phrase.text.rstrip(_QUOTES)[-1:] in tuple(".?!\u2026")
    pause = word.start - phrase.end
    return fits and pause < CUE_PAUSE and not (ended and pause > 0.1)


def _json(words: Sequence[Word]) -> str:
    rows = [{"word": w.text, "start": round(w.start, 3), "end": round(w.end, 3)} for w in words]
    return json.dumps({"words": rows}, indent=1, ensure_ascii=False) + "\n"


def _srt(words: Sequence[Word]) -> str:
    return "\n".join(
        f"{number}\n{_cue(phrase, ',', str)}"
        for number, phrase in enumerate(phrases(words), start=1)
    )


def _vtt(words: Sequence[Word]) -> str:
    def escape(text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    return "\n".join(["WEBVTT\n", *(_cue(phrase, ".", escape) for phrase in phrases(words))])


def _cue(phrase: Word, point: str, escape: Callable[[str], str]) -> str:
    start, end = (_clock(seconds, point) for seconds in (phrase.start, phrase.end))
    return f"{start} --> {end}\n{escape(phrase.text)}\n"


def _clock(seconds: float, point: str) -> str:
    """Format 3725.5 as "01:02:05,500", with `point` before the milliseconds."""
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
