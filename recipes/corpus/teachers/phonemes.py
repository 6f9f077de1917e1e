"""English phonemes for the neural teachers, and phone times from their duration networks.

hibari and Kokoro share one interface: a string of IPA characters in misaki's conventions, one
token a character between two padding tokens, and a predicted duration of every token in units of
25 ms. The text-to-phoneme conversion is hibari's (lexicon, tagger and a network for unknown words).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from teachers import PAUSE, RATE, Misread, Speech, TeacherMissing, Word

INSTALL = "pip install hibari-tts==0.2.1 onnx scipy"
UNIT = 600  # samples of one unit of duration
LEAD = 1200  # samples by which the sound is ahead of the predicted durations: 50 ms, measured
FRAME = 120  # samples of a frame of the silence detector: 5 ms
SILENCE_DB = -42.0  # frames below this level, relative to the loudest frame, are silent
SHORTEST_PAUSE = 0.040  # seconds
HEAD, TAIL = 0.060, 0.120  # seconds of silence kept before the first phone and after the last

# misaki's American phonemes in CMUdict's phone set, as flite has it.
PHONES = {
    **{"A": "ey", "I": "ay", "O": "ow", "W": "aw", "Y": "oy", "ᵊ": "ax", "ə": "ax", "ɐ": "ax"},
    **{"ɑ": "aa", "æ": "ae", "ʌ": "ah", "ɔ": "ao", "ɛ": "eh", "ɜ": "er", "ɪ": "ih", "ᵻ": "ih"},
    **{"i": "iy", "ʊ": "uh", "u": "uw", "ʧ": "ch", "ʤ": "jh", "ð": "dh", "θ": "th", "ɡ": "g"},
    **{"h": "hh", "j": "y", "ŋ": "ng", "ɹ": "r", "ʃ": "sh", "ʒ": "zh", "T": "t", "ɾ": "t"},
    **{phone: phone for phone in "bdfklmnpstvwz"},
}
STRESS = "ˈˌ"
MARKS = ".,?!;:"


@dataclass(frozen=True)
class Reading:
    """A text as phonemes: one entry a phoneme character, with its word's index (-1: none)."""

    phonemes: str
    owners: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]  # of each word: the places of its letters in the text


class Phonemizer:
    """Text in normal form to phonemes of a teacher's vocabulary."""

    def __init__(self, vocabulary: dict[str, int]) -> None:
        self._vocabulary = vocabulary

    @cached_property
    def _g2p(self) -> Any:
        try:
            from hibari.g2p import G2P
        except ImportError as error:
            raise TeacherMissing(f"hibari is not installed; run: {INSTALL}") from error
        return G2P()

    def read(self, text: str) -> Reading:
        """Convert a text. Raises ``Misread`` if a word has no phonemes."""
        spelled = restore_case(text)
        tokens = self._g2p.phonemize_tokens(self._g2p.tokenize(spelled))
        if "".join(token.text + token.whitespace for token in tokens).strip() != spelled:
            raise Misread(f"the phonemizer split {text!r} into other words")
        characters: list[str] = []
        owners: list[int] = []
        words: list[tuple[int, ...]] = []
        begin = 0
        for token in tokens:
            places = tuple(i for i in range(begin, begin + len(token.text)) if text[i].isalpha())
            begin += len(token.text) + len(token.whitespace)
            known = [c for c in token.phonemes or "" if c in self._vocabulary]
            if places:
                if not any(c in PHONES for c in known):
                    raise Misread(f"no phonemes for {token.text!r}")
                words.append(places)
            characters += known
            # A space inside a word's phonemes has no owner, as one between words.
            owners += [len(words) - 1 if places and c != " " else -1 for c in known]
            if token.whitespace:
                characters.append(" ")
                owners.append(-1)
        return Reading("".join(characters), tuple(owners), tuple(words))

    def ids(self, reading: Reading) -> np.ndarray:
        """Token ids with the padding tokens, int64 of shape [1, tokens]."""
        return np.array([[0, *(self._vocabulary[c] for c in reading.phonemes), 0]], np.int64)

    def pronounce(self, text: str) -> list[tuple[str, tuple[str, ...]]]:
        """Pairs of spelling and phones of every word."""
        reading = self.read(text)
        segments = _segments(reading, np.arange(len(reading.phonemes) + 3) * UNIT)
        return [
            (
                "".join(text[place] for place in places),
                tuple(s.phone for s in segments if s.owner == index),
            )
            for index, places in enumerate(reading.places)
        ]


def restore_case(text: str) -> str:
    """Upper case for the pronoun I and for the first letter of every sentence."""
    text = re.sub(r"\bi\b", "I", text)
    return re.sub(r"(?:^|(?<=[.?!] ))[a-z]", lambda match: match[0].upper(), text)


@dataclass
class _Segment:
    phone: str
    start: float  # samples
    end: float
    owner: int
    pause_after: float = 0.0  # samples of marks and spaces that follow


