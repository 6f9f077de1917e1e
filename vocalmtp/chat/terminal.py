"""A conversation in the terminal, through the microphone and loudspeaker of this machine."""

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from vocalmtp.chat.events import AudioChunk, Event, Interrupted
from vocalmtp.chat.session import ChatSession
from vocalmtp.errors import InputError
from vocalmtp.io.read import reason
from vocalmtp.optional import require

BLOCK = 0.032  # seconds of the microphone at once


class Player:
    """The sound that is still to be played; filled by one thread, emptied by the loudspeaker's."""

    def __init__(self, sample_rate: int):
        self._sample_rate = sample_rate
        self._lock = threading.Lock()
        self._waiting = np.zeros(0, np.float32)
        self._turn = 0
        self._played = 0  # samples of that turn's answer

    @property
    def seconds(self) -> float:
        """What has been played of the last answer."""
        return self._played / self._sample_rate

    def push(self, chunk: AudioChunk) -> None:
        """Play this after the rest; a new answer takes the place of the one before."""
        with self._lock:
            if chunk.turn != self._turn:
                self._turn, self._played = chunk.turn, 0
                self._waiting = self._waiting[:0]
            self._waiting = np.concatenate([self._waiting, chunk.samples])

    def drop(self) -> None:
        """Play nothing of what is waiting."""
        with self._lock:
            self._waiting = self._waiting[:0]

    def fill(self, out: np.ndarray) -> None:
        """The next samples into `out` [N, 1], with silence where there are none."""
        with self._lock:
            ready, self._waiting = self._waiting[: len(out)], self._waiting[len(out) :]
            self._played += len(ready)
        out[: len(ready), 0], out[len(ready) :] = ready, 0.0


def talk(session: ChatSession, sample_rate: int, show: Callable[[Event], object]) -> None:
    """Hold the conversation until it is closed; `show` is given every event.

    `sample_rate` is that of the answers. Raises InputError if there is no microphone or
    loudspeaker, it stops, or sounddevice is missing.
    """
    devices = _devices()
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
            code="invalid_value",
        ) from error
    wrong: list[Exception] = []
    with microphone, loudspeaker, session:
        arguments = (session, microphone, rate, player, wrong)
        threading.Thread(target=_feed, args=arguments, daemon=True).start()
        session.greet()
        for event in session.events():
            if isinstance(event, AudioChunk):
                player.push(event)
            elif isinstance(event, Interrupted):
                player.drop()
            show(event)
    if wrong:
        raise InputError(
            f"terminal: the microphone stopped ({reason(wrong[0])}); connect it again",
            code="unusable",
        ) from wrong[0]


def _devices() -> ModuleType:
    try:
        return require("sounddevice")
    except OSError as error:  # it is there, but PortAudio is not
        raise InputError(
            f"terminal: {error}; install it, such as with: apt install libportaudio2",
            code="invalid_value",
        ) from error


def _feed(
    session: ChatSession, microphone: Any, rate: int, player: Player, wrong: list[Exception]
) -> None:
    """In a thread: what the microphone hears, and how far the player is; ends with the session, or
    ends it, and puts into `wrong` why.
    """
    try:
        while not session.closed:
            sound, _ = microphone.read(round(BLOCK * rate))  # [n, 1]
            session.played(player.seconds)
            session.feed(sound, rate)
    except Exception as error:
        if not session.closed:
            wrong.append(error)
            session.close()
