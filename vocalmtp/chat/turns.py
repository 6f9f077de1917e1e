"""When a user's turn begins and ends, from the probability of speech in every frame."""

from typing import Literal

from vocalmtp.audio.vad import FRAME_SECONDS
from vocalmtp.chat.config import ChatConfig

Signal = Literal["start", "pause", "resume", "end", "dropped"]
RELEASE = 0.15  # below `speech_probability`: there speech ends, so that it does not flutter


class TurnDetector:
    """Says "start", then "pause" and "resume" at short silences, then "end" at a long one.

    A turn with too little speech is "dropped" instead of ended: it was a noise.
    """

    def __init__(self, config: ChatConfig):
        self._config = config
        self.speaking = False  # a turn has begun
        self._voiced = 0.0  # seconds of speech: in a row before a turn, in all within one
        self.silence = 0.0  # seconds since the last speech
        self.length = 0.0  # seconds of the turn, that silence included

    def push(self, probability: float, answering: bool = False) -> Signal | None:
        """Take in the probability of speech in the next frame.

        While we are `answering` it takes more speech to begin a turn, since that interrupts.
        """
        config = self._config
        onset = max(config.onset, config.barge_in) if answering else config.onset
        level = config.speech_probability - (RELEASE if self.speaking else 0.0)
        voiced = probability >= max(level, 0.01)
        if not self.speaking:
            self._voiced = self._voiced + FRAME_SECONDS if voiced else 0.0
            if self._voiced < onset:
                return None
            self.speaking, self.silence, self.length = True, 0.0, self._voiced
            return "start"
        self.length += FRAME_SECONDS
        paused = self.silence >= config.pause
        self.silence = 0.0 if voiced else self.silence + FRAME_SECONDS
        self._voiced += FRAME_SECONDS if voiced else 0.0
        if self.silence >= config.silence or self.length >= config.longest:
            heard = self._voiced >= config.shortest
            self.speaking, self._voiced = False, 0.0
            return "end" if heard else "dropped"
        if paused != (self.silence >= config.pause):
            return "resume" if paused else "pause"
        return None
