"""The events of a conversation. `turn` counts the user's turns, and their answers, from 1."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from vocalmtp.chat.history import ToolCall


@dataclass(frozen=True)
class Event:
    """Base class of all events."""

    @property
    def kind(self) -> str:
        """The name of the event in JSON: the class's name in snake case."""
        name = type(self).__name__
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


@dataclass(frozen=True)
class Listening(Event):
    """The session waits for the user: at the beginning, and after noise or an empty transcript.

    Partial transcripts of a turn that was noise are void.
    """


@dataclass(frozen=True)
class SpeechStarted(Event):
    """A turn of the user has begun, `start` seconds after the session's audio input."""

    turn: int
    start: float


@dataclass(frozen=True)
class SpeechEnded(Event):
    """A turn of the user has ended.

    Attributes:
        seconds: its duration.
        end: seconds of the session's audio input until then.

    """

    turn: int
    seconds: float
    end: float


@dataclass(frozen=True)
class Transcript(Event):
    """The transcript of a turn, so far or `final`; a final one is empty if nothing was recognized."""

    turn: int
    text: str
    final: bool


@dataclass(frozen=True)
class Thinking(Event):
    """The language model is thinking about its answer.

    Attributes:
        text: the next piece of its thoughts, if they are shown; else "", in one event an answer.

    """

    turn: int
    text: str


@dataclass(frozen=True)
class TextDelta(Event):
    """The next piece of an answer's text."""

    turn: int
    text: str


@dataclass(frozen=True)
class ToolCalled(Event):
    """An answer calls a function of the client; its result is added to the history."""

    turn: int
    call: ToolCall


@dataclass(frozen=True)
class SpokenWord:
    """A word of an answer: seconds from the start of its audio, and its position in its text."""

    text: str
    start: float
    end: float
    span: tuple[int, int]  # characters of the answer's text: first, end


@dataclass(frozen=True)
class AudioChunk(Event):
    """The next piece of an answer's audio.

    Attributes:
        samples: float32 [N].
        start: seconds from the start of the answer's audio.
        words: the words whose end times are known since this chunk; they may begin before it.

    """

    turn: int
    samples: np.ndarray = field(repr=False)
    sample_rate: int
    start: float
    words: tuple[SpokenWord, ...] = ()


@dataclass(frozen=True)
class Finished(Event):
    """All of an answer has been emitted; it may still be playing.

    Attributes:
        text: the complete answer.
        seconds: duration of its audio.

    """

    turn: int
    text: str
    seconds: float


@dataclass(frozen=True)
class Interrupted(Event):
    """An answer was interrupted: audio that has not been played must be discarded.

    Attributes:
        played_text: the beginning of the answer's text, up to the last word that was played.
        seconds: the audio that was played.

    """

    turn: int
    played_text: str
    seconds: float


FailureCode = Literal[
    "llm_unreachable",  # no connection to the endpoint
    "llm_timeout",  # no answer in time
    "llm_failed",  # an error, an incomplete or an invalid answer
    "recognition_failed",  # the recognizer raised an error
    "not_understood",  # the turn has no recognizable speech
    "synthesis_failed",  # a clause could not be spoken and was left out
    "answer_failed",  # another error of the responder
    "invalid_message",  # of a client, on a server
]


@dataclass(frozen=True)
class Error(Event):
    """A failure, with a message for the user; the session continues."""

    turn: int
    code: FailureCode
    message: str


Part = Literal["silence", "recognition", "first_text", "first_clause", "first_audio", "total"]


@dataclass(frozen=True)
class Timing(Event):
    """The latency of one part of an answer, in seconds.

    silence: the silence after which the turn counted as ended. recognition: from then to the final
    transcript. first_text, first_clause, first_audio: from the final transcript to the first piece
    of text, the first clause that can be spoken, and its first audio. total: from the end of the
    turn (without the silence) to the first audio.
    """

    turn: int
    part: Part
    seconds: float