def _segments(reading: Reading, bounds: np.ndarray) -> list[_Segment]:
    """Phones with their predicted times; ``bounds`` [tokens + 1] are the tokens' limits in samples.

    A stress mark belongs to the vowel after it; ``əɹ`` and ``ɜɹ`` are one phone; a space between
    words belongs half to each side; marks are kept as the time of a possible pause.
    """
    segments: list[_Segment] = []
    opened: float | None = None  # the start of stress marks or of a half space before a phone
    after_mark = False
    for index, (character, owner) in enumerate(zip(reading.phonemes, reading.owners, strict=True)):
        start, end = float(bounds[index + 1]), float(bounds[index + 2])
        if character in PHONES:
            start, opened = (start if opened is None else opened), None
            after_mark = False
            last = segments[-1] if segments else None
            if (
                character == "ɹ"
                and last
                and last.owner == owner
                and last.phone in ("er", "ax")
                and reading.phonemes[index - 1] in "ɜə"
            ):
                last.phone, last.end = "er", end
            else:
                segments.append(_Segment(PHONES[character], start, end, owner))
        elif character in STRESS:
            opened = start if opened is None else opened
        elif not segments:
            continue
        elif character in MARKS or (character == " " and after_mark):
            segments[-1].pause_after += end - start
            after_mark = True
        elif character == " " and index + 1 < len(reading.phonemes):
            segments[-1].end = opened = (start + end) / 2
        else:
            segments[-1].end = end
    return segments


def timed_speech(samples: np.ndarray, reading: Reading, durations: Sequence[int]) -> Speech:
    """Speech with phone times from predicted durations, and pauses from the signal.

    The networks give the silence before a mark to the phone before it, so a phone at a mark ends
    where the longest silence around the mark begins.

    Args:
        samples: float32 [samples].
        reading: What was spoken.
        durations: Units of 25 ms of every token, padding included.
    """
    bounds = np.concatenate([[0], np.cumsum(np.asarray(durations).ravel())]) * UNIT
    bounds = np.maximum(bounds - LEAD, 0)
    if len(bounds) != len(reading.phonemes) + 3:
        raise ValueError("durations do not match the phonemes")
    silent = silent_frames(samples)
    segments = _segments(reading, bounds)
    if not segments or silent.all():
        raise Misread("the teacher was silent")
    loud = np.flatnonzero(~silent)
    segments[0].start = min(loud[0] * FRAME, segments[0].end - UNIT / 2)
    phones: list[str] = []
    ends: list[float] = []
    firsts: dict[int, list[int]] = {}
    for index, segment in enumerate(segments):
        following = segments[index + 1] if index + 1 < len(segments) else None
        limit = following.end - UNIT / 2 if following else len(samples)
        pause = None
        if following is None:
            segment.end = min(max((loud[-1] + 1) * FRAME, segment.start + UNIT / 2), len(samples))
        elif segment.pause_after:
            pause = longest_silence(silent, segment.start + UNIT / 2, limit)
            if pause is None:
                middle = segment.end + segment.pause_after / 2
                segment.end = following.start = middle
            else:
                segment.end, following.start = pause
        firsts.setdefault(segment.owner, []).append(len(phones))
        phones.append(segment.phone)
        ends.append(segment.end / RATE)
        if pause is not None:
            phones.append(PAUSE)
            ends.append(pause[1] / RATE)
    words = tuple(
        Word(reading.places[owner], indices[0], indices[-1] + 1)
        for owner, indices in sorted(firsts.items())
    )
    start = max(0, round(segments[0].start - HEAD * RATE))
    stop = min(len(samples), round(segments[-1].end + TAIL * RATE))
    kept = (stop - start) / RATE
    times = np.maximum.accumulate(np.clip(np.array(ends) - start / RATE, 0.0, kept))
    if segments[0].start - start > 0:
        phones, times = [PAUSE, *phones], np.array([(segments[0].start - start) / RATE, *times])
        words = tuple(Word(w.places, w.first + 1, w.last + 1) for w in words)
    phones, times = [*phones, PAUSE], np.array([*times, kept])
    return Speech(samples[start:stop], tuple(phones), tuple(map(float, times)), words)


def silent_frames(samples: np.ndarray) -> np.ndarray:
    """Whether each frame of 5 ms is silent, bool [frames]."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.convolve((frames.astype(np.float64) ** 2).mean(1), np.ones(3) / 3, "same")
    return power < max(power.max(), 1e-12) * 10 ** (SILENCE_DB / 10)


def longest_silence(silent: np.ndarray, start: float, stop: float) -> tuple[float, float] | None:
    """The longest silent stretch of at least ``SHORTEST_PAUSE`` in a range of samples."""
    first = int(start // FRAME)
    edges = np.flatnonzero(
        np.diff(np.concatenate([[0], silent[first : int(stop // FRAME)].astype(int), [0]]))
    ).reshape(-1, 2)
    if not len(edges):
        return None
    begin, end = edges[np.argmax(edges[:, 1] - edges[:, 0])] + first
    if (end - begin) * FRAME < SHORTEST_PAUSE * RATE:
        return None
    return float(begin * FRAME), float(end * FRAME)
