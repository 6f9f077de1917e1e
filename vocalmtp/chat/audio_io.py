"""Both ends of a session's audio: input of any form as frames, and what of an answer was played."""

from typing import TYPE_CHECKING

import numpy as np

from vocalmtp.audio.vad import FRAME, SAMPLE_RATE
from vocalmtp.errors import InputError

if TYPE_CHECKING:
    import soxr

INPUT_RATES = (8_000, 96_000)  # Hz
KEPT = 2.0  # seconds of audio that are kept after they were played


class AudioInput:
    """Converts audio input to frames at SAMPLE_RATE; its sample rate may change at any time."""

    def __init__(self) -> None:
        self._rate = 0
        self._resampler: soxr.ResampleStream | None = None
        self._rest = np.zeros(0, np.float32)

    def frames(self, pcm: np.ndarray | bytes, sample_rate: int) -> list[np.ndarray]:
        """Append audio and return the frames [FRAME] that are complete.

        Args:
            pcm: [N] or [N, channels], float in [-1, 1] or int16; bytes are little-endian int16,
                mono.
            sample_rate: 8 to 96 kHz.

        Raises:
            InputError: the samples or the rate are invalid.

        """
        samples = _as_mono(pcm)
        if not isinstance(sample_rate, int) or not INPUT_RATES[0] <= sample_rate <= INPUT_RATES[1]:
            raise InputError(
                f"sample_rate '{sample_rate}': must be from {INPUT_RATES[0]} to {INPUT_RATES[1]} Hz",
                code="out_of_range",
            )
        if sample_rate != self._rate:
            self._rate, self._resampler = sample_rate, _resampler(sample_rate)
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        samples = np.concatenate([self._rest, samples])
        end = len(samples) // FRAME * FRAME
        self._rest = samples[end:]
        return list(samples[:end].reshape(-1, FRAME))


def _resampler(sample_rate: int) -> "soxr.ResampleStream | None":
    if sample_rate == SAMPLE_RATE:
        return None
    import soxr

    return soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="MQ")


def _as_mono(pcm: np.ndarray | bytes) -> np.ndarray:
    """Convert samples to float32 [N]."""
    if isinstance(pcm, bytes | bytearray | memoryview):
        if len(pcm) % 2:
            raise InputError(
                f"pcm: has {len(pcm)} bytes; 16-bit samples have two each", code="invalid_value"
            )
        pcm = np.frombuffer(pcm, "<i2")
    if not isinstance(pcm, np.ndarray) or pcm.ndim not in (1, 2):
        raise InputError(
            "pcm: must be bytes, or an array [N] or [N, channels]", code="invalid_value"
        )
    if pcm.dtype == np.int16:
        pcm = pcm.astype(np.float32) / 32768.0
    if not np.issubdtype(pcm.dtype, np.floating):
        raise InputError(
            f"pcm: is of type {pcm.dtype}; give floats in [-1, 1], or int16", code="invalid_value"
        )
    if pcm.ndim == 2:
        pcm = pcm.mean(axis=1) if pcm.shape[1] else pcm[:, :0].reshape(-1)
    if not np.isfinite(pcm).all():
        raise InputError("pcm: has samples that are not finite", code="damaged")
    return np.clip(pcm, -1.0, 1.0).astype(np.float32)


class Playback:
    """The playback position of one answer, by reports of the player or by the clock.

    The clock starts with the first samples and stops where all samples have been played. Times are
    those of the session's clock, in seconds.

    Attributes:
        seconds: duration of the audio so far.

    """

    def __init__(self, sample_rate: int):
        self.sample_rate = sample_rate
        self.seconds = 0.0
        self._anchor_time = 0.0
        self._anchor = 0.0  # position at that time
        self._samples = np.zeros(0, np.float32)  # the last ones

    def add(self, samples: np.ndarray, now: float) -> None:
        """Append samples [N] that were sent to the player."""
        position = self.position(now)
        self._set_anchor(position, now)
        self.seconds += len(samples) / self.sample_rate
        kept = round((self.seconds - position + KEPT) * self.sample_rate)
        self._samples = np.concatenate([self._samples, samples])[-kept:]

    def report(self, seconds: float, now: float) -> None:
        """Set the position that the player has reported."""
        self._set_anchor(min(max(seconds, 0.0), self.seconds), now)

    def position(self, now: float) -> float:
        """Return the seconds that have been played."""
        return min(self._anchor + max(now - self._anchor_time, 0.0), self.seconds)

    def is_playing(self, now: float) -> bool:
        """Return whether audio is still to be played."""
        return self.position(now) < self.seconds

    def recent(self, now: float, seconds: float) -> np.ndarray:
        """Return what the loudspeaker played in the last `seconds`, [N]; zeros for silence."""
        elapsed = self._anchor + max(now - self._anchor_time, 0.0)  # continues after the end
        count = round(seconds * self.sample_rate)
        last = len(self._samples) - round((self.seconds - elapsed) * self.sample_rate)
        played = np.zeros(count, np.float32)
        first, last = last - count, min(last, len(self._samples))
        if last > max(first, 0):
            played[max(-first, 0) : last - first] = self._samples[max(first, 0) : last]
        return played

    def _set_anchor(self, position: float, now: float) -> None:
        self._anchor, self._anchor_time = position, now
