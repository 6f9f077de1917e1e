"""The user's turns in the audio input: found by voice activity, or ended on request."""

from collections import deque
from collections.abc import Callable

import numpy as np

from vocalmtp.audio.vad import FRAME_SECONDS, VoiceActivityDetector
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.turns import Signal, TranscriptionWorker, TurnDetector, UserTurn


class TurnInput:
    """Divides the audio input of one session into turns, and sends them to transcription.

    Args:
        config: the settings.
        worker: transcribes the turns.
        begin: called with the position where a turn begins; returns the turn.
        end: called with a turn that has ended, the position, and whether the turn was noise, before
            its transcription is finished.

    """

    def __init__(
        self,
        config: ChatConfig,
        worker: TranscriptionWorker,
        begin: Callable[[float], UserTurn],
        end: Callable[[UserTurn, float, bool], object],
    ):
        self._worker, self._begin, self._end = worker, begin, end
        self._speech_probability = VoiceActivityDetector()
        self._turn: UserTurn | None = None  # None between turns
        self._trailing: list[np.ndarray] = []  # silence that may be the end of the turn
        self._frames = 0
        self._apply(config)

    def configure(self, config: ChatConfig) -> None:
        """Change the settings; if they differ, a turn that has begun is dropped."""
        if config != self.config:
            self.drop_turn()
            self._apply(config)

    def _apply(self, config: ChatConfig) -> None:
        self.config, self._detector = config, TurnDetector(config)
        pre_roll = config.pre_roll + max(config.onset, config.barge_in)
        self._pre_roll: deque[np.ndarray] = deque(maxlen=round(pre_roll / FRAME_SECONDS) + 1)

    @property
    def seconds(self) -> float:
        """Duration of the input so far, by which positions are counted."""
        return self._frames * FRAME_SECONDS

    @property
    def silence(self) -> float:
        """Seconds since the last speech of the last turn."""
        return self._detector.silence

    def push(self, frame: np.ndarray, accepted: bool, answering: bool) -> None:
        """Process the next frame [FRAME].

        Args:
            frame: its samples.
            accepted: it may have the user's voice, and not the echo of an answer alone.
            answering: an answer is playing, which a turn would interrupt.

        """
        self._frames += 1
        if not self.config.detect_turns:
            if self._turn is None:
                self._turn = self._begin(self.seconds - FRAME_SECONDS)
            self._worker.push(self._turn, frame)
            return
        probability = self._speech_probability(frame)
        signal = self._detector.push(probability if accepted else 0.0, answering)
        if signal == "start":
            samples = np.concatenate([*self._pre_roll, frame])
            self._pre_roll.clear()
            self._turn = self._begin(self.seconds - len(samples) / len(frame) * FRAME_SECONDS)
            self._worker.push(self._turn, samples)
        elif self._turn is None:
            self._pre_roll.append(frame)
        else:
            self._continue(self._turn, frame, signal)

    def end_turn(self) -> bool:
        """End the turn now; return whether there was one."""
        turn, self._turn = self._turn, None
        if turn is None:
            return False
        self._finish(turn, dropped=False)
        return True

    def drop_turn(self) -> None:
        """Discard the turn that has begun, if there is one."""
        turn, self._turn = self._turn, None
        if turn is not None:
            self._finish(turn, dropped=True)

    def _continue(self, turn: UserTurn, frame: np.ndarray, signal: Signal | None) -> None:
        """Process a frame of a turn; after a pause, silence is transcribed only if speech follows."""
        if signal in ("end", "dropped"):
            self._turn = None
            self._pre_roll.extend(self._trailing)
            self._finish(turn, signal == "dropped")
            return
        if signal == "resume":
            self._worker.push(turn, np.concatenate(self._trailing))
            self._trailing.clear()
        if self._trailing:
            self._trailing.append(frame)
        else:
            self._worker.push(turn, frame)
        if signal == "pause":
            self._trailing.append(frame[:0])
            self._worker.settle(turn)

    def _finish(self, turn: UserTurn, dropped: bool) -> None:
        self._trailing.clear()
        self._end(turn, self.seconds, dropped)
        if dropped:
            self._worker.drop(turn)
        else:
            self._worker.finish(turn)
