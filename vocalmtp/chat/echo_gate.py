"""Echo suppression: the loudspeaker's sound in the microphone must not interrupt an answer."""

from collections import deque
from typing import Literal

import numpy as np

from vocalmtp.audio.vad import FRAME_SECONDS, SAMPLE_RATE
from vocalmtp.chat.audio_io import Playback

DELAY = 0.5  # seconds: longest delay of the echo, by buffers of both devices and the room
WINDOW = 0.02  # seconds over which levels are measured
QUIET = 0.003  # RMS of the playback below which its echo is inaudible (-50 dBFS)
MARGIN = 2.0  # ratio of a voice to the echo from which the voice passes (6 dB)
LEARN = 0.5  # seconds of echo after which its strength is known
MEMORY = 4.0  # seconds over which its strength is estimated
PERCENTILE = 85  # of the observed strengths, as the estimate
CORRELATION_FRAMES = 8  # frames of the microphone that are correlated with the playback
ECHO_PEAK = 13.0  # `peak_ratio` from which input counts as echo
WHITENING = 0.8  # 1 would use phases only, which overrates the low bands of speech


class EchoGate:
    """Decides whether a frame of the microphone can be the user's voice while an answer plays.

    Mode "half-duplex" rejects all frames until the answer has been played, and for DELAY after.
    Mode "energy" estimates the strength of the echo from frames that correlate with the playback
    (there are none with headphones, or where the browser cancels the echo), and accepts frames that
    are louder than the echo; until the strength is known, frames that do not correlate.
    """

    def __init__(self, mode: Literal["energy", "half-duplex", "off"]):
        self._mode = mode
        self._strengths: deque[float] = deque(maxlen=round(MEMORY / FRAME_SECONDS))
        self._frames: deque[np.ndarray] = deque(maxlen=CORRELATION_FRAMES)

    def accepts(self, frame: np.ndarray, playback: Playback | None, now: float) -> bool:
        """Return whether `frame` [n] may be the user's voice.

        Args:
            frame: the next samples of the microphone.
            playback: the last answer; None if there is none.
            now: the session's clock.

        """
        self._frames.append(frame)
        if self._mode == "off" or playback is None:
            return True
        loudest = max_level(playback.recent(now, DELAY), playback.sample_rate)
        if self._mode == "half-duplex":
            return not playback.is_playing(now) and loudest == 0.0
        if loudest < QUIET:
            return True
        level = float(np.sqrt(np.mean(frame.astype(np.float64) ** 2)))
        known = len(self._strengths) * FRAME_SECONDS >= LEARN
        strength = float(np.percentile(self._strengths, PERCENTILE)) if known else 0.0
        echo = self._correlates(playback, now)
        if echo:
            self._strengths.append(level / loudest)
        return level > MARGIN * strength * loudest if known else not echo

    def _correlates(self, playback: Playback, now: float) -> bool:
        """Whether the last frames contain what was played."""
        recorded = np.concatenate(self._frames)
        played = playback.recent(now, DELAY + len(recorded) / SAMPLE_RATE)
        count = round(len(played) * SAMPLE_RATE / playback.sample_rate)
        positions = np.arange(count) * (playback.sample_rate / SAMPLE_RATE)
        resampled = np.interp(positions, np.arange(len(played)), played)
        return peak_ratio(recorded, resampled) > ECHO_PEAK


def max_level(samples: np.ndarray, sample_rate: int) -> float:
    """Return the highest RMS of a WINDOW of `samples` [N]."""
    size = round(WINDOW * sample_rate)
    windows = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    return float(np.sqrt(np.mean(windows**2, axis=1)).max(initial=0.0))


def peak_ratio(recorded: np.ndarray, played: np.ndarray) -> float:
    """Return the peak of the generalized cross-correlation (GCC-PHAT) over its RMS.

    Args:
        recorded: [n], the last samples of the microphone.
        played: [N], a longer signal that ends at the same time.

    """
    size = 1 << (len(recorded) + len(played) - 1).bit_length()
    cross = np.fft.rfft(played, size) * np.conj(np.fft.rfft(recorded, size))
    weight = np.abs(cross) ** WHITENING
    correlation = np.fft.irfft(cross / np.maximum(weight, 1e-9), size)
    lags = np.abs(correlation[: len(played) - len(recorded) + 1])
    return float(lags.max() / max(np.sqrt(np.mean(correlation**2)), 1e-12))
