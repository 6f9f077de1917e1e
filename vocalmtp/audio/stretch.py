"""Time stretching: speech at another speed and the same pitch, in one piece or as a stream.

Letters: N samples, n samples of one chunk, W samples of a window.
"""

import math

import numpy as np

from vocalmtp.errors import InputError

SPEEDS = (0.25, 4.0)  # slowest and fastest
WINDOW = 0.040  # seconds; two to six periods of a voice
SEARCH = 0.010  # seconds by which a window may move to fit the one before it


def check_speed(speed: float) -> float:
    """Return a speed as a float. Raises InputError unless it is a number from 0.25 to 4."""
    if isinstance(speed, bool) or not isinstance(speed, int | float):
        raise InputError(f"speed '{speed}': must be a number", code="invalid_value")
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise InputError(
            f"speed '{speed}': must be from {SPEEDS[0]:g} to {SPEEDS[1]:g}", code="out_of_range"
        )
    return float(speed)


class TimeStretcher:
    """Waveform-similarity overlap-add (WSOLA, Verhelst and Roelands, 1993) over a stream.

    Windows are taken from the input `speed` times as far apart as they are added to the output, each
    moved to where it continues the one before it best. `push` samples in chunks of any size, then
    `flush`: the output, joined, does not depend on the chunks. At speed 1 samples are unchanged.

    Args:
        speed: length of the input divided by that of the output.
        sample_rate: in Hz.

    """

    def __init__(self, speed: float, sample_rate: int):
        self.speed = check_speed(speed)
        self.hop = max(1, round(WINDOW * sample_rate / 2))  # W / 2
        self.reach = round(SEARCH * sample_rate)
        self.window = np.hanning(2 * self.hop + 1)[:-1].astype(np.float32)  # halves add up to 1
        self._input = np.zeros(self.hop, np.float32)  # from sample `_start` on, padded by half a W
        self._start = -self.hop
        self._tail = np.zeros(self.hop, np.float32)  # second half of the last window
        self._place = -self.hop  # of the last window in the input
        self._windows = 0
        self._taken = 0  # samples pushed
        self._given = 0  # samples returned

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Add samples [n]; return the samples of the output that are complete."""
        if self.speed == 1.0:
            return samples
        self._taken += len(samples)
        self._input = np.concatenate([self._input, samples])
        return self._stretch(self._taken)

    def flush(self) -> np.ndarray:
        """Return the rest of the output, after the last samples."""
        if self.speed == 1.0:
            return np.zeros(0, np.float32)
        length = math.ceil(self._taken / self.speed)
        silence = np.zeros(4 * self.hop + 2 * self.reach + math.ceil(2 * self.hop * self.speed))
        self._input = np.concatenate([self._input, silence.astype(np.float32)])
        rest = self._stretch(self._start + len(self._input))
        return rest[: length - (self._given - len(rest))]

    def _stretch(self, end: int) -> np.ndarray:
        """Add all windows whose samples, and those to search, are before sample `end`."""
        pieces = [np.zeros(0, np.float32)]
        while True:
            ideal = round((self._windows * self.hop) * self.speed) - self.hop
            follows = self._place + self.hop  # where the last window goes on
            if max(ideal + self.reach, follows) + 2 * self.hop > end:
                break
            place = ideal if not self._windows else self._best_place(ideal, follows)
            window = self._samples(place, 2 * self.hop) * self.window
            if self._windows:  # the first half of the first window is before the start
                pieces.append(self._tail + window[: self.hop])
            self._tail, self._place = window[self.hop :], place
            self._windows += 1
            self._forget(min(place + self.hop, round(self._windows * self.hop * self.speed)))
        done = np.concatenate(pieces)
        self._given += len(done)
        return done

    def _best_place(self, ideal: int, follows: int) -> int:
        """The place within reach of `ideal` whose first half is most like that at `follows`."""
        first = max(ideal - self.reach, self._start)
        target = self._samples(follows, self.hop)
        around = self._samples(first, ideal + self.reach - first + self.hop)
        products = np.correlate(around, target)  # [2 reach + 1]
        squares = np.concatenate([[0.0], np.cumsum(around.astype(np.float64) ** 2)])
        energy = squares[self.hop :] - squares[: -self.hop]
        return first + int(np.argmax(products / np.sqrt(energy + 1e-6)))

    def _samples(self, start: int, count: int) -> np.ndarray:
        return self._input[start - self._start : start - self._start + count]

    def _forget(self, place: int) -> None:
        """Drop the input that no later window reaches."""
        oldest = place - self.hop - self.reach - self._start
        if oldest > 0:
            self._input = self._input[oldest:]
            self._start += oldest


def stretch(samples: np.ndarray, speed: float, sample_rate: int) -> np.ndarray:
    """Return samples [N] at another speed: [N / speed], of the same pitch."""
    stretcher = TimeStretcher(speed, sample_rate)
    return np.concatenate([stretcher.push(samples), stretcher.flush()])
