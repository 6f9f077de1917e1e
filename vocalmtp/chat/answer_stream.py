"""An answer on its way out: its text, its audio, and what of it was heard."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from vocalmtp.chat.answer import Cancelled
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.events import AudioChunk, Error, Event, Part, SpokenWord, TextDelta, Timing
from vocalmtp.chat.playback import Playback

CLOSE = 0.05  # seconds: a word this near to its end was heard
NAP = 0.05  # seconds between looks at how far the audio is ahead


class AnswerStream:
    """The `answer.Outlet` of a session: everything leaves by `emit`, in order, until `cancel`.

    `late` seconds have gone since the user's turn ended.
    """

    def __init__(
        self,
        number: int,
        config: ChatConfig,
        emit: Callable[[Event], None],
        lock: threading.RLock,
        clock: Callable[[], float],
        late: float,
    ):
        self.number, self.longest = number, config.longest_answer
        self.cancelled = False
        self.finished = False  # all of it has left
        self.written = ""  # its text so far
        self.playback: Playback | None = None  # from the first audio on
        self._words: list[SpokenWord] = []
        self._ahead, self._emit, self._lock, self._clock = config.ahead, emit, lock, clock
        self._begin, self._late = time.perf_counter(), late
        self._marks: set[Part] = set()
        self._stop = threading.Event()
        self._actions: list[Callable[[], object]] = []

    # -- for who answers -----------------------------------------------------------------------

    def text(self, delta: str) -> None:
        with self._going():
            if delta:
                self.mark("first_text")
                self.written += delta
                self._emit(TextDelta(self.number, delta))

    def audio(self, samples: np.ndarray, sample_rate: int, words: list[SpokenWord]) -> None:
        while self._ahead is not None and self._lead() > self._ahead:
            self._stop.wait(NAP)
        with self._going():
            if self.playback is None:
                self.playback = Playback(sample_rate)
            start = self.playback.seconds
            self.playback.add(samples, self._clock())
            self._words += words
            self._emit(AudioChunk(self.number, samples, sample_rate, start, tuple(words)))
            if len(samples) and "first_audio" not in self._marks:
                self.mark("first_audio")
                total = time.perf_counter() - self._begin + self._late
                self._emit(Timing(self.number, "total", total))

    def failure(self, message: str) -> None:
        with self._going():
            self._emit(Error(self.number, message))

    def mark(self, part: Part) -> None:
        with self._going():
            if part not in self._marks:
                self._marks.add(part)
                self._emit(Timing(self.number, part, time.perf_counter() - self._begin))

    @contextmanager
    def on_cancel(self, action: Callable[[], object]) -> Iterator[None]:
        with self._lock:
            self._actions.append(action)
            if self.cancelled:
                action()
        try:
            yield
        finally:
            with self._lock:
                self._actions.remove(action)

    # -- for the session, under its lock -------------------------------------------------------

    @property
    def seconds(self) -> float:
        """The audio that has left."""
        return 0.0 if self.playback is None else self.playback.seconds

    def over(self, now: float) -> bool:
        """Whether all of it has left and sounded."""
        return self.finished and not (self.playback and self.playback.sounding(now))

    def played(self, seconds: float, now: float) -> None:
        """The player's report."""
        if self.playback is not None:
            self.playback.report(seconds, now)

    def cancel(self, now: float) -> tuple[str, float]:
        """Let nothing more out; the text up to the last word heard, and the seconds heard."""
        self.cancelled = True
        self._stop.set()
        for action in self._actions:
            action()
        if self.playback is None:
            return "", 0.0
        position = self.playback.position(now)
        heard = [word.place[1] for word in self._words if word.end <= position + CLOSE]
        return self.written[: max(heard, default=0)].strip(), position

    def _lead(self) -> float:
        """Seconds of audio that have not sounded yet; 0 when nobody wants them any more."""
        with self._lock:
            if self.cancelled or self.playback is None:
                return 0.0
            return self.playback.seconds - self.playback.position(self._clock())

    @contextmanager
    def _going(self) -> Iterator[None]:
        """Hold the lock; raise Cancelled if the answer is over."""
        with self._lock:
            if self.cancelled:
                raise Cancelled
            yield
