"""The output of one answer: its text and audio as events, paced and cancellable."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np

from vocalmtp.chat.audio_io import Playback
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.events import (
    AudioChunk,
    Error,
    Event,
    FailureCode,
    Part,
    SpokenWord,
    TextDelta,
    Thinking,
    Timing,
    ToolCalled,
)
from vocalmtp.chat.history import ToolCall

PLAYED = 0.05  # seconds: a word that ends so soon counts as played
POLL = 0.05  # seconds between two checks how far the audio is ahead of playback

APOLOGIES: dict[FailureCode, str] = {  # spoken when an answer fails
    "llm_unreachable": "Sorry, I cannot reach my language model.",
    "llm_timeout": "Sorry, my language model is too slow at the moment.",
    "llm_failed": "Sorry, something went wrong with my language model.",
    "not_understood": "Sorry, I did not understand that.",
}


class Cancelled(Exception):
    """The answer is no longer wanted: its producer must not catch this."""


class AnswerError(Exception):
    """The answer, or the rest of it, cannot be given.

    Args:
        message: for the user to read.
        code: the kind of failure, which selects the spoken apology.

    """

    def __init__(self, message: str, code: FailureCode):
        super().__init__(message)
        self.code: FailureCode = code


class AnswerSink(Protocol):
    """Receives one answer, from any thread; all methods raise Cancelled once it is cancelled.

    Attributes:
        max_chars: characters of text after which the producer should stop.
        live: latency matters, as the answer is played while it is made.
        tools: functions that the language model may call, in the form of OpenAI's chat completions.
        think_seconds: how long it may think; None for no limit.

    """

    max_chars: int
    live: bool
    tools: Sequence[dict[str, Any]]
    think_seconds: float | None

    def text(self, delta: str) -> None:
        """Show the next piece of the answer's text."""

    def audio(self, samples: np.ndarray, sample_rate: int, words: list[SpokenWord]) -> None:
        """Play the next samples [N]; blocks while enough audio is ahead of playback.

        Args:
            samples: float32 [N].
            sample_rate: Hz.
            words: their times count from the start of the answer's audio.

        """

    def thought(self, text: str) -> None:
        """Report the next piece of the thoughts before the answer."""

    def call(self, call: ToolCall) -> None:
        """Call a function of the client, whose result follows in a later message."""

    def error(self, code: FailureCode, message: str) -> None:
        """Report a failure to the user."""

    def mark(self, part: Part) -> None:
        """Record the latency of a part that has just been completed."""

    def on_cancel(self, action: Callable[[], object]) -> AbstractContextManager[None]:
        """Return a context within which cancelling the answer calls `action`."""
        ...


class TextSink:
    """What a language model uses of an `AnswerSink`, for an answer that is text alone.

    Args:
        max_chars: see `AnswerSink`.
        live: see `AnswerSink`.

    """

    tools: Sequence[dict[str, Any]] = ()
    think_seconds: float | None = None

    def __init__(self, max_chars: int, live: bool):
        self.max_chars, self.live = max_chars, live
        self._actions: list[Callable[[], object]] = []

    def thought(self, text: str) -> None:
        """Drop a piece of thoughts."""

    @contextmanager
    def on_cancel(self, action: Callable[[], object]) -> Iterator[None]:
        """Call `action` if the answer is cancelled inside the block."""
        self._actions.append(action)
        try:
            yield
        finally:
            self._actions.remove(action)

    def cancel(self) -> None:
        """Cancel the answer."""
        for action in list(self._actions):
            action()


