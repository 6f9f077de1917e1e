"""Against hearing ourselves: the loudspeaker's sound in the microphone must not interrupt us."""

from collections import deque
from typing import Literal

import numpy as np

from vocalmtp.audio.vad import FRAME_SECONDS, SAMPLE_RATE
from vocalmtp.chat.playback import Playback

DELAY = 0.5  # seconds from our sound to its echo, at most: buffers of both ways, and the room
WINDOW = 0.02  # seconds in which loudness is measured
QUIET = 0.003  # root mean square of ours below which there is no echo to speak of (-50 dBFS)
MARGIN = 2.0  # how much louder than the echo a voice must be (6 dB)
LEARN = 0.5  # seconds of our sound after which the echo is known
MEMORY = 4.0  # seconds that are remembered
SHARE = 85  # percentile of the echo's strength that is taken for it
LIKENESS_FRAMES = 8  # of the microphone, that are compared with what sounded
ALIKE = 13.0  # likeness of an echo, see `likeness`
WHITENING = 0.8  # 1: only phases count, which is too much for the low bands of speech


class EchoGate:
    """Decides whether a frame can be the user's voice while an answer sounds.

    "half-duplex" lets nothing pass until the answer has sounded, and DELAY after. "energy" learns
    how strong our sound comes back, from what is like it (never with headphones, or where the
    browser removes it). It passes what is louder than that; until it has learned, what is not like
    our sound.
    """

    def __init__(self, mode: Literal["energy", "half-duplex", "off"]):
        self._mode = mode
        self._ratios: deque[float] = deque(maxlen=round(MEMORY / FRAME_SECONDS))
        self._heard: deque[np.ndarray] = deque(maxlen=LIKENESS_FRAMES)

    def passes(self, frame: np.ndarray, playback: Playback | None, now: float) -> bool:
        """Whether `frame` [n] of the microphone may be the user."""
        self._heard.append(frame)
        if self._mode == "off" or playback is None:
            return True
        ours = loudest(playback.sounded(now, DELAY), playback.sample_rate)
        if self._mode == "half-duplex":
            return not playback.sounding(now) and ours == 0.0
        if ours < QUIET:
            return True
        level = float(np.sqrt(np.mean(frame.astype(np.float64) ** 2)))
        known = len(self._ratios) * FRAME_SECONDS >= LEARN
        strength = float(np.percentile(self._ratios, SHARE)) if known else 0.0
        echo = self._is_echo(playback, now)
        if echo:
            self._ratios.append(level / ours)
        return level > MARGIN * strength * ours if known else not echo

    def _is_echo(self, playback: Playback, now: float) -> bool:
        """Whether what was heard last has what sounded in it."""
        heard = np.concatenate(self._heard)
        sounded = playback.sounded(now, DELAY + len(heard) / SAMPLE_RATE)
        count = round(len(sounded) * SAMPLE_RATE / playback.sample_rate)
        places = np.arange(count) * (playback.sample_rate / SAMPLE_RATE)
        return likeness(heard, np.interp(places, np.arange(len(sounded)), sounded)) > ALIKE


def loudest(samples: np.ndarray, sample_rate: int) -> float:
    """The highest root mean square of a WINDOW of `samples` [N]."""
    size = round(WINDOW * sample_rate)
    windows = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    return float(np.sqrt(np.mean(windows**2, axis=1)).max(initial=0.0))


def likeness(heard: np.ndarray, sounded: np.ndarray) -> float:
    """How far the highest correlation of `heard` [n] with a part of `sounded` [N], which ends with
    it, stands out: over the root mean square of all correlations, by phases mostly (GCC-PHAT).
    """
    size = 1 << (len(heard) + len(sounded) - 1).bit_length()
    cross = np.fft.rfft(sounded, size) * np.conj(np.fft.rfft(heard, size))
    weight = np.abs(cross) ** WHITENING
    found = np.fft.irfft(cross / np.maximum(weight, 1e-9), size)
    lags = np.abs(found[: len(sounded) - len(heard) + 1])
    return float(lags.max() / max(np.sqrt(np.mean(found**2)), 1e-12))
