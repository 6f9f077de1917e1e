"""A conversation through the microphone and loudspeaker of this machine."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from vocalmtp.audio.playback import sounddevice
from vocalmtp.chat.events import AudioChunk, Event, Interrupted
from vocalmtp.chat.session import ChatSession
from vocalmtp.errors import InputError
from vocalmtp.io.read import reason

BLOCK = 0.032  # seconds of the microphone in one read


class Player:
    """A queue of audio between the session's events and the callback of the loudspeaker."""

    def __init__(self, sample_rate: int):
        self._sample_rate = sample_rate
        self._lock = threading.Lock()
        self._queue = np.zeros(0, np.float32)
        self._turn = 0
        self._played = 0  # samples of that turn's answer

    @property
    def seconds(self) -> float:
        """The audio of the last answer that has been played."""
        return self._played / self._sample_rate

    def push(self, chunk: AudioChunk) -> None:
        """Append audio; a new answer replaces the one before."""
        with self._lock:
            if chunk.turn != self._turn:
                self._turn, self._played = chunk.turn, 0
                self._queue = self._queue[:0]
            self._queue = np.concatenate([self._queue, chunk.samples])

    def clear(self) -> None:
        """Discard audio that has not been played."""
        with self._lock:
            self._queue = self._queue[:0]

    def fill(self, out: np.ndarray) -> None:
        """Write the next samples into `out` [N, 1], and silence after the last one."""
        with self._lock:
            ready, self._queue = self._queue[: len(out)], self._queue[len(out) :]
            self._played += len(ready)
        out[: len(ready), 0], out[len(ready) :] = ready, 0.0


def run_terminal(session: ChatSession, sample_rate: int, show: Callable[[Event], object]) -> None:
    """Hold a conversation until the session is closed.

    Args:
        session: the conversation; it is closed at the end.
        sample_rate: of the answers, in Hz.
        show: called with every event.

    Raises:
        InputError: no microphone or loudspeaker can be used, the microphone fails, or the package
            sounddevice is missing.

    """
    devices = sounddevice()
    player = Player(sample_rate)
    try:
        rate = int(devices.query_devices(kind="input")["default_samplerate"])
        microphone = devices.InputStream(
            rate, round(BLOCK * rate), channels=1, dtype="float32", latency="low"
        )
        loudspeaker = devices.OutputStream(
            sample_rate,
            channels=1,
            dtype="float32",
            latency="low",
            callback=lambda out, *_: player.fill(out),
        )
    except (devices.PortAudioError, ValueError) as error:
        raise InputError(
            f"terminal: no microphone or loudspeaker can be used ({error}); connect one, or give "
            "--input and --output",
            code="unusable",
        ) from error
    errors: list[Exception] = []
    with microphone, loudspeaker, session:
        arguments = (session, microphone, rate, player, errors)
        threading.Thread(target=_feed, args=arguments, daemon=True).start()
        session.greet()
        for event in session.events():
            if isinstance(event, AudioChunk):
                player.push(event)
            elif isinstance(event, Interrupted):
                player.clear()
            show(event)
    if errors:
        raise InputError(
            f"terminal: the microphone stopped ({reason(errors[0])}); connect it again",
            code="unusable",
        ) from errors[0]


def _feed(
    session: ChatSession, microphone: Any, rate: int, player: Player, errors: list[Exception]
) -> None:
    """Feed the session, and report playback, until it is closed.

    Runs in a thread; an exception closes the session and is appended to `errors`.
    """
    try:
        while not session.closed:
            samples, _ = microphone.read(round(BLOCK * rate))  # [n, 1]
            session.report_playback(player.seconds)
            session.feed(samples, rate)
    except Exception as error:
        if not session.closed:
            errors.append(error)
            session.close()
