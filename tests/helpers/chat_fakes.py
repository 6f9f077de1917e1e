"""Parts of a conversation without models: TTS, LLM, recognizer, voice activity and clock."""

import threading
import time
from collections.abc import Generator, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from vocalmtp.audio.io import Audio, Word, join
from vocalmtp.chat.answer_stream import AnswerError
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.events import Event
from vocalmtp.chat.responders import CascadeResponder
from vocalmtp.chat.session import ChatSession
from vocalmtp.decoding.reading import TextReader
from vocalmtp.recognizers.base import Recognizer
from vocalmtp.roles import Role
from vocalmtp.server.state import ServerLimits, ServerState
from vocalmtp.text import normalize, word_spans
from vocalmtp.text.thinking import ThoughtFilter, limit_thoughts

RATE = 16_000
QUESTION = "What is the capital of France?"
CLERK = Role(
    name="clerk", persona="You file.", voice="bob", greeting="Next!", origin="a tone", consent=""
)
WORD = 0.25  # seconds of a word of ToneTTS


class Clock:
    """A clock that tests advance."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class ToneTTS:
    """Synthesizes every word as a tone of WORD seconds, one chunk a word.

    Attributes:
        used: the voice of every clause.
        resolved: the arguments of `find_voice` that were not voices yet.
    """

    sample_rate = RATE
    has_word_times = True
    reader = TextReader()
    voices = {name: SimpleNamespace(name=name) for name in ("ann", "bob")}

    def __init__(self) -> None:
        self.used: list[str] = []
        self.resolved: list[str | Role | None] = []

    def find_voice(self, voice: str | Role | SimpleNamespace | None) -> SimpleNamespace:
        if isinstance(voice, SimpleNamespace):
            return voice
        self.resolved.append(voice)
        return self.voices[voice.voice if isinstance(voice, Role) else voice or "ann"]

    def __call__(self, text: str, voice: str | None = None) -> Audio:
        return join(list(self.stream(text, voice)))

    def stream(self, text: str, voice: str | None = None, seed: int = 0) -> Iterator[Audio]:
        self.used.append(self.find_voice(voice).name)
        text = normalize(text)
        for first, end in word_spans(text):
            word = text[first:end]
            yield Audio(tone(WORD, 200 + len(word)), RATE, [Word(word, 0.0, WORD)])


class CountingRecognizer(Recognizer):
    """Transcribes n tenths of a second of tone as "n tenths"."""

    name = description = "counting"

    def transcribe(self, samples: np.ndarray) -> str:
        stream = self.open_stream()
        stream.push(samples)
        return stream.text()

    def open_stream(self) -> "CountingStream":
        return CountingStream()


class CountingStream:
    """One utterance of CountingRecognizer."""

    def __init__(self) -> None:
        self.count = 0

    def push(self, samples: np.ndarray) -> None:
        self.count += int((np.abs(samples) > 0.05).sum())

    def text(self, settled: bool = False) -> str:
        tenths = round(self.count / RATE * 11.9)  # a sine is below 0.05 for a sixth of the time
        return f"{tenths} tenths" if tenths else ""

    def close(self) -> None:
        pass


class ScriptedLLM:
    """Writes `pieces` of text; a number is a wait in seconds, an exception is raised.

    Attributes:
        requests: role and content of the messages of every request.
    """

    name = "scripted"

    def __init__(self, *pieces: str | float | Exception):
        self.pieces = pieces
        self.requests: list[list[tuple[str, str]]] = []

    def write(self, messages, out) -> Iterator[str]:
        self.requests.append([(message.role, message.content) for message in messages])
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

    def prepare(self, system: str) -> None:
        pass


class ThinkingLLM(ScriptedLLM):
    """Writes pieces of a reply with thoughts; goes on with "Six." from a given beginning."""

    def write(self, messages, out) -> Iterator[str]:
        def reply(beginning: str) -> Generator[str, None, None]:
            yield from ["Six."] if beginning else super(ThinkingLLM, self).write(messages, out)

        limited = limit_thoughts(reply, out.think_seconds)
        yield from ThoughtFilter().filter(limited, on_thought=out.thought)


def fake_server(*pieces: str | float | Exception, **limits) -> ServerState:
    """A server with two responders: "llm" writes `pieces`, "other" writes "Other."."""
    tts = ToneTTS()
    llms = {"llm": ScriptedLLM(*pieces or ("One two.",)), "other": ScriptedLLM("Other.")}
    responders = {name: CascadeResponder(tts, llm) for name, llm in llms.items()}
    config, roles = ChatConfig(echo="off"), {"clerk": CLERK}
    limit = ServerLimits(**limits)
    return ServerState(tts, CountingRecognizer(), responders, config, limit, roles=roles)


def detect_by_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace silero-vad by a threshold on the level."""
    place = "vocalmtp.chat.turn_input.VoiceActivityDetector"
    monkeypatch.setattr(f"{place}.__init__", lambda self: None)
    monkeypatch.setattr(f"{place}.__call__", speech_probability)


def speech_probability(self, frame: np.ndarray) -> float:
    """1.0 if the frame is loud, in place of VoiceActivityDetector.__call__."""
    return float(np.sqrt(np.mean(frame**2)) > 0.05)


def llm_failure(message: str = "no model there") -> AnswerError:
    return AnswerError(message, "llm_failed")


def tone(seconds: float, hertz: float = 300.0, level: float = 0.2) -> np.ndarray:
    return (level * np.sin(np.arange(round(seconds * RATE)) * 2 * np.pi * hertz / RATE)).astype(
        np.float32
    )


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def say(session: ChatSession, seconds: float = 0.5, level: float = 0.2) -> None:
    """Feed a turn of so many seconds, and the silence that ends it."""
    session.feed(np.concatenate([tone(seconds, level=level), silence(0.8)]))


def until(session: ChatSession, kind: str, count: int = 1, timeout: float = 60.0) -> list[Event]:
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
    """The kinds of events without timings and repetitions."""
    found: list[str] = []
    for event in events:
        if event.kind != "timing" and event.kind not in found[-1:]:
            found.append(event.kind)
    return found


def error_codes(events: list[Event]) -> list[str]:
    """The codes of the errors among events."""
    return [event.code for event in events if event.kind == "error"]
