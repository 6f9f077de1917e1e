"""A conversation's parts without a model: a voice of tones, an ear that counts, a voice detector
that goes by loudness, a clock that is moved by hand.
"""

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from vocalmtp.audio.io import Audio, Word, join
from vocalmtp.chat.answer import AnswerError
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.events import Event
from vocalmtp.chat.responders import CascadeResponder
from vocalmtp.chat.session import ChatSession
from vocalmtp.roles import Role
from vocalmtp.server.state import ServerLimits, ServerState
from vocalmtp.text import normalize, word_spans

RATE = 16_000
QUESTION = "What is the capital of France?"
CLERK = Role(
    name="clerk", persona="You file.", voice="bob", greeting="Next!", origin="a tone", consent=""
)
WORD = 0.25  # seconds that a word of ToneTTS takes


class Clock:
    """Seconds, moved by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class ToneTTS:
    """Says every word as WORD seconds of a tone of its own, a chunk a word.

    `used` has the voice of every clause, `sought` what was not yet a voice when it was asked for.
    """

    def __init__(self):
        self.used: list[str] = []
        self.sought: list[str | Role | None] = []

    sample_rate = RATE
    has_word_times = True
    voices = {name: SimpleNamespace(name=name) for name in ("ann", "bob")}

    def find_voice(self, voice: str | Role | SimpleNamespace | None) -> SimpleNamespace:
        if isinstance(voice, SimpleNamespace):
            return voice
        self.sought.append(voice)
        return self.voices[voice.voice if isinstance(voice, Role) else voice or "ann"]

    def __call__(self, text: str, voice: str | None = None) -> Audio:
        return join(list(self.stream(text, voice)))

    def stream(self, text: str, voice: str | None = None, seed: int = 0) -> Iterator[Audio]:
        self.used.append(self.find_voice(voice).name)
        text = normalize(text)
        for first, end in word_spans(text):
            word = text[first:end]
            yield Audio(tone(WORD, 200 + len(word)), RATE, [Word(word, 0.0, WORD)])


class CountingEar:
    """Hears a tone of n tenths of a second, in all, as "n tenths"."""

    name = description = "counting"

    def open_stream(self) -> "CountingEar":
        hearing = CountingEar()
        hearing.count = 0
        return hearing

    def push(self, samples: np.ndarray) -> None:
        self.count += int((np.abs(samples) > 0.05).sum())

    def text(self, settled: bool = False) -> str:
        tenths = round(self.count / RATE * 11.9)  # the sine is below 0.05 for a sixth of the time
        return f"{tenths} tenths" if tenths else ""

    def close(self) -> None:
        pass


class ScriptedWriter:
    """Writes the pieces that it was given, and remembers what it was asked.

    A number is a wait in seconds, an exception is raised.
    """

    name = "scripted"

    def __init__(self, *pieces: str | float | Exception):
        self.pieces, self.asked = pieces, []

    def write(self, messages, out) -> Iterator[str]:
        self.asked.append([(message.role, message.content) for message in messages])
        stop = threading.Event()
        with out.on_cancel(stop.set):
            for piece in self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                if isinstance(piece, str):
                    yield piece
                else:
                    stop.wait(piece)

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def fake_room(*pieces: str | float | Exception, **limits) -> ServerState:
    """A room whose answers are `pieces` of text, or in the mode "other" are "Other."."""
    tts = ToneTTS()
    writers = {"llm": ScriptedWriter(*pieces or ("One two.",)), "other": ScriptedWriter("Other.")}
    answerers = {name: CascadeResponder(writer, tts) for name, writer in writers.items()}
    config, roles = ChatConfig(echo="off"), {"clerk": CLERK}
    return ServerState(tts, CountingEar(), answerers, config, ServerLimits(**limits), roles=roles)


def hear_by_loudness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put `loudness` in the place of the voice detector."""
    monkeypatch.setattr("vocalmtp.chat.session.VoiceActivityDetector.__init__", lambda self: None)
    monkeypatch.setattr("vocalmtp.chat.session.VoiceActivityDetector.__call__", loudness)


def broken(message: str = "no model there") -> AnswerError:
    return AnswerError(message, "Sorry, something broke.")


def loudness(self, frame: np.ndarray) -> float:
    """In place of VoiceActivityDetector.__call__."""
    return float(np.sqrt(np.mean(frame**2)) > 0.05)


def tone(seconds: float, hertz: float = 300.0, level: float = 0.2) -> np.ndarray:
    return (level * np.sin(np.arange(round(seconds * RATE)) * 2 * np.pi * hertz / RATE)).astype(
        np.float32
    )


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def say(session: ChatSession, seconds: float = 0.5, level: float = 0.2) -> None:
    """A user's turn of so many seconds, and the silence that ends it."""
    session.feed(np.concatenate([tone(seconds, level=level), silence(0.8)]))


def until(session: ChatSession, kind: str, count: int = 1, timeout: float = 20.0) -> list[Event]:
    """The events up to the `count`-th of that kind."""
    seen: list[Event] = []
    deadline = time.monotonic() + timeout
    for event in session.events(timeout):
        seen.append(event)
        count -= event.kind == kind
        if not count:
            return seen
        assert time.monotonic() < deadline, seen
    raise AssertionError(f"no {kind} in {seen}")


def kinds(events: list[Event]) -> list[str]:
    """The kinds of events but for timings, repetitions left out."""
    found: list[str] = []
    for event in events:
        if event.kind != "timing" and event.kind not in found[-1:]:
            found.append(event.kind)
    return found