class AnswerStream:
    """The `AnswerSink` of a session, which emits events in order until it is cancelled.

    Args:
        turn: the number of the turn that is answered.
        config: the session's settings.
        emit: called with every event.
        lock: the session's lock, which orders events.
        clock: the session's clock.
        elapsed: seconds since the user's turn ended.
        tools: functions that may be called.

    """

    def __init__(
        self,
        turn: int,
        config: ChatConfig,
        emit: Callable[[Event], None],
        lock: threading.RLock,
        clock: Callable[[], float],
        elapsed: float,
        tools: Sequence[dict[str, Any]] = (),
    ):
        self.turn, self.max_chars, self.tools = turn, config.max_answer_chars, tools
        self.calls: list[ToolCall] = []
        self.live = config.max_lead is not None
        self.think_seconds, self._show_thoughts = config.think_seconds, config.show_thoughts
        self._thinking = False  # that is known to the user
        self.cancelled = False
        self.finished = False  # all of it was emitted
        self.full_text = ""
        self.playback: Playback | None = None  # None before the first audio
        self._words: list[SpokenWord] = []
        self._max_lead, self._emit, self._lock, self._clock = config.max_lead, emit, lock, clock
        self._begin, self._elapsed = time.perf_counter(), elapsed
        self._marks: set[Part] = set()
        self._stop = threading.Event()
        self._actions: list[Callable[[], object]] = []

    # -- for the responder ---------------------------------------------------------------------

    def text(self, delta: str) -> None:
        """Emit a piece of text."""
        with self._active():
            if delta:
                self.mark("first_text")
                self.full_text += delta
                self._emit(TextDelta(self.turn, delta))

    def audio(self, samples: np.ndarray, sample_rate: int, words: list[SpokenWord]) -> None:
        """Emit samples [N], see `AnswerSink`."""
        while self._max_lead is not None and self._lead() > self._max_lead:
            self._stop.wait(POLL)
        with self._active():
            if self.playback is None:
                self.playback = Playback(sample_rate)
            start = self.playback.seconds
            self.playback.add(samples, self._clock())
            self._words += words
            self._emit(AudioChunk(self.turn, samples, sample_rate, start, tuple(words)))
            if len(samples) and "first_audio" not in self._marks:
                self.mark("first_audio")
                total = time.perf_counter() - self._begin + self._elapsed
                self._emit(Timing(self.turn, "total", total))

    def thought(self, text: str) -> None:
        """Emit a piece of thoughts; only the first one, without its text, if they are not shown."""
        with self._active():
            if self._show_thoughts or not self._thinking:
                self._thinking = True
                self._emit(Thinking(self.turn, text if self._show_thoughts else ""))

    def call(self, call: ToolCall) -> None:
        """Emit a function call."""
        with self._active():
            self.calls.append(call)
            self._emit(ToolCalled(self.turn, call))

    def error(self, code: FailureCode, message: str) -> None:
        """Emit a failure."""
        with self._active():
            self._emit(Error(self.turn, code, message))

    def mark(self, part: Part) -> None:
        """Emit the latency of a part, once."""
        with self._active():
            if part not in self._marks:
                self._marks.add(part)
                self._emit(Timing(self.turn, part, time.perf_counter() - self._begin))

    @contextmanager
    def on_cancel(self, action: Callable[[], object]) -> Iterator[None]:
        """Within the context, cancelling calls `action`; at once if it is cancelled already."""
        with self._lock:
            self._actions.append(action)
            if self.cancelled:
                action()
        try:
            yield
        finally:
            with self._lock:
                self._actions.remove(action)

    # -- for the session, which holds the lock -------------------------------------------------

    @property
    def seconds(self) -> float:
        """Duration of the audio so far."""
        return 0.0 if self.playback is None else self.playback.seconds

    def is_over(self, now: float) -> bool:
        """Return whether all of it was emitted and played."""
        return self.finished and not (self.playback and self.playback.is_playing(now))

    def report_playback(self, seconds: float, now: float) -> None:
        """Set the position that the player has reported."""
        if self.playback is not None:
            self.playback.report(seconds, now)

    def cancel(self, now: float) -> tuple[str, float]:
        """Emit nothing more; return the text that was played, and the seconds."""
        self.cancelled = True
        self._stop.set()
        for action in self._actions:
            action()
        if self.playback is None:
            return "", 0.0
        position = self.playback.position(now)
        return self.text_until(position), position

    def text_until(self, seconds: float) -> str:
        """Return the text whose words end within so many seconds of the audio."""
        ends = [word.span[1] for word in self._words if word.end <= seconds + PLAYED]
        return self.full_text[: max(ends, default=0)].strip()

    def _lead(self) -> float:
        """Seconds of audio ahead of playback; 0 once it is cancelled."""
        with self._lock:
            if self.cancelled or self.playback is None:
                return 0.0
            return self.playback.seconds - self.playback.position(self._clock())

    @contextmanager
    def _active(self) -> Iterator[None]:
        """Hold the lock; raises Cancelled if the answer is cancelled."""
        with self._lock:
            if self.cancelled:
                raise Cancelled
            yield
