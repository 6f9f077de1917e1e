"""The user's turns: where they begin and end, and their transcription in a thread of its own."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Literal

import numpy as np

from vocalmtp.audio.vad import FRAME_SECONDS
from vocalmtp.chat.config import ChatConfig
from vocalmtp.recognizers.base import Recognizer, RecognizerStream

Signal = Literal["start", "pause", "resume", "end", "dropped"]
HYSTERESIS = 0.15  # within a turn, the threshold of speech is lower by so much


class TurnDetector:
    """Finds turns in the probabilities of speech of consecutive frames.

    A turn gives the signal "start", then "pause" and "resume" at short silences, and "end" at a
    long one, or "dropped" if it had too little speech.

    Attributes:
        silence: seconds since the last speech of the turn.
        length: seconds of the turn, that silence included.

    """

    def __init__(self, config: ChatConfig):
        self._config = config
        self._in_turn = False
        self._speech = 0.0  # seconds: consecutive before a turn, in total within one
        self.silence = 0.0
        self.length = 0.0

    def push(self, probability: float, answering: bool = False) -> Signal | None:
        """Process the next frame.

        Args:
            probability: of speech.
            answering: an answer is playing, so that the turn would interrupt it.

        """
        config = self._config
        onset = max(config.onset, config.barge_in) if answering else config.onset
        threshold = config.vad_threshold - (HYSTERESIS if self._in_turn else 0.0)
        speech = probability >= max(threshold, 0.01)
        if not self._in_turn:
            self._speech = self._speech + FRAME_SECONDS if speech else 0.0
            if self._speech < onset:
                return None
            self._in_turn, self.silence, self.length = True, 0.0, self._speech
            return "start"
        self.length += FRAME_SECONDS
        paused = self.silence >= config.pause
        self.silence = 0.0 if speech else self.silence + FRAME_SECONDS
        self._speech += FRAME_SECONDS if speech else 0.0
        if self.silence >= config.end_silence or self.length >= config.max_turn:
            enough = self._speech >= config.min_speech
            self._in_turn, self._speech = False, 0.0
            return "end" if enough else "dropped"
        if paused != (self.silence >= config.pause):
            return "resume" if paused else "pause"
        return None


@dataclass
class UserTurn:
    """A turn of the user while it is transcribed."""

    number: int
    start: float = 0.0  # seconds of input before it
    text: str = ""  # the transcript so far
    parts: list[np.ndarray] = field(default_factory=list)  # float32 [n] each
    stream: RecognizerStream | None = None  # None once it is closed
    failed: bool = False  # the recognizer raised an error
    dropped: bool = False  # the turn was noise

    @property
    def samples(self) -> np.ndarray:
        """The audio, float32 [N]."""
        return np.concatenate(self.parts)


@dataclass(frozen=True)
class _Command:
    action: Literal["push", "settle", "finish", "drop"]
    turn: UserTurn
    samples: np.ndarray | None = None
    time: float = field(default_factory=time.perf_counter)


class TranscriptionWorker:
    """Transcribes the turns of one session in order, so that audio input never waits.

    Args:
        recognizer: None for a responder that takes audio itself.
        on_transcript: called with a turn whose text has changed; at the end of the turn also with
            True and the seconds since its end. Both callbacks are called in the worker's thread.
        on_error: called with the number of a turn and the exception of the recognizer.

    """

    def __init__(
        self,
        recognizer: Recognizer | None,
        on_transcript: Callable[[UserTurn, bool, float], object],
        on_error: Callable[[int, Exception], object],
    ):
        self._recognizer = recognizer
        self._on_transcript, self._on_error = on_transcript, on_error
        self._commands: SimpleQueue[_Command | None] = SimpleQueue()

    def push(self, turn: UserTurn, samples: np.ndarray) -> None:
        """Append samples [n] to a turn."""
        self._commands.put(_Command("push", turn, samples))

    def settle(self, turn: UserTurn) -> None:
        """Request a transcript of all samples, as the user is silent."""
        self._commands.put(_Command("settle", turn))

    def finish(self, turn: UserTurn) -> None:
        """Request the final transcript."""
        self._commands.put(_Command("finish", turn))

    def drop(self, turn: UserTurn) -> None:
        """Discard a turn that was noise."""
        self._commands.put(_Command("drop", turn))

    def close(self) -> None:
        """Let `run` return after the commands before."""
        self._commands.put(None)

    def run(self) -> None:
        """Execute the commands until `close`."""
        turn = None
        while (command := self._commands.get()) is not None:
            turn = command.turn
            try:
                text = self._execute(command)
            except Exception as error:  # the session continues, whatever the recognizer raises
                turn.failed, turn.stream = True, None
                self._on_error(turn.number, error)
                text = turn.text
            final = command.action == "finish"
            if final or text != turn.text:
                turn.text = text
                self._on_transcript(turn, final, time.perf_counter() - command.time)
        if turn is not None and turn.stream is not None:
            turn.stream.close()

    def _execute(self, command: _Command) -> str:
        """Execute a command and return the transcript so far."""
        action, turn = command.action, command.turn
        if command.samples is not None:
            turn.parts.append(command.samples)
        if self._recognizer is None or turn.failed:
            return turn.text
        if turn.stream is None:
            turn.stream = self._recognizer.open_stream()
        if command.samples is not None:
            turn.stream.push(command.samples)
        text = turn.text
        # A partial transcript of a recognizer that lags behind would only delay it further.
        if action != "drop" and (action != "push" or self._commands.empty()):
            text = turn.stream.text(settled=action != "push")
        if action in ("finish", "drop"):
            turn.stream.close()
            turn.stream = None
        return text
