"""Sound from outside, whatever it comes as, to the frames that a session hears."""

import numpy as np

from vocalmtp.audio.vad import FRAME, SAMPLE_RATE
from vocalmtp.errors import InputError

RATES = (8_000, 96_000)  # Hz


class Microphone:
    """Cuts a stream of sound into frames at SAMPLE_RATE; the rate may change on the way."""

    def __init__(self):
        self._rate = 0
        self._resampler = None
        self._rest = np.zeros(0, np.float32)

    def frames(self, pcm: np.ndarray | bytes, sample_rate: int) -> list[np.ndarray]:
        """Take in the next sound (see `ChatSession.feed`); the frames [FRAME] that are whole now.

        Raises InputError if it is no sound.
        """
        samples = _mono(pcm)
        if not isinstance(sample_rate, int) or not RATES[0] <= sample_rate <= RATES[1]:
            raise InputError(
                f"sample_rate '{sample_rate}': must be from {RATES[0]} to {RATES[1]} Hz",
                code="out_of_range",
            )
        if sample_rate != self._rate:
            self._rate, self._resampler = sample_rate, _resampler(sample_rate)
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // FRAME * FRAME
        self._rest = samples[whole:]
        return list(samples[:whole].reshape(-1, FRAME))


def _resampler(sample_rate: int):
    if sample_rate == SAMPLE_RATE:
        return None
    import soxr

    return soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="MQ")


def _mono(pcm: np.ndarray | bytes) -> np.ndarray:
    """Float32 [N]."""
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
