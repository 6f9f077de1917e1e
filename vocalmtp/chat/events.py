"""What a conversation reports. `turn` counts the user's turns, and the answers to them, from 1."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Event:
    """Base of all events; `kind` names it in JSON."""

    @property
    def kind(self) -> str:
        """The class's name in lower case, its words joined by underscores."""
        name = type(self).__name__
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


@dataclass(frozen=True)
class Listening(Event):
    """Waiting for the user: at the beginning, and after a sound that was no speech.

    What was transcribed of such a sound is to be forgotten.
    """


@dataclass(frozen=True)
class SpeechStarted(Event):
    """The user has begun to speak."""

    turn: int


@dataclass(frozen=True)
class SpeechEnded(Event):
    """The user's turn is over, after so many seconds of it."""

    turn: int
    seconds: float


@dataclass(frozen=True)
class Transcript(Event):
    """What the user said, so far or in all; a `final` empty one was nothing that was understood."""

    turn: int
    text: str
    final: bool


@dataclass(frozen=True)
class TextDelta(Event):
    """A piece of the answer's text."""

    turn: int
    text: str


@dataclass(frozen=True)
class SpokenWord:
    """A word of the answer: seconds from the start of its audio, and its place in its text."""

    text: str
    start: float
    end: float
    place: tuple[int, int]  # characters of the answer's text: first, end


@dataclass(frozen=True)
class AudioChunk(Event):
    """A piece of the answer's audio: float32 [N], `start` seconds after the answer's first sound.

    `words` are those whose ends became known with it; they may begin before it.
    """

    turn: int
    samples: np.ndarray = field(repr=False)
    sample_rate: int
    start: float
    words: tuple[SpokenWord, ...] = ()


@dataclass(frozen=True)
class Finished(Event):
    """The answer has been handed out whole; it may still be sounding."""

    turn: int
    text: str
    seconds: float


@dataclass(frozen=True)
class Interrupted(Event):
    """The answer was broken off: drop what has not sounded yet.

    `heard` is the start of its text up to the last word that sounded, `seconds` of audio.
    """

    turn: int
    heard: str
    seconds: float


@dataclass(frozen=True)
class Error(Event):
    """Something went wrong, in words for the user; the session goes on."""

    turn: int
    message: str


Part = Literal["silence", "ear", "first_text", "first_clause", "first_audio", "total"]


@dataclass(frozen=True)
class Timing(Event):
    """How long a part of an answer's way took, in seconds.

    silence: that was waited for, to know that the turn is over. ear: from then to the final
    transcript. first_text, first_clause (of text to say), first_audio: each from the final
    transcript. total: from the end of the user's turn (silence not included) to the first audio.
    """

    turn: int
    part: Part
    seconds: float
