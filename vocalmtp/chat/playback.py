"""What of an answer has sounded, as far as can be known: by the player's report, or the clock."""

import numpy as np

KEPT = 2.0  # seconds of what has sounded


class Playback:
    """The audio of one answer on its way to the user's ears.

    `add` what is handed out; the clock starts with the first of it and stands still when all of it
    has sounded. A player that knows better says so with `report`. Times are the session's clock's.
    """

    def __init__(self, sample_rate: int):
        self.sample_rate = sample_rate
        self.seconds = 0.0  # handed out so far
        self._at = 0.0  # time of the last anchor
        self._position = 0.0  # seconds that had sounded then
        self._samples = np.zeros(0, np.float32)  # the last that were handed out

    def add(self, samples: np.ndarray, now: float) -> None:
        """Hand out more samples [N]."""
        position = self.position(now)
        self._anchor(position, now)
        self.seconds += len(samples) / self.sample_rate
        kept = round((self.seconds - position + KEPT) * self.sample_rate)
        self._samples = np.concatenate([self._samples, samples])[-kept:]

    def report(self, seconds: float, now: float) -> None:
        """So many seconds have sounded, says the player."""
        self._anchor(min(max(seconds, 0.0), self.seconds), now)

    def position(self, now: float) -> float:
        """Seconds that have sounded."""
        return min(self._position + max(now - self._at, 0.0), self.seconds)

    def sounding(self, now: float) -> bool:
        """Whether something is still to sound."""
        return self.position(now) < self.seconds

    def sounded(self, now: float, seconds: float) -> np.ndarray:
        """What has sounded in the last `seconds`, [N]; zeros where nothing has."""
        elapsed = self._position + max(now - self._at, 0.0)  # goes on after the end
        count = round(seconds * self.sample_rate)
        last = len(self._samples) - round((self.seconds - elapsed) * self.sample_rate)
        found = np.zeros(count, np.float32)
        first, last = last - count, min(last, len(self._samples))
        if last > max(first, 0):
            found[max(-first, 0) : last - first] = self._samples[max(first, 0) : last]
        return found

    def _anchor(self, position: float, now: float) -> None:
        self._position, self._at = position, now
