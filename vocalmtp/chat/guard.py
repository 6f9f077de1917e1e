"""Against hearing ourselves: the loudspeaker's sound in the microphone must not interrupt us."""

from collections import deque
from typing import Literal

import numpy as np

from vocalmtp.chat.playback import Playback
from vocalmtp.chat.vad import FRAME_SECONDS

DELAY = 0.5  # seconds from our sound to its echo, at most: buffers of both ways, and the room
QUIET = 0.003  # root mean square of ours below which there is no echo to speak of (-50 dBFS)
MARGIN = 2.0  # how much louder than the echo a voice must be (6 dB)
LEARN = 0.5  # seconds of our sound after which the echo is known
MEMORY = 4.0  # seconds that are remembered
SHARE = 85  # percentile of the echo's strength that is taken for it


class EchoGuard:
    """Decides whether a frame can be the user's voice while an answer sounds.

    "half-duplex" lets nothing pass until the answer has sounded, and DELAY after. "energy" learns
    how strong our sound comes back (0 with headphones, or where the browser removes it) and passes
    only what is louder than that; until it has learned, what is louder than our sound itself.
    """

    def __init__(self, mode: Literal["energy", "half-duplex", "off"]):
        self._mode = mode
        self._ratios: deque[float] = deque(maxlen=round(MEMORY / FRAME_SECONDS))

    def passes(self, frame: np.ndarray, playback: Playback | None, now: float) -> bool:
        """Whether `frame` [n] of the microphone may be the user."""
        if self._mode == "off" or playback is None:
            return True
        ours = playback.loudest(now, DELAY)
        if self._mode == "half-duplex":
            return not playback.sounding(now) and ours == 0.0
        if ours < QUIET:
            return True
        level = float(np.sqrt(np.mean(frame.astype(np.float64) ** 2)))
        known = len(self._ratios) * FRAME_SECONDS >= LEARN
        strength = float(np.percentile(self._ratios, SHARE)) if known else 1.0
        self._ratios.append(level / ours)
        return level > MARGIN * strength * ours
